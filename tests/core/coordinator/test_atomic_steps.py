"""A step that is an atomic transaction: all of it is done, or nothing; and all of it is undone."""

from __future__ import annotations

import pytest

from coordinator.core import machine, moving
from coordinator.core.records import ChildBegan, ChildEnded, Outcome
from coordinator.core.saga_state import Phase, StepPhase
from coordinator.core.two_phase_state import Phase as AtomicPhase
from coordinator.recall import replay
from coordinator.telemetry import identity
from sagas.loader import load
from tests.core.coordinator.household import Household
from wire.messages import (
    Action,
    Compensate,
    Compensated,
    End,
    Execute,
    Executed,
    Prepare,
    Result,
    Rollback,
    Settled,
    Vote,
    Voted,
)

SAGA = """
saga: trade
version: 1
deadline: 2m
steps:
  book: {call: shop.book, undo: shop.unbook}
  swap:
    atomic:
      vote_timeout: 5s
      branches:
        take: {call: left.take, with: {n: "${ input.n }"}, undo: left.put}
        give:
          call: right.put
          with: {n: "${ input.n }", of: "${ steps.book.id }"}
          undo: {call: right.take, with: {n: "${ steps.swap.give.n }"}}
  mail: {call: shop.mail, undo: {none: it is only a mail}}
output: {gave: "${ steps.swap.give }"}
"""

FORWARD = """
saga: trade
version: 1
deadline: 2m
steps:
  book: {call: shop.book, pivot: true}
  swap:
    atomic:
      branches:
        take: {call: left.take, with: {n: "${ input.n }"}}
        give: {call: right.put, with: {n: "${ input.n }"}}
  mail: {call: shop.mail}
"""


LATER = """
saga: trade
version: 1
start: {delay: 2h}
steps:
  swap:
    atomic:
      branches:
        take: {call: left.take, undo: left.put}
        give: {call: right.put, undo: right.take}
"""


def done(gid: str, step: str, result: Result = Result.DONE, **said: object) -> Executed:
    return Executed(gid=gid, step=step, attempt=1, result=result, **said)  # pyright: ignore[reportArgumentType]


def voted(gid: str, vote: Vote = Vote.COMMIT) -> list[Voted]:
    return [
        Voted(gid=gid, branch=branch, vote=vote, data={"n": 7, "at": branch})
        for branch in ("take", "give")
    ]


def settled(gid: str, end: End = End.COMMITTED) -> list[Settled]:
    return [Settled(gid=gid, branch=branch, end=end) for branch in ("take", "give")]


def swapping() -> tuple[Household, str, str]:
    """Return a trade whose swap has begun, its name and the swap's."""
    house = Household(SAGA)
    gid = house.start(n=7)
    house.hear(done(gid, "book", data={"id": "b1"}))
    return house, gid, house.child(gid, "step/swap/1")


def swapped() -> tuple[Household, str, str]:
    house, gid, swap = swapping()
    house.hear(*voted(swap), *settled(swap))
    return house, gid, swap


def test_the_branches_get_what_the_saga_knows() -> None:
    """All is evaluated before the first is asked."""
    house, _, swap = swapping()

    asked = {m.branch: (m.gid, m.command, m.data) for m in house.hears(Prepare)}

    assert asked == {
        "take": (swap, "take", {"n": 7}),
        "give": (swap, "put", {"n": 7, "of": "b1"}),
    }


def test_its_beginning_and_its_end_are_each_one_commit_with_its_sagas() -> None:
    """The household checks after each commit that both agree."""
    house, gid, swap = swapping()
    assert house.log[gid][-1].record == ChildBegan(step="swap", child=swap, attempt=1)
    assert house.log[swap][0].at_us == house.log[gid][-1].at_us

    house.hear(*voted(swap))
    assert not house.hears(Execute)[1:], "the mail waits for the second phase"
    house.hear(*settled(swap))

    assert any(isinstance(entry.record, ChildEnded) for entry in house.log[gid])
    assert [message.step for message in house.hears(Execute)] == ["mail"]


def test_its_result_is_what_its_branches_have_voted() -> None:
    """And nobody but its saga is told how it ended."""
    house, gid, _ = swapped()

    house.hear(done(gid, "mail"))

    assert house.state(gid).output == {"gave": {"n": 7, "at": "give"}}
    assert house.outcomes() == ["COMMITTED"]
    assert not house.holdings.live


def test_one_no_refuses_the_step() -> None:
    """Nothing of it happened, and what came before is undone."""
    house, gid, swap = swapping()

    house.hear(Voted(gid=swap, branch="take", vote=Vote.ABORT, reason="empty"))
    assert not house.hears(Compensate), "a branch may still hold something"
    house.hear(Settled(gid=swap, branch="give", end=End.ROLLED_BACK))

    assert house.state(gid).steps["swap"].phase is StepPhase.REFUSED
    assert [message.step for message in house.hears(Compensate)] == ["book"]


