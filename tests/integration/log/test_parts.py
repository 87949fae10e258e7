"""Records are in parts by the time of their names, and a part is emptied as a whole."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from coordinator.core.records import Outcome
from coordinator.core.transition import Status
from coordinator.log.parts import DAY_US, REACH, slot_of
from coordinator.log.postgres import PostgresLog
from coordinator.log.store import Batch, Position
from tests.contract.batches import DEFINITION, LEASE_US, begun, change, row
from tests.contract.batches import entry as made
from tests.integration.log.conftest import Connection
from wire import gids

DAY_0_US: Final = 20_000 * DAY_US
KEEP: Final = {"order": REACH * DAY_US}


def name(number: int, at_us: int) -> str:
    """Name a transaction that is born at a time."""
    return str(gids.Gid("test", 1, 0, gids.uuid7(at_us, number)))


async def begin(log: PostgresLog, at: Position, number: int, day: float, status: Status) -> str:
    """Let one begin on a day, with one record."""
    at_us = DAY_0_US + int(day * DAY_US)
    gid = name(number, at_us)
    begins = row(number, gid=gid, began_us=at_us, status=status, outcome=Outcome.COMMITTED)
    _, first = made(number, 0, begun(number))
    await log.persist(Batch([at], [begins], [(0, first._replace(gid=gid, at_us=at_us))], []))
    return gid


async def purged(log: PostgresLog, day: float) -> int:
    """Purge as often as there is something to do, so many days later."""
    now_us, gone = DAY_0_US + int(day * DAY_US), 0
    while count := await log.purge(KEEP, now_us, limit=100):
        gone += count
    return gone


async def records(hands: Connection) -> int:
    """Count all records, also those that nobody is shown any more."""
    return int(await hands.fetchval("SELECT count(*) FROM twofold.decision_log"))


@pytest.fixture
async def at(log: PostgresLog) -> Position:
    """A shard."""
    await log.publish(DEFINITION)
    [position] = await log.claim("ann", [0], LEASE_US)
    return position


async def test_a_part_goes_when_its_time_has_come(
    log: PostgresLog, hands: Connection, at: Position
) -> None:
    """The row goes first, and with it the transaction; its records go with those of their day."""
    await begin(log, at, 1, 0.2, Status.ENDED)
    await begin(log, at, 2, 0.8, Status.ENDED)
    await begin(log, at, 3, 1.1, Status.ENDED)

    assert await purged(log, 0.5 + REACH) == 1
    assert await log.records([name(1, DAY_0_US + DAY_US // 5)]) == []
    assert await records(hands) == 3

    assert await purged(log, 1.05 + REACH) == 1
    assert await records(hands) == 1
    assert await purged(log, 2.05 + REACH) == 1
    assert await records(hands) == 0


async def test_parts_are_emptied_while_work_goes_on(
    log: PostgresLog, hands: Connection, at: Position
) -> None:
    """There is always something that has just fallen due; nobody waits for a quiet moment."""
    await begin(log, at, 1, 0.2, Status.ENDED)
    await begin(log, at, 2, 1.1, Status.ENDED)

    assert await log.purge(KEEP, DAY_0_US + int((1.2 + REACH) * DAY_US), limit=100) == 2

    assert await records(hands) == 1


async def test_what_is_wanted_is_put_back(
    log: PostgresLog, hands: Connection, at: Position
) -> None:
    """Parked for a month, ended late, of the last round of the ring, or named in the future."""
    slots = REACH + 2
    kept = [
        await begin(log, at, 1, 0.1, Status.PARKED),
        await begin(log, at, 2, 0.2, Status.ENDED),
        await begin(log, at, 3, -slots + 0.1, Status.PARKED),
        await begin(log, at, 4, slots + 0.1, Status.OPEN),
    ]
    assert len({slot_of(gid, DAY_US) for gid in kept}) == 1
    gone = await begin(log, at, 5, 0.3, Status.ENDED)
    late = change(0, gid=kept[1], at_us=DAY_0_US + 2 * DAY_US)
    await log.persist(Batch([at], [], [], [late]))

    assert await purged(log, 1.05 + REACH) == 1

    assert [entry.gid for entry in await log.records([*kept, gone])] == sorted(kept)
    assert await records(hands) == len(kept)


async def test_what_is_kept_for_less_goes_row_by_row(
    log: PostgresLog, hands: Connection, at: Position
) -> None:
    """Its part has to wait for others, and it does not wait with them."""
    await begin(log, at, 1, 0.1, Status.ENDED)

    keep = {"order": DAY_US, "audit": 20 * DAY_US}
    assert await log.purge(keep, DAY_0_US + 2 * DAY_US, limit=10) == 1

    assert await records(hands) == 0


async def test_nobody_waits_for_a_reader(log: PostgresLog, hands: Connection, at: Position) -> None:
    """A backup reads for hours. A part that is being read is emptied another time."""
    await begin(log, at, 1, 0.1, Status.ENDED)
    async with hands.transaction():
        await hands.fetch("SELECT count(*) FROM twofold.decision_log")
        async with asyncio.timeout(5):
            assert await purged(log, 1.05 + REACH) == 1
            await begin(log, at, 2, 1.05 + REACH, Status.OPEN)
        assert await records(hands) == 2

    await purged(log, 1.05 + REACH)

    assert await records(hands) == 1


async def test_one_at_a_time(log: PostgresLog, hands: Connection, at: Position) -> None:
    """Who finds somebody at it has nothing to do."""
    await begin(log, at, 1, 0.1, Status.ENDED)
    async with hands.transaction():
        await hands.execute("SELECT pg_advisory_xact_lock($1)", 0x74776F70757267)

        assert await log.purge(KEEP, DAY_0_US + 90 * DAY_US, limit=10) == 0

    assert await log.purge(KEEP, DAY_0_US + 90 * DAY_US, limit=10) == 1
