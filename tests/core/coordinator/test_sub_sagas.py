"""A step that is another saga: it goes forward and back as a whole, and is kept until it may."""

from __future__ import annotations

import pytest

from coordinator.core import moving
from coordinator.core.records import ChildBegan, ChildEnded, ChildRevoked, Ended, LetGo, Outcome
from coordinator.core.saga_state import Phase, StepPhase
from coordinator.errands import DEEPEST
from coordinator.telemetry import identity
from sagas.loader import load
from tests.core.coordinator.household import Household
from wire.messages import Action, Compensate, Compensated, Execute, Executed, Result

OUTER = """
saga: order
version: 1
deadline: 2m
steps:
  book: {call: shop.book, undo: shop.unbook}
  ship: {saga: shipping, with: {of: "${ steps.book.id }"}}
  mail: {call: shop.mail, undo: {none: it is only a mail}}
output: {at: "${ steps.ship.at }"}
"""
INNER = """
saga: shipping
version: 1
input: {type: object, required: [of], properties: {of: {type: string}}}
steps:
  pack: {call: depot.pack, with: {of: "${ input.of }"}, undo: depot.unpack}
  send: {call: depot.send, undo: depot.fetch}
output: {at: "${ steps.send.at }"}
"""


def done(gid: str, step: str, result: Result = Result.DONE, **said: object) -> Executed:
    return Executed(gid=gid, step=step, attempt=1, result=result, **said)  # pyright: ignore[reportArgumentType]


def undone(gid: str, step: str, result: Result = Result.DONE) -> Compensated:
    return Compensated(gid=gid, step=step, attempt=1, result=result)


def shipping(inner: str = INNER, outer: str = OUTER) -> tuple[Household, str, str]:
    """Return an order whose shipping has begun, its name and the shipping's."""
    house = Household(outer, inner)
    gid = house.start()
    house.hear(done(gid, "book", data={"id": "b1"}))
    return house, gid, house.part(gid, "step/ship/1", "shipping")


def shipped() -> tuple[Household, str, str]:
    house, gid, ship = shipping()
    house.hear(done(ship, "pack"), done(ship, "send", data={"at": "noon"}))
    return house, gid, ship


def test_it_begins_with_what_its_step_gives_it() -> None:
    """In the commit in which the order says so, below its span, and it is told nobody."""
    house, gid, ship = shipping()

    assert house.log[gid][-1].record == ChildBegan(step="ship", child=ship, attempt=1)
    begun = house.state(ship).begun
    assert (begun.name, begun.input, begun.parent, begun.step) == (
        "shipping",
        {"of": "b1"},
        gid,
        "ship",
    )
    assert begun.parent_span == identity.span_of(gid, "step/ship/1")
    assert [m.step for m in house.hears(Execute)] == ["book", "pack"]


def test_its_output_is_the_result_of_the_step() -> None:
    house, gid, ship = shipped()
    assert [m.step for m in house.hears(Execute)] == ["book", "pack", "send", "mail"]
    assert house.state(ship).phase is Phase.CLOSED, "it may yet have to go back"

    house.hear(done(gid, "mail"))

    assert house.state(gid).output == {"at": "noon"}
    assert house.outcomes() == ["COMMITTED"]
    assert [type(entry.record) for entry in house.log[ship]][-2:] == [LetGo, Ended]
    assert not house.holdings.live


def test_if_it_cannot_be_done_the_step_is_refused() -> None:
    """It has undone itself by then."""
    house, gid, ship = shipping()
    house.hear(done(ship, "pack"), done(ship, "send", Result.REFUSED, reason="no van"))
    assert house.state(gid).steps["ship"].phase is StepPhase.RUNNING
    house.hear(undone(ship, "pack"))

    assert house.state(gid).steps["ship"].phase is StepPhase.REFUSED
    assert "no van" in house.state(gid).reason
    house.hear(undone(gid, "book"))
    assert house.outcomes() == ["COMPENSATED"]
    assert not house.holdings.live


def test_what_is_done_undoes_itself_when_its_saga_goes_back() -> None:
    """In one commit with it, and before what it was built on."""
    house, gid, ship = shipped()
    house.hears(Compensate)

    house.hear(done(gid, "mail", Result.REFUSED))

    assert house.state(ship).phase is Phase.COMPENSATING
    assert [m.step for m in house.hears(Compensate)] == ["send"]
    house.hear(undone(ship, "send"), undone(ship, "pack"))
    assert [m.step for m in house.hears(Compensate)] == ["pack", "book"]
    house.hear(undone(gid, "book"))
    assert house.state(ship).outcome is Outcome.COMPENSATED
    assert house.outcomes() == ["COMPENSATED"]
    assert not house.holdings.live


