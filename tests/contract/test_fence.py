"""What a batch writes, and that a stale epoch writes nothing."""

from __future__ import annotations

import pytest

from coordinator.core.records import Decision, Ended, Outcome
from coordinator.core.transition import Status
from coordinator.log.store import Batch, LogUnavailable
from tests.contract.batches import (
    LEASE_US,
    beginning,
    begun,
    change,
    ending,
    entry,
    gid,
    joined,
    row,
)
from tests.contract.conftest import World


async def test_what_was_written_is_read_back(world: World) -> None:
    """Records come back equal, in order, and with their times to the microsecond."""
    at = await world.claim()
    batch = beginning(2, 1, at=at)

    assert await world.log.persist(batch) == {0}

    assert await world.log.active([0]) == sorted(one for _, one in batch.entries)


async def test_a_stale_epoch_writes_nothing(world: World) -> None:
    """An owner that was deposed learns that nothing of its batch counted."""
    stale = await world.claim()
    await world.pass_time(LEASE_US + 1)
    await world.claim(owner="bob")

    assert await world.log.persist(beginning(1, at=stale)) == frozenset()

    assert not await world.log.active([0])
    assert not await world.log.known_starts([("order", "key-1")])


async def test_a_stale_epoch_ends_nothing(world: World) -> None:
    """Neither records nor changes of a deposed owner reach a transaction that goes on."""
    stale = await world.claim()
    await world.log.persist(beginning(1, at=stale))
    await world.claim()

    assert await world.log.persist(ending(1, at=stale)) == frozenset()

    assert [one.seq for one in await world.log.active([0])] == [0]
    assert await world.log.decisions([gid(1)]) == {gid(1): None}


async def test_a_stale_epoch_moves_no_offset(world: World) -> None:
    """The next owner reads on where the last batch that counted stopped."""
    stale = await world.claim()
    await world.claim()

    await world.log.persist(Batch([stale._replace(requests_offset=99)], [], [], []))

    assert (await world.claim()).requests_offset == 0


async def test_an_epoch_of_the_future_writes_nothing(world: World) -> None:
    """Only the very epoch that was taken counts."""
    at = await world.claim()

    assert await world.log.persist(beginning(1, at=at._replace(epoch=at.epoch + 1))) == frozenset()


async def test_the_fence_is_shard_by_shard(world: World) -> None:
    """Of a batch over two shards, the part of the one that was lost is left out, all of it."""
    lost, kept = await world.claim(0), await world.claim(1)
    await world.claim(0)
    moved = kept._replace(requests_offset=7, replies_offset=8)

    counted = await world.log.persist(joined(beginning(1, at=lost), beginning(2, at=moved)))

    assert counted == {1}
    assert {one.gid for one in await world.log.active([0, 1])} == {gid(2, 1)}
    known = await world.log.known_starts([("order", "key-1"), ("order", "key-2")])
    assert [start.gid for start in known.values()] == [gid(2, 1)]
    assert (await world.claim(0))[2:] == (0, 0)
    assert (await world.claim(1))[2:] == (7, 8)


async def test_offsets_are_kept_for_the_next_owner(world: World) -> None:
    """A batch that only moves on is a batch."""
    at = await world.claim(3)

    await world.log.persist(
        Batch([at._replace(requests_offset=5, replies_offset=2**40)], [], [], [])
    )

    assert await world.claim(3) == (3, at.epoch + 1, 5, 2**40)


async def test_a_shard_that_is_not_there_never_counts(world: World) -> None:
    """A position of nowhere has no epoch that could be right."""
    at = await world.claim()

    assert await world.log.persist(Batch([at._replace(shard=99)], [], [], [])) == frozenset()


async def test_a_place_in_the_log_is_taken_once(world: World) -> None:
    """A second record with the same gid and seq is refused, and its whole batch with it."""
    at, other = await world.claim(0), await world.claim(1)
    await world.log.persist(beginning(1, at=at))
    again = Batch([at], [], [entry(1, 0, begun(1)), entry(1, 1, Ended())], [])

    with pytest.raises(LogUnavailable):
        await world.log.persist(joined(again, beginning(2, at=other)))

    assert [one.gid for one in await world.log.active([0, 1])] == [gid(1)]


async def test_a_place_is_taken_once_within_a_batch(world: World) -> None:
    """Two records of one batch cannot have the same place either."""
    at = await world.claim()

    with pytest.raises(LogUnavailable):
        await world.log.persist(Batch([at], [], [entry(1, 0, Ended()), entry(1, 0, Ended())], []))


async def test_a_start_key_is_used_once(world: World) -> None:
    """The same key of the same definition cannot begin a second transaction."""
    at = await world.claim()
    await world.log.persist(beginning(1, at=at))

    with pytest.raises(LogUnavailable):
        await world.log.persist(Batch([at], [row(2, key="key-1")], [], []))

    known = await world.log.known_starts([("order", "key-1")])
    assert known["order", "key-1"].gid == gid(1)


async def test_a_start_key_belongs_to_its_definition(world: World) -> None:
    """Two definitions may use the same key."""
    at = await world.claim()
    await world.log.persist(beginning(1, at=at))

    assert await world.log.persist(Batch([at], [row(2, key="key-1", name="refund")], [], []))


async def test_a_name_is_used_once(world: World) -> None:
    """A gid cannot begin twice, whatever its key."""
    at = await world.claim()
    await world.log.persist(beginning(1, at=at))

    with pytest.raises(LogUnavailable):
        await world.log.persist(Batch([at], [row(1, key="another")], [], []))


async def test_a_deposed_owner_is_fenced_before_its_duplicates_matter(world: World) -> None:
    """What would be refused, but does not count, is no error: there is nothing to mend."""
    stale = await world.claim()
    await world.log.persist(beginning(1, at=stale))
    await world.claim()

    assert await world.log.persist(beginning(1, at=stale)) == frozenset()


async def test_a_transaction_may_begin_and_end_in_one_batch(world: World) -> None:
    """Its row shows the end, and no new owner loads it."""
    at = await world.claim()
    ended = row(1, status=Status.ENDED, outcome=Outcome.ABORTED, active=False)

    await world.log.persist(Batch([at], [ended], [entry(1, 0, begun(1)), entry(1, 1, Ended())], []))

    assert not await world.log.active([0])
    assert await world.log.known_starts([("order", "key-1")])


async def test_a_row_cannot_begin_and_change_in_one_batch(world: World) -> None:
    """One statement would not see its own new row: such a change would be lost in silence."""
    at = await world.claim()

    with pytest.raises(AssertionError, match="two rows"):
        await world.log.persist(Batch([at], [row(1)], [], [change(1)]))


async def test_nothing_is_written_without_a_position(world: World) -> None:
    """What belongs to no position has no fence: the caller has a bug."""
    at = await world.claim(1)

    with pytest.raises(AssertionError, match="no position"):
        await world.log.persist(Batch([at], [], [entry(1, 0, begun(1), shard=0)], []))


async def test_a_decision_is_found_by_name(world: World) -> None:
    """What was decided, what is undecided, and what never was are three answers."""
    at = await world.claim()
    await world.log.persist(beginning(1, 2, at=at))
    await world.log.persist(ending(1, at=at))

    found = await world.log.decisions([gid(1), gid(2), gid(3)])

    assert found == {gid(1): Decision.COMMIT, gid(2): None}