def test_a_saga_that_goes_back_aborts_what_is_undecided() -> None:
    """It is revoked at once, and waited for: then nothing of it is left to undo."""
    house, gid, swap = swapping()
    house.hear(voted(swap)[0])

    house.order(gid, Action.ABORT)

    assert {message.branch for message in house.hears(Rollback)} == {"take", "give"}
    assert not house.hears(Compensate)
    house.hear(*settled(swap, End.ROLLED_BACK))
    assert [message.step for message in house.hears(Compensate)] == ["book"]
    house.hear(Compensated(gid=gid, step="book", attempt=1, result=Result.DONE))
    assert house.outcomes() == ["COMPENSATED"]


def test_a_saga_that_goes_back_undoes_what_has_been_decided() -> None:
    """Decided is decided: it is committed first, and undone then."""
    house, gid, swap = swapping()
    house.hear(*voted(swap))

    house.order(gid, Action.ABORT)

    assert not house.hears(Rollback)
    assert not [m for m in house.hears(Prepare) if m.gid != swap]
    house.hear(*settled(swap))
    undo = house.child(gid, "undo/swap/1")
    assert {m.branch for m in house.hears(Prepare) if m.gid == undo} == {"take", "give"}


def test_all_of_it_is_undone_at_once() -> None:
    """By branches of another transaction, which get what the definition says."""
    house, gid, _ = swapped()
    house.hears(Prepare)
    house.order(gid, Action.ABORT)
    undo = house.child(gid, "undo/swap/1")

    asked = {m.branch: (m.gid, m.command, m.data) for m in house.hears(Prepare)}
    assert asked == {"take": (undo, "put", {"n": 7}), "give": (undo, "take", {"n": 7})}
    assert not house.hears(Compensate)
    house.hear(*voted(undo), *settled(undo))

    assert [message.step for message in house.hears(Compensate)] == ["book"]


def test_an_undo_that_is_aborted_is_tried_again_and_then_waits_for_a_person() -> None:
    """Each attempt is a transaction of its own; what stands is a person's business."""
    house, gid, _ = swapped()
    house.order(gid, Action.ABORT)
    for attempt in range(1, 6):
        undo = house.child(gid, f"undo/swap/{attempt}")
        assert house.log[undo], f"no attempt {attempt}"
        house.hear(*voted(undo, Vote.ABORT), *settled(undo, End.ROLLED_BACK))
        house.wait(60)

    assert house.state(gid).phase is Phase.PARKED
    assert house.outcomes() == ["PARKED"]
    house.order(gid, Action.RETRY)
    undo = house.child(gid, "undo/swap/6")
    house.hear(*voted(undo), *settled(undo))
    assert house.state(gid).steps["swap"].phase is StepPhase.UNDONE


def test_what_ends_while_its_saga_is_parked_is_taken_up_when_it_goes_on() -> None:
    """The end is written down in the same commit all the same."""
    house, gid, swap = swapping()
    house.park(gid)

    house.hear(*voted(swap), *settled(swap))
    assert not [m for m in house.hears(Execute) if m.step == "mail"]

    house.order(gid, Action.RETRY)
    assert [m.step for m in house.hears(Execute)] == ["mail"]


@pytest.mark.parametrize("votes", [0, 1, 2])
def test_another_owner_goes_on_and_begins_nothing_twice(votes: int) -> None:
    """Both are read again; the child asks its branches, the parent waits."""
    house, gid, swap = swapping()
    house.hear(*voted(swap)[:votes])
    house.hears(Prepare)

    house.crash()

    assert {message.gid for message in house.hears(Prepare)} <= {swap}
    assert len(house.log) == 2
    house.hear(*voted(swap), *settled(swap), done(gid, "mail"))
    assert house.outcomes() == ["COMMITTED"]


def test_a_saga_does_not_sleep_while_a_child_of_it_is_open() -> None:
    """Also not one that rests anew since the log was restored: its child would end without it."""
    house = Household(LATER)
    gid = house.start(n=7)
    house.wait(7_200)
    house.crash()
    assert isinstance(house.log[gid][-1].record, ChildBegan)

    state = replay([e._replace(at_us=house.now_us) for e in house.log[gid]], house.definitions)

    assert machine.shown(state, house.now_us).active


def test_another_owner_takes_back_what_was_being_taken_back() -> None:
    """Going back outlives its owner, at each of its stages."""
    house, gid, swap = swapping()
    house.hear(*voted(swap))
    house.order(gid, Action.ABORT)
    house.crash()
    house.hear(*settled(swap))
    house.crash()
    undo = house.child(gid, "undo/swap/1")
    house.hear(*voted(undo), *settled(undo))
    house.crash()

    house.hear(Compensated(gid=gid, step="book", attempt=1, result=Result.DONE))

    assert house.outcomes() == ["COMPENSATED"]
    assert len(house.log) == 3


def test_a_missing_vote_aborts_it_at_its_own_deadline() -> None:
    """The saga's own timeouts are not for it."""
    house, gid, swap = swapping()

    house.wait(5.1)
    house.wait(0.1)

    assert house.state(swap).phase is AtomicPhase.ABORTING
    assert house.state(gid).phase is Phase.RUNNING
    house.hear(*settled(swap, End.ROLLED_BACK))
    assert house.state(gid).phase is Phase.COMPENSATING


