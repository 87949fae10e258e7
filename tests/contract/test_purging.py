"""What has ended is forgotten after its time: with all that belongs to it, and nothing else."""

from __future__ import annotations

import pytest

from coordinator.core.records import Decision, Outcome
from coordinator.core.transition import Status
from coordinator.log.store import Batch
from tests.contract.batches import (
    DEFINITION,
    START_US,
    beginning,
    begun,
    change,
    ending,
    entry,
    gid,
    row,
)
from tests.contract.conftest import World
from wire import gids

KEEP_US = 1_000_000
KEEP = {"order": KEEP_US}
LATE_US = START_US + 10 * KEEP_US


async def _with_ended(world: World, *numbers: int) -> None:
    await world.log.publish(DEFINITION)
    at = await world.claim()
    await world.log.persist(beginning(*numbers, at=at))
    await world.log.persist(ending(*numbers, at=at))


async def test_what_ended_long_ago_is_gone(world: World) -> None:
    """Its records, its decision, its key."""
    await _with_ended(world, 1, 2)

    assert await world.log.purge(KEEP, LATE_US, limit=10) == 2

    assert await world.log.records([gid(1), gid(2)]) == []
    assert await world.log.known_starts([("order", "key-1")]) == {}
    assert await world.log.purge(KEEP, LATE_US, limit=10) == 0


async def test_it_is_kept_until_then(world: World) -> None:
    """The time runs from its end, to the microsecond of the log's clock."""
    await _with_ended(world, 1)

    ended_us = START_US + 1 + 9
    assert await world.log.purge(KEEP, ended_us + KEEP_US, limit=10) == 0
    assert len(await world.log.records([gid(1)])) == 3
    assert await world.log.purge(KEEP, ended_us + KEEP_US + 1, limit=10) == 1


@pytest.mark.parametrize("status", [Status.OPEN, Status.PARKED])
async def test_what_has_not_ended_is_kept_for_ever(world: World, status: Status) -> None:
    """A person may still look at it, however late."""
    at = await world.claim()
    await world.log.persist(beginning(1, at=at))
    parked = change(1, status=status, outcome=Outcome.PARKED, active=False)
    await world.log.persist(Batch([at], [], [], [parked]))

    assert await world.log.purge(KEEP, LATE_US, limit=10) == 0
    assert len(await world.log.records([gid(1)])) == 1


async def test_each_name_has_its_own_time(world: World) -> None:
    """And a name that nobody mentions is kept."""
    at = await world.claim()
    for number, name in enumerate(("order", "audit", "other")):
        began = row(number, name=name, status=Status.ENDED, active=False)
        await world.log.persist(Batch([at], [began], [entry(number, 0, begun(number))], []))

    assert await world.log.purge({"order": KEEP_US, "audit": 10**12}, LATE_US, limit=10) == 1

    kept = {e.gid for e in await world.log.records([gid(n) for n in range(3)])}
    assert kept == {gid(1), gid(2)}


async def test_small_batches(world: World) -> None:
    """Whoever purges a lot does so little by little."""
    await _with_ended(world, *range(5))

    gone = [await world.log.purge(KEEP, LATE_US, limit=2) for _ in range(4)]

    assert gone == [2, 2, 1, 0]


async def test_nothing_is_presumed_of_what_may_be_forgotten(world: World) -> None:
    """It was committed, and a participant that was restored may ask for it once more.

    What is younger than all that is forgotten was never there.
    """
    await _with_ended(world, 1)
    young = str(gids.Gid("test", 1, 0, gids.uuid7(LATE_US, 1)))
    assert await world.log.decisions([gid(1), young]) == {gid(1): Decision.COMMIT}

    await world.log.purge(KEEP, LATE_US, limit=10)

    assert await world.log.decisions([gid(1), young]) == {gid(1): None}


async def test_a_key_may_begin_anew(world: World) -> None:
    """As long as one is kept its key is taken, and no longer."""
    await _with_ended(world, 1)
    await world.log.purge(KEEP, LATE_US, limit=10)
    at = await world.claim()

    again = Batch([at], [row(2, key="key-1")], [entry(2, 0, begun(1))], [])
    assert await world.log.persist(again) == {0}

    known = await world.log.known_starts([("order", "key-1")])
    assert known["order", "key-1"].gid == gid(2)
