"""The letter box, and who waits for what."""

from __future__ import annotations

from coordinator.core.events import Letter
from coordinator.log.store import LETTERS_LIMIT, Batch, Waiting
from tests.contract.batches import LEASE_US, START_US, beginning, gid
from tests.contract.conftest import World

PAID = ("payments", 'event.order = "7"')
SHIPPED = ("shipments", 'event.order = "7"')


def letter(offset: int, place: tuple[str, str] = PAID, *, after_us: int = 0) -> Letter:
    return Letter(*place, 0, offset, START_US + after_us, {"n": offset, "text": 'ü "\\ \0'})


def waits(number: int, step: str = "paid", place: tuple[str, str] = PAID) -> Waiting:
    return Waiting(0, gid(number), step, *place)


async def test_letters_are_found_where_they_lie_the_oldest_first(world: World) -> None:
    """Whole, and only once however often they are delivered."""
    late, early, elsewhere = letter(1, after_us=9), letter(2), letter(3, SHIPPED)
    await world.log.deliver([late, elsewhere])
    await world.log.deliver([late, early])

    assert await world.log.letters([PAID]) == {PAID: [early, late]}
    assert set(await world.log.letters([PAID, SHIPPED, ("payments", "nil")])) == {PAID, SHIPPED}


async def test_no_more_letters_are_read_than_can_be_looked_at(world: World) -> None:
    """Whatever lies there, one that has just come is looked at: somebody may wait for it."""
    await world.log.deliver([letter(n, after_us=n) for n in range(LETTERS_LIMIT + 5)])

    found = await world.log.letters([PAID])

    assert [one.offset for one in found[PAID]] == list(range(5, LETTERS_LIMIT + 5))


async def test_who_waits_is_told_by_place(world: World) -> None:
    at = await world.claim()
    some = [waits(1), waits(2), waits(2, "shipped", SHIPPED)]
    await world.log.persist(beginning(1, 2, at=at)._replace(waiting=some))

    assert await world.log.waiting([PAID]) == some[:2]
    assert await world.log.waiting([PAID, SHIPPED]) == some
    assert not await world.log.waiting([("payments", "nil")])


async def test_who_waits_no_more_is_gone_and_may_wait_again(world: World) -> None:
    """For something else, too."""
    at = await world.claim()
    await world.log.persist(beginning(1, 2, at=at)._replace(waiting=[waits(1), waits(2)]))
    over = [Waiting(0, gid(1), "paid"), waits(2, "paid", SHIPPED), Waiting(0, gid(9), "never")]
    await world.log.persist(Batch([at], [], [], [], over))

    assert not await world.log.waiting([PAID])
    assert await world.log.waiting([SHIPPED]) == [waits(2, "paid", SHIPPED)]


async def test_a_stale_epoch_waits_for_nothing(world: World) -> None:
    stale = await world.claim()
    await world.log.persist(beginning(1, at=stale)._replace(waiting=[waits(1)]))
    await world.pass_time(LEASE_US + 1)
    await world.claim(owner="bob")
    over = [Waiting(0, gid(1), "paid"), waits(1, "shipped", SHIPPED)]
    await world.log.persist(Batch([stale], [], [], [], over))

    assert await world.log.waiting([PAID, SHIPPED]) == [waits(1)]


async def test_old_letters_are_thrown_away_a_few_at_a_time(world: World) -> None:
    """Of one topic, and none that is younger."""
    old = [letter(n) for n in range(5)]
    await world.log.deliver([*old, letter(9, after_us=1), letter(9, SHIPPED)])

    thrown = [await world.log.throw_away("payments", START_US + 1, 3) for _ in range(3)]

    assert thrown == [3, 2, 0]
    assert set(await world.log.letters([PAID, SHIPPED])) == {PAID, SHIPPED}
    assert [one.offset for one in (await world.log.letters([PAID]))[PAID]] == [9]
