"""Owners that write while others take over, on a real Postgres.

Triggers make the two statements slow where it hurts: between a batch's fence
and its commit, and between a claim's new epoch and its commit.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import pytest

from coordinator.log import batches
from coordinator.log.batches import PERSIST
from coordinator.log.postgres import PostgresLog
from coordinator.log.store import Batch, LogUnavailable, Position
from tests.contract.batches import LEASE_US, beginning, gid, joined
from tests.integration.log.conftest import Connection, OpenLog, waiting

ROUNDS = 300

SLOW = """
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(random() * 0.004); RETURN NEW; END $$;
    CREATE TRIGGER slow_batch BEFORE INSERT ON twofold.decision_log
        FOR EACH ROW EXECUTE FUNCTION dawdle();
    CREATE TRIGGER slow_claim BEFORE UPDATE ON twofold.shard
        FOR EACH ROW WHEN (NEW.epoch > OLD.epoch) EXECUTE FUNCTION dawdle();
"""

UNLOCKED = PERSIST.replace("FOR NO KEY UPDATE OF s", "")
"""The epoch is looked at, and then the row is written, whatever it says by then."""

CHECKED_FIRST = UNLOCKED.replace(
    PERSIST[PERSIST.index("mine AS (") : PERSIST.index("), begun AS (")],
    "mine AS (SELECT id FROM held",
)
"""The epoch is looked at, and nothing keeps it as it is."""

UNFENCED = PERSIST.replace("WHERE s.epoch = v.epoch", "")


async def write(log: PostgresLog, at: Position, number: int, after_s: float) -> frozenset[int]:
    """Write in a while, so that either side may be the first, whatever else this machine does."""
    await asyncio.sleep(after_s)
    return await log.persist(beginning(number, at=at))


async def race(ann: PostgresLog, bob: PostgresLog) -> AsyncGenerator[str]:
    """Let Bob claim while Ann writes; tell what each round came to."""
    chance = random.Random(5)
    for number in range(ROUNDS):
        [stale] = await ann.claim("ann", [0], 0)
        writing = asyncio.create_task(write(ann, stale, number, chance.random() * 0.004))
        await asyncio.sleep(chance.random() * 0.008)
        assert await bob.claim("bob", [0], 0)
        seen = {one.gid for one in await bob.active([0])}
        counted = await writing
        landed = gid(number) in {one.gid for one in await bob.active([0])}
        if gid(number) in seen:
            yield "landed" if counted else "denied"
        else:
            yield "landed late" if landed else "fenced"


async def test_a_batch_lands_before_a_claim_returns_or_never(
    log: PostgresLog, open_log: OpenLog, hands: Connection
) -> None:
    """A new owner that has read the log knows all that was ever decided before it.

    Without the row lock, a batch whose fence was passed just before a claim
    would land after the new owner has read the log: a decision that the owner
    does not know, and may contradict. The next test shows that this would be seen.
    """
    await hands.execute(SLOW)

    results = [result async for result in race(log, await open_log())]

    assert set(results) == {"landed", "fenced"}, "only these, and both happen"


async def until_late(results: AsyncGenerator[str]) -> AsyncGenerator[str]:
    """Stop the race at the first proof."""
    async for result in results:
        yield result
        if result == "landed late":
            return


@pytest.mark.parametrize("broken", [UNLOCKED, CHECKED_FIRST, UNFENCED])
async def test_the_race_would_show_a_broken_fence(
    log: PostgresLog,
    open_log: OpenLog,
    hands: Connection,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    """The same race with a statement that only looks at the epoch: batches land too late."""
    await hands.execute(SLOW)
    assert broken != PERSIST
    monkeypatch.setattr(batches, "PERSIST", broken)

    other = await open_log()
    async with aclosing(race(log, other)) as results:
        assert "landed late" in [result async for result in until_late(results)]


@asynccontextmanager
async def held(hands: Connection, shard: int) -> AsyncGenerator[None]:
    """Keep one shard's row locked, so that whoever wants it waits."""
    async with hands.transaction():
        await hands.execute("SELECT FROM twofold.shard WHERE id = $1 FOR UPDATE", shard)
        yield


