"""Claims on locks: written under the fence, read in order, and who is over."""

from __future__ import annotations

from coordinator.core.lock import Claim
from coordinator.core.records import Outcome
from coordinator.core.transition import Status
from coordinator.log.store import Batch, ClaimChange, Position
from tests.contract.batches import START_US, beginning, change, ending, gid, joined
from tests.contract.conftest import World


def claim(number: int, place: int, *, held: bool = False) -> Claim:
    return Claim(gid(number), place, START_US + place, START_US + 9 if held else None)


def claiming(at: Position, lock: str, *claims: Claim) -> Batch:
    changes = [ClaimChange(at.shard, lock, one.gid, one) for one in claims]
    return Batch([at], [], [], [], claims=changes)


async def test_claims_come_in_the_order_of_their_places(world: World) -> None:
    """Lock by lock, to the microsecond, and only those of the shards asked for."""
    at, other = await world.claim(0), await world.claim(1)
    await world.log.persist(claiming(at, "y", claim(3, 7), claim(1, 2, held=True)))
    await world.log.persist(claiming(at, "x", claim(2, 1, held=True)))
    await world.log.persist(claiming(other, "z", claim(1, 1)))

    assert list(await world.log.claims([0])) == [
        (0, "x", claim(2, 1, held=True)),
        (0, "y", claim(1, 2, held=True)),
        (0, "y", claim(3, 7)),
    ]


async def test_a_claim_changes_and_goes(world: World) -> None:
    """One is given up and the next becomes the holder in the same batch."""
    at = await world.claim()
    await world.log.persist(claiming(at, "x", claim(1, 1, held=True), claim(2, 2)))
    gone = ClaimChange(0, "x", gid(1), None)
    unknown = ClaimChange(0, "x", gid(9), None)
    now = ClaimChange(0, "x", gid(2), claim(2, 2, held=True))

    assert await world.log.persist(Batch([at], [], [], [], claims=[gone, unknown, now])) == {0}
    assert list(await world.log.claims([0])) == [(0, "x", claim(2, 2, held=True))]


async def test_a_deposed_owner_gives_no_lock_away(world: World) -> None:
    """Nor does it take one back. What it writes for shards that it still owns counts."""
    at, mine = await world.claim(0), await world.claim(1)
    await world.log.persist(claiming(at, "x", claim(1, 1, held=True)))
    await world.claim(0)
    stale = Batch(
        [at],
        [],
        [],
        [],
        claims=[ClaimChange(0, "x", gid(1), None), ClaimChange(0, "x", gid(2), claim(2, 2))],
    )

    assert await world.log.persist(joined(stale, claiming(mine, "z", claim(3, 1)))) == {1}
    found = [(lock, one.gid) for _, lock, one in await world.log.claims([0, 1])]
    assert found == [("x", gid(1)), ("z", gid(3))]


async def test_what_has_ended_or_never_was_is_not_unended(world: World) -> None:
    """What is parked has not ended."""
    at = await world.claim()
    await world.log.persist(beginning(1, 2, 3, at=at))
    parked = change(2, status=Status.PARKED, outcome=Outcome.PARKED)
    await world.log.persist(joined(ending(1, at=at), Batch([], [], [], [parked])))

    asked = [gid(1), gid(2), gid(3), gid(4), "nul\0"]
    assert await world.log.unended(asked) == {gid(2), gid(3)}
