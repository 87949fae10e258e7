"""A worker that is stopped, cut off, or in trouble, and its signs of life."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import Any

from compose.local.stack import Kafka
from participants import Participant
from participants.settings import Settings
from participants.worker import Worker
from tests.integration.participants.asker import Asker
from tests.integration.participants.conftest import Database, new_gid
from tests.integration.participants.serving import Serve, eventually, execute, prepare
from wire.envelope import unseal
from wire.kafka import KafkaUnavailable
from wire.messages import (
    Commit,
    Compensate,
    Compensated,
    End,
    Execute,
    Executed,
    Heartbeat,
    Prepare,
    Result,
    Rollback,
    Settled,
    Vote,
    Voted,
)

# ── stopping, and trouble ────────────────────────────────────────────────────


async def test_a_worker_that_is_told_to_stop_ends_soon_and_leaves_nothing_half_done(
    serve: Serve, asker: Asker, shop: Participant, database: Database
) -> None:
    """What it has answered, the next one does not read again; the rest it does."""
    gids = [new_gid() for _ in range(300)]
    async with serve():
        await asker.ask(shop.name, *(execute(gid) for gid in gids))
        await asker.hear(1)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    async with serve():
        await eventually(lambda: _all_there(database, len(gids)))
        answered = {reply.gid for reply in await asker.hear(len(gids) - 1)}
        assert len(answered) >= len(gids) - 1
        assert await asker.silence(seconds=0.5) == []


async def _all_there(database: Database, count: int) -> bool:
    return len(await database.items()) == count


async def test_two_workers_share_the_work_and_neither_loses_any(
    serve: Serve, asker: Asker, shop: Participant, database: Database
) -> None:
    """Partitions move while commands are under way, and back again."""
    gids = [new_gid() for _ in range(400)]
    half = len(gids) // 2
    async with serve():
        await asker.ask(shop.name, *(execute(gid) for gid in gids[:half]))
        async with serve():
            await asker.ask(shop.name, *(execute(gid) for gid in gids[half:]))
            await eventually(lambda: _all_there(database, len(gids)))
    replies = await asker.hear(len(gids))
    assert {reply.gid for reply in replies} | {
        r.key.decode() for r in await asker.silence(seconds=0.5)
    } == set(gids)


async def test_while_the_database_is_away_nothing_is_answered_and_nothing_lost(
    serve: Serve, asker: Asker, shop: Participant, database: Database, postgres: Any
) -> None:
    saga, held = new_gid(), new_gid()
    async with serve():
        await asker.ask(shop.name, prepare(held, 1))
        await asker.hear(1)
        postgres.kill()
        await asker.ask(shop.name, execute(saga), Commit(gid=held, branch="b"))
        assert await asker.silence(seconds=1) == []
        postgres.restart()
        wanted = {
            Settled(gid=held, branch="b", end=End.COMMITTED),
            Executed(gid=saga, step="s", attempt=1, result=Result.DONE),
        }
        while wanted:  # what was answered before may be answered once more
            wanted -= set(await asker.hear(1, seconds=30))

    assert await database.items() == {f"{saga}/s": 1, f"{held}/b": 1}


async def test_while_kafka_is_away_nothing_is_lost(
    serve: Serve, asker: Asker, shop: Participant, database: Database, kafka: Kafka
) -> None:
    """What was done and not yet told is told by a repetition."""
    before, after = new_gid(), new_gid()
    async with serve():
        await asker.ask(shop.name, execute(before))
        await eventually(lambda: _all_there(database, 1))
        kafka.kill()
        await asyncio.sleep(2)
        kafka.restart()
        await eventually_asked(asker, shop.name, execute(after))
        heard: set[str] = set()
        until = time.monotonic() + 60
        while heard != {before, after}:
            assert time.monotonic() < until, heard
            heard |= {r.key.decode() for r in await asker.silence(seconds=0.5) if r.key}
    assert await database.items() == {f"{before}/s": 1, f"{after}/s": 1}


async def eventually_asked(asker: Asker, participant: str, command: Any) -> None:
    """Ask again until Kafka has it."""
    for _ in range(30):
        try:
            await asker.ask(participant, command)
        except KafkaUnavailable:
            await asyncio.sleep(1)
        else:
            return
    raise AssertionError("Kafka did not come back")


async def test_while_connections_are_lost_all_the_time_everything_happens_once(
    serve: Serve, asker: Asker, shop: Participant, database: Database
) -> None:
    """Whatever they were in the middle of, a commit included."""
    steps, branches = [new_gid() for _ in range(60)], [new_gid() for _ in range(60)]
    questions: dict[tuple[str, type], Any] = {
        **{(gid, Executed): execute(gid) for gid in steps},
        **{(gid, Voted): prepare(gid) for gid in branches},
    }
    undone, aborted = set(steps[:30]), set(branches[:30])

    async def sever() -> None:
        server = database.another()
        try:
            while True:
                async with server.one() as connection:
                    await connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                await asyncio.sleep(random.uniform(0.005, 0.08))
        finally:
            await server.close()

    def hear(reply: Any) -> None:
        gone = questions.pop((reply.gid, type(reply)), None)  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(gone, Prepare):
            assert reply.vote in {Vote.COMMIT, Vote.BUSY}
            if reply.vote is Vote.BUSY:
                questions[reply.gid, Voted] = gone
                return
            decision = Rollback if reply.gid in aborted else Commit
            questions[reply.gid, Settled] = decision(gid=reply.gid, branch="b")
        elif isinstance(gone, Execute) and reply.gid in undone:
            questions[reply.gid, Compensated] = Compensate(
                gid=reply.gid, step="s", attempt=1, command="erase", data=None
            )

    async with serve():
        severing = asyncio.create_task(sever())
        until = time.monotonic() + 60
        while questions:
            assert time.monotonic() < until, list(questions.values())[:3]
            if time.monotonic() > until - 50:
                severing.cancel()
            await asker.ask(shop.name, *questions.values())
            for record in await asker.silence(seconds=1):
                hear(unseal(record.headers, record.value).message)
        severing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await severing
    assert await database.prepared() == set()
    expected = {f"{g}/s" for g in steps if g not in undone}
    expected |= {f"{g}/b" for g in branches if g not in aborted}
    assert await database.items() == dict.fromkeys(expected, 1)


# ── signs of life ────────────────────────────────────────────────────────────


async def test_a_worker_beats_says_what_waits_and_says_goodbye(
    serve: Serve, asker: Asker, shop: Participant
) -> None:
    """Under one name, with numbers that go on from session to session."""
    gids = [new_gid() for _ in range(shop.held + 5)]

    async def is_full() -> bool:
        return any(beat.prepares_waiting == 5 for beat in await beats(asker))

    async with serve():
        await asker.ask(shop.name, *(prepare(gid) for gid in gids))
        await asker.hear(shop.held)
        await eventually(is_full)

    said = await beats(asker)
    full = next(beat for beat in said if beat.prepares_waiting)
    assert (full.branches_held, full.held_limit) == (shop.held, shop.held)
    assert full.slots >= full.held_limit
    assert {(beat.participant, beat.instance) for beat in said} == {(shop.name, full.instance)}
    assert [beat.beat for beat in said] == list(range(1, len(said) + 1))
    assert [beat.leaving for beat in said if beat.leaving] == [said[-1].leaving]
    assert full.group == f"{asker.prefix}.{shop.name}"


async def test_a_worker_that_cannot_be_seen_works_all_the_same(
    kafka: Kafka, shop: Participant, database: Database
) -> None:
    """The topic of heartbeats may be missing."""
    asker, gid = Asker(kafka.bootstrap, [shop.name], signs=False), new_gid()
    await asker.start()
    stop = asyncio.Event()
    settings = Settings(bootstrap=asker.bootstrap, prefix=asker.prefix, cluster="test")
    running = asyncio.create_task(Worker([shop], settings).run(stop))
    try:
        await asker.ask(shop.name, execute(gid))
        await asker.hear(1)
    finally:
        stop.set()
        await running
        await asker.stop()

    assert await database.items() == {f"{gid}/s": 1}


async def beats(asker: Asker) -> list[Heartbeat]:
    """Return all signs of life so far."""
    found = [unseal(r.headers, r.value).message for r in await asker.heartbeats()]
    return [message for message in found if isinstance(message, Heartbeat)]