def test_what_is_under_way_is_revoked() -> None:
    house, gid, ship = shipping()
    house.hear(done(ship, "pack"))

    house.order(gid, Action.ABORT)

    assert house.state(ship).phase is Phase.COMPENSATING
    house.hear(undone(ship, "send"), undone(ship, "pack"), undone(gid, "book"))
    assert house.outcomes() == ["COMPENSATED"]
    assert not house.holdings.live


@pytest.mark.parametrize("moment", range(6))
def test_whoever_takes_over_finds_both_as_they_were(moment: int) -> None:
    """At whatever commit its owner dies, it begins once, and goes back once."""
    house, gid, ship = shipping()
    story = [
        done(ship, "pack"),
        done(ship, "send", data={"at": "noon"}),
        done(gid, "mail", Result.REFUSED),
        undone(ship, "send"),
        undone(ship, "pack"),
        undone(gid, "book"),
    ]
    for i, reply in enumerate(story):
        if i == moment:
            house.crash()
        house.hear(reply)

    kinds = [type(entry.record) for entry in house.log[gid]]
    assert kinds.count(ChildBegan) == kinds.count(ChildRevoked) == 1
    assert kinds.count(ChildEnded) == 2
    assert house.outcomes() == ["COMPENSATED"]
    assert not house.holdings.live


@pytest.mark.parametrize(
    ("inner", "why"),
    [
        (INNER.replace("saga: shipping", "saga: other"), "no saga 'shipping' is published"),
        (INNER.replace("[of]", "[of, more]"), "'more' is a required property"),
        (INNER.replace("undo: depot.fetch", "pivot: true"), "has a pivot"),
        ("atomic: shipping\nversion: 1\nbranches: {a: {call: b.c}}", "no saga 'shipping'"),
    ],
)
def test_what_must_not_begin_refuses_its_step(inner: str, why: str) -> None:
    """Nothing of it is in any log."""
    house, gid, ship = shipping(inner)

    assert why in house.state(gid).reason
    assert ship not in house.log
    house.hear(undone(gid, "book"))
    assert house.outcomes() == ["COMPENSATED"]


def test_past_the_pivot_a_part_may_have_one_as_well() -> None:
    """It is not taken back; and where it is parked, its saga waits."""
    outer = OUTER.replace("undo: shop.unbook", "pivot: true").replace(
        ", undo: {none: it is only a mail}", ""
    )
    house, gid, ship = shipping(INNER.replace("undo: depot.fetch", "pivot: true"), outer)
    house.hear(done(ship, "pack"), done(ship, "send", data={"at": "noon"}), done(gid, "mail"))

    assert house.outcomes() == ["COMMITTED"]
    assert not house.holdings.live


def test_a_circle_comes_to_an_end() -> None:
    """Where a saga is a part of itself, by way of others, the deepest is refused."""
    loop = "saga: loop\nversion: 1\nsteps:\n  a: {saga: pool}\n"
    house = Household(loop, loop.replace("loop", "x").replace("pool", "loop").replace("x", "pool"))
    house.start()

    assert len(house.log) == DEEPEST
    assert not house.holdings.live
    assert house.outcomes() == ["ABORTED"]


def test_two_at_once_of_which_the_second_must_not_begin() -> None:
    """The other has begun in the same turn: it is taken back as well."""
    both = OUTER.replace("  mail:", "  bill: {needs: [book], saga: nobody}\n  mail:")
    both = both.replace("{call: shop.mail,", "{needs: [ship, bill], call: shop.mail,")
    house, gid, ship = shipping(outer=both)

    assert house.state(ship).phase is Phase.COMPENSATING
    house.hear(undone(ship, "pack"), undone(gid, "book"))
    assert house.outcomes() == ["COMPENSATED"]
    assert not house.holdings.live


def test_two_at_once_of_which_the_first_must_not_begin() -> None:
    """The other is not wanted any more, and never begins."""
    both = OUTER.replace("  ship:", "  bill: {needs: [book], saga: nobody}\n  ship:")
    both = both.replace("{saga: shipping,", "{needs: [book], saga: shipping,")
    both = both.replace("{call: shop.mail,", "{needs: [ship, bill], call: shop.mail,")
    house, gid, ship = shipping(outer=both)

    assert ship not in house.log
    house.hear(undone(gid, "book"))
    assert house.outcomes() == ["COMPENSATED"]
    assert not house.holdings.live


