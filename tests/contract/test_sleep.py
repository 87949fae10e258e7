"""Who sleeps: read by nobody, until its time is near or it is spoken of."""

from __future__ import annotations

from coordinator.core.transition import Status
from coordinator.log.store import Batch
from tests.contract.batches import START_US, beginning, begun, change, entry, gid, row
from tests.contract.conftest import World

HOUR_US = 3_600_000_000


async def _fall_asleep(world: World) -> None:
    """Let 1 to 3 sleep for as many hours, 4 in another shard, 5 from its beginning; 6 is awake."""
    at, other = await world.claim(), await world.claim(1)
    await world.log.persist(beginning(1, 2, 3, 6, at=at))
    await world.log.persist(beginning(4, at=other))
    asleep = [
        change(
            n,
            int(n == 4),
            status=Status.OPEN,
            outcome=None,
            active=False,
            wake_at_us=START_US + n * HOUR_US,
        )
        for n in (1, 2, 3, 4)
    ]
    born = row(5, active=False, wake_at_us=START_US + 5 * HOUR_US)
    await world.log.persist(Batch([at, other], [born], [entry(5, 0, begun(5))], asleep))


async def _waking(
    world: World, hours: int, limit: int = 9, shards: tuple[int, ...] = (0,)
) -> set[str]:
    found = await world.log.waking(shards, START_US + hours * HOUR_US, limit)
    return {one.gid for one in found}


async def test_who_sleeps_is_not_loaded(world: World) -> None:
    await _fall_asleep(world)

    assert {one.gid for one in await world.log.active([0, 1])} == {gid(6)}


async def test_those_wake_whose_time_is_near_the_first_first(world: World) -> None:
    await _fall_asleep(world)

    assert await _waking(world, 0) == set()
    assert await _waking(world, 2) == {gid(1), gid(2)}
    assert await _waking(world, 9) == {gid(1), gid(2), gid(3), gid(5)}
    assert await _waking(world, 9, limit=1) == {gid(1)}
    assert await _waking(world, 9, shards=(1, 2)) == {gid(4, 1)}


async def test_who_is_spoken_of_is_found_if_it_sleeps(world: World) -> None:
    """With all its records; who is awake, or unknown, is not in the answer."""
    await _fall_asleep(world)

    found = await world.log.asleep([gid(1), gid(6), gid(77), "nul\0"])

    assert [(one.gid, one.seq) for one in found] == [(gid(1), 0)]


async def test_who_is_awake_again_sleeps_no_more(world: World) -> None:
    await _fall_asleep(world)
    at = await world.claim()
    awake = change(1, status=Status.OPEN, outcome=None, active=True)
    await world.log.persist(Batch([at], [], [], [awake, change(2)]))

    assert await _waking(world, 3) == {gid(3)}
    assert not await world.log.asleep([gid(1), gid(2)])
    assert {one.gid for one in await world.log.active([0])} == {gid(1), gid(6)}