def test_a_parked_child_is_told_of_and_ends_by_a_persons_word() -> None:
    """Its saga waits meanwhile, and is told then."""
    house, gid, swap = swapping()
    house.hear(*voted(swap))
    house.hear(
        Settled(gid=swap, branch="take", end=End.COMMITTED),
        Settled(gid=swap, branch="give", end=End.HAZARD, reason="gone"),
    )
    assert house.outcomes() == ["HEURISTIC_HAZARD"]
    assert house.state(gid).steps["swap"].phase is StepPhase.RUNNING

    house.order(swap, Action.COMMIT)

    assert house.state(swap).outcome is Outcome.COMMITTED
    assert [m.step for m in house.hears(Execute)][-1] == "mail"


def test_it_is_in_its_sagas_trace_below_the_step() -> None:
    """One trace for all of it."""
    house, gid, swap = swapping()
    ours, its = (house.state(one).begun for one in (gid, swap))

    assert its.traceparent[:36] == ours.traceparent[:36]
    assert its.parent_span == identity.span_of(gid, "step/swap/1")


def test_past_the_pivot_a_person_may_have_it_asked_again() -> None:
    """Nothing of it happened, which is certain: so it is another transaction."""
    house = Household(FORWARD)
    gid = house.start(n=7)
    house.hear(done(gid, "book", data={"id": "b1"}))
    swap = house.child(gid, "step/swap/1")
    house.hear(*voted(swap, Vote.ABORT), *settled(swap, End.ROLLED_BACK))
    assert house.state(gid).phase is Phase.PARKED

    house.order(gid, Action.RETRY)

    again = house.child(gid, "step/swap/2")
    house.hear(*voted(again), *settled(again), done(gid, "mail"))
    assert house.state(gid).outcome is Outcome.COMMITTED


def test_after_a_log_was_lost_only_its_branches_can_say_no() -> None:
    """They may have committed: silence aborts nothing, and what has committed is a yes."""
    house = Household(SAGA)
    gid = house.start(n=7)
    house.generation = 2
    house.hear(done(gid, "book", data={"id": "b1"}))
    swap = house.child(gid, "step/swap/1")

    house.wait(60)
    house.order(gid, Action.ABORT)
    assert house.state(swap).phase is AtomicPhase.PREPARING
    house.hear(Voted(gid=swap, branch="take", vote=Vote.COMMITTED), voted(swap)[1])

    assert house.state(swap).outcome is Outcome.COMMITTED
    house.hear(*settled(swap))
    assert house.log[house.child(gid, "undo/swap/1")], "it is undone"


def refused(forward: str = FORWARD) -> tuple[Household, str]:
    """Return a trade that is parked past its pivot, since the swap was refused."""
    house = Household(forward)
    gid = house.start(n=7)
    house.hear(done(gid, "book"))
    house.hear(*voted(house.child(gid, "step/swap/1"), Vote.ABORT)[:1])
    house.hear(*settled(house.child(gid, "step/swap/1"), End.ROLLED_BACK)[1:])
    assert house.state(gid).phase is Phase.PARKED
    return house, gid


def test_a_group_that_was_refused_is_another_one_when_its_saga_is_moved() -> None:
    """It remembers no no: under its own name, with other branches, it is asked anew."""
    house, gid = refused()
    newer = FORWARD.replace("version: 1", "version: 2").replace("right.put", "right.offer")
    house.definitions.add(load(newer, "newer.yaml"))

    house.order(gid, Action.MOVE, to=2)

    swap = house.child(gid, "step/swap/2")
    assert {m.command for m in house.hears(Prepare) if m.gid == swap} == {"take", "offer"}
    house.hear(*voted(swap), *settled(swap), done(gid, "mail"))
    assert house.outcomes()[-1] == "COMMITTED"
    assert house.state(gid).definition.version == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [("left.take, with", "left.grab, with"), ("undo: left.put", "undo: {none: it may stand}")],
)
def test_a_group_that_is_done_stays_what_it_is(old: str, new: str) -> None:
    """Another branch was not asked; and one that has lost its undo could not be undone."""
    house, gid, _ = swapped()
    house.park(gid)
    same = load(SAGA.replace("version: 1", "version: 2"), "same.yaml")
    other = load(SAGA.replace("version: 1", "version: 2").replace(old, new), "other.yaml")

    assert moving.objections(house.state(gid), same) == []
    [against] = moving.objections(house.state(gid), other)
    assert against.startswith("swap is done; ")


def test_a_saga_is_not_moved_while_a_part_of_it_has_not_ended() -> None:
    house, gid, _ = swapping()
    house.park(gid)
    newer = load(SAGA.replace("version: 1", "version: 2"), "newer.yaml")

    [against] = moving.objections(house.state(gid), newer)

    assert against == "a transaction that is a part of it has not ended"
