"""Who may have which shard, and since when."""

from __future__ import annotations

from coordinator.log.store import ClusterFacts
from tests.contract.batches import LEASE_US
from tests.contract.conftest import World

ALL = [0, 1, 2, 3]


async def test_the_log_tells_what_it_is(world: World) -> None:
    """Name, shards and generation are fixed when it is made."""
    assert await world.log.facts() == ClusterFacts("test", 4, 1)


async def test_a_free_shard_is_taken_with_a_new_epoch(world: World) -> None:
    """The first owner's epoch is above that of nobody."""
    assert await world.log.claim("ann", [1], LEASE_US) == [(1, 1, 0, 0)]


async def test_several_shards_are_taken_at_once(world: World) -> None:
    """Whatever order they are asked for in; one that does not exist is left out."""
    taken = await world.log.claim("ann", [2, 99, 0], LEASE_US)

    assert [position.shard for position in taken] == [0, 2]


async def test_a_living_owner_is_left_alone(world: World) -> None:
    """The claim takes what is free, and neither the lease nor the epoch of the rest."""
    held = await world.claim(0)

    taken = await world.log.claim("bob", [0, 1], LEASE_US)

    assert [position.shard for position in taken] == [1]
    assert (await world.claim(0)).epoch == held.epoch + 1


async def test_ones_own_shard_is_taken_anew(world: World) -> None:
    """After trouble an owner fences its former self."""
    first = await world.claim()

    assert (await world.claim()).epoch == first.epoch + 1


async def test_an_expired_lease_is_taken(world: World) -> None:
    """A silent owner is left alone for the time of its lease, and no longer."""
    held = await world.claim()
    await world.pass_time(LEASE_US - 1_000_000)
    assert not await world.log.claim("bob", [0], LEASE_US)
    await world.pass_time(1_000_001)

    assert (await world.claim(owner="bob")).epoch == held.epoch + 1


async def test_a_census_renews_what_one_holds(world: World) -> None:
    """Who keeps saying that he lives keeps his shards."""
    await world.claim()
    await world.pass_time(LEASE_US - 1_000_000)
    assert (await world.log.census("ann", LEASE_US)).mine == {0}
    await world.pass_time(LEASE_US - 1_000_000)

    assert not await world.log.claim("bob", [0], LEASE_US)


async def test_a_lease_that_nobody_took_is_renewed_late(world: World) -> None:
    """A pause costs nothing if nobody has noticed."""
    await world.claim()
    await world.pass_time(10 * LEASE_US)

    census = await world.log.census("ann", LEASE_US)

    assert census.mine == {0}
    assert 0 not in census.free


async def test_a_lease_that_was_taken_is_not_renewed(world: World) -> None:
    """The census tells the former owner what it has lost."""
    await world.log.claim("ann", [0, 1], LEASE_US)
    await world.pass_time(LEASE_US + 1)
    await world.claim(owner="bob")

    census = await world.log.census("ann", LEASE_US)

    assert census.mine == {1}
    assert census.free == {2, 3}


async def test_a_census_shows_who_is_there(world: World) -> None:
    """Whoever has been silent for a lease is not counted; the time is the log's own."""
    first = await world.log.census("ann", LEASE_US)
    await world.log.census("bob", LEASE_US)
    assert first.replicas == ("ann",)
    await world.pass_time(LEASE_US + 1)

    second = await world.log.census("cid", LEASE_US)

    assert second.replicas == ("cid",)
    assert second.free == set(ALL)
    assert first.now_us > 1_600_000_000_000_000


async def test_an_expired_shard_is_free(world: World) -> None:
    """The census names what can be claimed: what nobody has, or nobody living."""
    await world.log.claim("ann", [0, 1], LEASE_US)
    assert (await world.log.census("bob", LEASE_US)).free == {2, 3}
    await world.pass_time(LEASE_US + 1)

    assert (await world.log.census("bob", LEASE_US)).free == set(ALL)


async def test_a_long_forgotten_replica_comes_back(world: World) -> None:
    """A laptop that slept for hours is counted again at its first beat."""
    await world.log.census("ann", LEASE_US)
    await world.pass_time(10 * 3_600_000_000)

    assert (await world.log.census("ann", LEASE_US)).replicas == ("ann",)
    assert (await world.log.census("bob", LEASE_US)).replicas == ("ann", "bob")


async def test_a_released_shard_is_free_at_once(world: World) -> None:
    """Handing over takes no lease's time; the rest is kept."""
    await world.log.claim("ann", [0, 1], LEASE_US)

    await world.log.release("ann", [0, 3])

    assert [p.shard for p in await world.log.claim("bob", ALL, LEASE_US)] == [0, 2, 3]


async def test_nobody_releases_what_is_anothers(world: World) -> None:
    """A former owner that says goodbye late takes nothing from its successor."""
    await world.claim(owner="bob")

    await world.log.release("ann", ALL)
    await world.log.leave("ann")

    assert not await world.log.claim("cid", [0], LEASE_US)


async def test_whoever_leaves_gives_back_all(world: World) -> None:
    """And is not counted any more."""
    await world.log.census("ann", LEASE_US)
    await world.log.claim("ann", ALL, LEASE_US)

    await world.log.leave("ann")

    census = await world.log.census("bob", LEASE_US)
    assert census.free == set(ALL)
    assert census.replicas == ("bob",)


async def test_nothing_is_claimed_of_nothing(world: World) -> None:
    """An empty wish is no error."""
    assert not await world.log.claim("ann", [], LEASE_US)
    assert not await world.log.active([])
    assert not await world.log.known_starts([])
    assert not await world.log.decisions([])
