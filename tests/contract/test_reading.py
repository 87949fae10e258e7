"""What a new owner loads, and what is looked up."""

from __future__ import annotations

import pytest

from coordinator.core.records import Decided, Decision, Outcome, StepDone
from coordinator.core.transition import Status
from coordinator.log.store import Batch, KnownStart, StoredDefinition, VersionTaken
from tests.contract.batches import (
    DEFINITION,
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


async def test_records_come_in_order_of_transaction_and_sequence(world: World) -> None:
    """Ten comes after two, whatever the order of writing."""
    at = await world.claim()
    late = [entry(1, seq, StepDone(step="s", attempt=1)) for seq in (10, 2, 1, 9)]
    await world.log.persist(beginning(2, 1, at=at))
    await world.log.persist(Batch([at], [], late, []))

    found = [(one.gid, one.seq) for one in await world.log.active([0])]

    assert found == [(gid(1), seq) for seq in (0, 1, 2, 9, 10)] + [(gid(2), 0)]


async def test_names_are_ordered_byte_by_byte(world: World) -> None:
    """The order of names is nobody's locale."""
    at = await world.claim()
    names = ["a.b", "a-b", "ab", "B", "a.a"]
    rows = [row(n, gid=name) for n, name in enumerate(names)]
    entries = [(0, entry(n, 0, begun(n))[1]._replace(gid=name)) for n, name in enumerate(names)]
    await world.log.persist(Batch([at], rows, entries, []))

    assert [one.gid for one in await world.log.active([0])] == sorted(names)


async def test_what_needs_no_owner_is_not_loaded(world: World) -> None:
    """Ended and told-as-parked transactions stay in the log, and out of memory."""
    at = await world.claim()
    await world.log.persist(beginning(1, 2, 3, at=at))
    parked = change(2, status=Status.PARKED, outcome=Outcome.PARKED)
    await world.log.persist(joined(ending(1, at=at), Batch([], [], [], [parked])))

    assert {one.gid for one in await world.log.active([0])} == {gid(3)}


async def test_a_parked_transaction_whose_outcome_is_yet_to_be_told_is_loaded(
    world: World,
) -> None:
    """What counts is whether it needs an owner, not what people call it."""
    at = await world.claim()
    await world.log.persist(beginning(1, at=at))
    parked = change(1, status=Status.PARKED, outcome=Outcome.PARKED, active=True)
    await world.log.persist(Batch([at], [], [], [parked]))

    assert {one.gid for one in await world.log.active([0])} == {gid(1)}


async def test_only_the_shards_asked_for_are_loaded(world: World) -> None:
    """Others have their own owner."""
    for shard in (0, 1, 2):
        await world.log.persist(beginning(shard, at=await world.claim(shard)))

    assert {one.gid for one in await world.log.active([0, 2])} == {gid(0, 0), gid(2, 2)}


async def test_a_known_start_tells_its_transaction_and_input(world: World) -> None:
    """Only those that exist are in the answer."""
    await world.log.persist(beginning(1, at=await world.claim()))
    asked = [("order", "key-1"), ("order", "key-2"), ("refund", "key-1")]

    assert await world.log.known_starts(asked) == {
        ("order", "key-1"): KnownStart(gid(1), "input-1")
    }


@pytest.mark.parametrize("text", ["nul\0", "half of a character \ud800"])
async def test_a_text_that_no_log_can_hold_is_not_known(world: World, text: str) -> None:
    """Any message may have one: were it an error, it would be read and fail for ever."""
    await world.log.persist(beginning(1, at=await world.claim()))

    known = await world.log.known_starts([("order", text), (text, "key-1"), ("order", "key-1")])

    assert list(known) == [("order", "key-1")]
    assert await world.log.decisions([text, gid(1)]) == {gid(1): None}


async def test_a_decision_is_found_beside_a_nul(world: World) -> None:
    """JSON allows what Postgres' JSON operators refuse; a decision must be found all the same."""
    at = await world.claim()
    await world.log.persist(beginning(1, at=at))
    decided = Decided(decision=Decision.ABORT, awaited=(), output={"\0": "\0"})
    await world.log.persist(Batch([at], [], [entry(1, 1, decided)], []))

    assert await world.log.decisions([gid(1)]) == {gid(1): Decision.ABORT}
    assert (await world.log.active([0]))[1].record == decided


async def test_a_large_record_is_kept_whole(world: World) -> None:
    """Two megabytes of a step's result are unusual, and no reason to fail."""
    at = await world.claim()
    large = StepDone(step="s", attempt=1, data="x" * 2_000_000)

    await world.log.persist(joined(beginning(1, at=at), Batch([], [], [entry(1, 1, large)], [])))

    assert (await world.log.active([0]))[1].record == large


async def test_numbers_are_kept_as_they_are(world: World) -> None:
    """Neither large integers nor fractions are rounded on their way."""
    at = await world.claim()
    exact = StepDone(step="s", attempt=1, data=[2**80, -(2**63), 0.1, 1e300])

    await world.log.persist(joined(beginning(1, at=at), Batch([], [], [entry(1, 1, exact)], [])))

    assert (await world.log.active([0]))[1].record == exact


async def test_a_definition_is_published_once(world: World) -> None:
    """To publish the same again is no news."""
    assert await world.log.publish(DEFINITION)
    assert not await world.log.publish(DEFINITION)

    assert await world.log.definitions() == [DEFINITION]


async def test_a_version_keeps_its_text(world: World) -> None:
    """Another text under a published version is refused, and says so."""
    await world.log.publish(DEFINITION)

    with pytest.raises(VersionTaken, match="order version 1"):
        await world.log.publish(DEFINITION._replace(hash="hash-2", source="name: order # new"))

    assert await world.log.definitions() == [DEFINITION]


async def test_versions_stand_side_by_side(world: World) -> None:
    """A running transaction follows its own, so all are kept."""
    second = StoredDefinition("hash-2", "order", 2, "name: order")
    assert await world.log.publish(second)
    assert await world.log.publish(DEFINITION)

    assert await world.log.definitions() == [DEFINITION, second]