def test_an_undo_that_fails_parks_the_part_and_its_saga_waits() -> None:
    """A person mends the part; its saga goes on by itself."""
    house, gid, ship = shipped()
    house.hear(done(gid, "mail", Result.REFUSED), undone(ship, "send", Result.REFUSED))
    assert house.state(ship).phase is Phase.PARKED
    assert house.outcomes() == ["PARKED"]
    assert house.state(gid).phase is Phase.COMPENSATING
    house.crash()

    house.order(ship, Action.SKIP, "send")
    house.hear(undone(ship, "pack"), undone(gid, "book"))

    assert house.outcomes() == ["PARKED", "COMPENSATED"]
    assert not house.holdings.live


def test_what_a_person_lets_stand_parks_its_saga() -> None:
    """The saga cannot be undone then, and does not say that it is."""
    house, gid, ship = shipped()
    house.hear(done(gid, "mail", Result.REFUSED), undone(ship, "send", Result.REFUSED))
    house.order(ship, Action.COMMIT)

    assert house.state(gid).phase is Phase.PARKED
    assert f"{ship} stands" in house.state(gid).reason


def test_what_a_person_said_that_a_part_has_brought_stays() -> None:
    """However it ends: else what was asked for by that word would count as never asked."""
    built = OUTER.replace("shop.mail,", 'shop.mail, with: {at: "${ steps.ship.at }"},')
    house, gid, ship = shipping(outer=built)
    house.park(gid)
    house.order(gid, Action.SKIP, "ship", data={"at": "noon"})

    house.hear(done(ship, "pack", Result.REFUSED))
    house.crash()

    assert [m.data for m in house.hears(Execute) if m.step == "mail"] == [{"at": "noon"}] * 2
    house.hear(done(gid, "mail"))
    assert house.state(gid).output == {"at": "noon"}


def test_a_saga_that_a_person_ends_lets_its_parts_go() -> None:
    """What is still under way ends by itself, and is kept for nobody."""
    house, gid, ship = shipping()
    house.park(gid)
    house.order(gid, Action.COMMIT)
    assert isinstance(house.log[ship][-1].record, LetGo)

    house.hear(done(ship, "pack"), done(ship, "send"))

    assert house.state(ship).outcome is Outcome.COMMITTED
    assert not house.holdings.live


def test_a_newer_version_may_have_the_same_part_and_no_other() -> None:
    """What was done by one saga is not undone by another."""
    house, gid, _ = shipped()
    house.park(gid)
    newer = OUTER.replace("version: 1", "version: 2")

    assert moving.objections(house.state(gid), load(newer, "newer.yaml")) == []
    [against] = moving.objections(house.state(gid), load(newer.replace("shipping", "post"), "x"))
    assert "ship is done; version 2 does `saga post` there, and not `saga shipping`" in against


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after a takeover"])
def test_what_is_done_by_its_last_skip_goes_back_if_it_was_revoked_meanwhile(*, late: bool) -> None:
    """What a person has seen to is one of the things that are to be undone."""
    house, gid, ship = shipping()
    house.hear(done(ship, "pack"))
    house.park(ship)
    house.order(gid, Action.ABORT)
    if late:
        house.crash()

    house.order(ship, Action.SKIP, "send")

    assert house.state(ship).phase is Phase.COMPENSATING
    house.hear(undone(ship, "send"), undone(ship, "pack"), undone(gid, "book"))
    assert house.state(gid).outcome is Outcome.COMPENSATED
    assert not house.holdings.live


def test_what_is_done_by_its_last_skip_is_told_to_a_saga_that_goes_on() -> None:
    """As if its participant had said so."""
    house, gid, ship = shipping()
    house.hear(done(ship, "pack"))
    house.park(ship)

    house.order(ship, Action.SKIP, "send")

    assert house.state(ship).outcome is Outcome.COMMITTED
    assert house.state(gid).steps["ship"].phase is StepPhase.DONE


@pytest.mark.parametrize("action", [Action.RETRY, Action.SKIP])
@pytest.mark.parametrize("late", [False, True], ids=["at once", "after a takeover"])
def test_what_was_revoked_while_it_was_parked_goes_back_once_it_goes_on(
    action: Action, *, late: bool
) -> None:
    """Else it would do all that its saga has turned back from."""
    house, gid, ship = shipping()
    house.park(ship)
    house.order(gid, Action.ABORT)
    assert house.state(ship).phase is Phase.PARKED
    if late:
        house.crash()

    house.order(ship, action, "pack" if action is Action.SKIP else "")

    assert house.state(ship).phase is Phase.COMPENSATING
    assert house.state(gid).phase is Phase.COMPENSATING
    house.hear(undone(ship, "send"), undone(ship, "pack"), undone(gid, "book"))
    assert house.state(gid).outcome is Outcome.COMPENSATED
    assert not house.holdings.live