async def test_batches_over_shards_in_opposite_order_do_not_deadlock(
    open_log: OpenLog, hands: Connection
) -> None:
    """Both meet at a shard in the middle; were each to hold its half, neither could go on.

    Where shards are many, Postgres looks them up one by one, in the batch's own order.
    """
    [[name]] = await hands.fetch("SELECT current_database()")
    for way in ("hashjoin", "mergejoin", "seqscan"):
        await hands.execute(f"ALTER DATABASE {name} SET enable_{way} = off")
    log, other = await open_log(), await open_log()
    positions = await log.claim("ann", range(20), LEASE_US)
    forth, back = Batch(positions, [], [], []), Batch(positions[::-1], [], [], [])

    async with held(hands, 10):
        both = [asyncio.create_task(one.persist(b)) for one, b in ((log, forth), (other, back))]
        await waiting(hands, 2)

    assert [len(counted) for counted in await asyncio.gather(*both)] == [20, 20]


async def test_a_claim_and_a_batch_do_not_deadlock(
    log: PostgresLog, open_log: OpenLog, hands: Connection
) -> None:
    """An owner claims anew what its former self is still writing for."""
    other = await open_log()
    positions = await log.claim("ann", range(20), LEASE_US)

    async with held(hands, 10):
        claiming = asyncio.create_task(other.claim("ann", range(19, -1, -1), LEASE_US))
        await waiting(hands, 1)
        writing = asyncio.create_task(log.persist(Batch(positions, [], [], [])))
        await waiting(hands, 2)

    assert len(await claiming) == 20
    assert await writing == frozenset()


@pytest.mark.parametrize("what", ["census", "release", "leave"])
async def test_whoever_touches_leases_takes_them_in_order(
    log: PostgresLog, open_log: OpenLog, hands: Connection, what: str
) -> None:
    """An owner beats, or gives back, what another is claiming; they lie in the other order."""
    other = await open_log()
    for shard in range(19, -1, -1):
        await log.claim("ann", [shard], 0)
    touch = {
        "census": lambda: log.census("ann", 0),
        "release": lambda: log.release("ann", range(20)),
        "leave": lambda: log.leave("ann"),
    }

    async with hands.transaction():
        await hands.execute("SELECT FROM twofold.lease WHERE shard = 10 FOR UPDATE")
        touching = asyncio.create_task(touch[what]())
        await waiting(hands, 1)
        claiming = asyncio.create_task(other.claim("bob", range(20), 0))
        await waiting(hands, 2)

    await touching
    assert len(await claiming) == 20


async def test_a_batch_cut_off_while_it_waits_has_not_happened(
    log: PostgresLog, hands: Connection
) -> None:
    """The owner learns only that it knows nothing; the claim after it shows the truth."""
    [at] = await log.claim("ann", [0], LEASE_US)
    async with held(hands, 0):
        writing = asyncio.create_task(log.persist(beginning(1, at=at)))
        [backend] = await waiting(hands, 1)
        await hands.execute("SELECT pg_terminate_backend($1)", backend)

        with pytest.raises(LogUnavailable, match="terminating connection"):
            await writing

    assert [p.epoch for p in await log.claim("ann", [0], LEASE_US)] == [at.epoch + 1]
    assert not await log.active([0])


async def test_a_batch_cut_off_anywhere_is_there_as_a_whole_or_not_at_all(
    log: PostgresLog, hands: Connection
) -> None:
    """Over two shards and five transactions each, whenever the connection dies."""
    await hands.execute(SLOW)
    chance = random.Random(3)
    sizes: list[int] = []
    for number in range(0, 600, 10):
        first, second = await log.claim("ann", [0, 1], LEASE_US)
        low, high = range(number, number + 3), range(number + 3, number + 6)
        batch = joined(beginning(*low, at=first), beginning(*high, at=second))
        before = len(await log.active([0, 1]))
        writing = asyncio.create_task(log.persist(batch))
        # Sometimes at once, sometimes when it is over: however slow this machine is.
        await asyncio.wait(
            [writing], timeout=chance.choice([0.01, 0.02, 0.04, 5]) * chance.random()
        )
        await hands.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await asyncio.gather(writing, return_exceptions=True)
        await claimed_again(log)
        sizes.append(len(await log.active([0, 1])) - before)

    assert set(sizes) == {0, 6}, "all or nothing, and both happen"


async def claimed_again(log: PostgresLog) -> None:
    """Claim as an owner after trouble does: until the log answers."""
    for _ in range(20):
        try:
            await log.claim("ann", [0, 1], LEASE_US)
        except LogUnavailable:
            continue
        return
    raise AssertionError("the log does not come back")
