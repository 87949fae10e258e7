"""Sagas with locks: what they ask, what they wait for, and when they give back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coordinator.core import machine
from coordinator.core.locking import MOST
from coordinator.core.records import Ended, Locked, Locking, Outcome
from coordinator.core.saga_state import Phase
from coordinator.core.transition import Transition
from sagas.model import Busy, Expression, Lock, OnDeadline, Saga
from tests.core.coordinator.builders import (
    Story,
    constant,
    executed,
    look_up,
    messages,
    saga,
    step,
)
from wire.messages import (
    Action,
    Execute,
    LockAsk,
    LockDenied,
    LockGranted,
    LockMessage,
    LockRelease,
    LockReleased,
)

OTHER = "tf1.test.1.0.00000000000070008000000000000002"


def locked(
    key: Expression, busy: Busy = Busy.WAIT, *, delay_us: int = 0, deadline_s: float = 600
) -> Saga:
    made = saga(step("a"), step("b", "a"), deadline_s=deadline_s)
    start = replace(made.start, delay_us=delay_us)
    return replace(made, lock=Lock(key=key, busy=busy), start=start)


def begin(*names: str, busy: Busy = Busy.WAIT, **more: Any) -> Story:
    return Story.begin(locked(constant(list(names)), busy, **more))


def said(move: Transition[Any]) -> list[LockMessage]:
    return [send.message for send in move.sends if isinstance(send.message, LockMessage)]


def grant(story: Story, lock: str) -> Transition[Any]:
    return story.hear(LockGranted(gid=story.gid, lock=lock))


def ask(story: Story, lock: str, *, waits: bool = True) -> LockAsk:
    return LockAsk(gid=story.gid, lock=lock, waits=waits)


def test_locks_are_asked_for_one_after_the_other_and_in_one_order() -> None:
    """So no two sagas wait for each other; and nothing else is asked before."""
    story = begin("y", "x", "y")

    assert story.records[1:] == [Locking(locks=("x", "y"))]
    assert said(story.last) == [ask(story, "x")]
    assert said(grant(story, "x")) == [ask(story, "y")]
    last = grant(story, "y")
    assert [execute.step for execute in messages(last, Execute)] == ["a"]
    assert story.records[2:] == [Locked(lock="x"), Locked(lock="y")]


def test_it_has_ended_once_all_locks_are_free_of_it_and_the_outcome_is_told() -> None:
    """In either order; the outcome leaves together with the releases."""
    for told_first in (True, False):
        story = begin("x", "y")
        for name in ("x", "y"):
            grant(story, name)
        story.hear(executed("a"))
        closed = story.hear(executed("b"))
        gone = [LockReleased(gid=story.gid, lock=name) for name in ("x", "y")]

        assert said(closed) == [LockRelease(gid=story.gid, lock=name) for name in ("x", "y")]
        assert len(closed.sends) == 3
        if told_first:
            story.publish()
        story.hear(gone[1])
        assert story.hear(gone[1]).records == ()
        last = story.hear(gone[0])
        if not told_first:
            assert last.records == ()
            last = story.publish()
        assert last.records == (Ended(),)


def test_what_is_not_answered_is_said_again() -> None:
    """By the same owner, less and less often, and by the next one at once."""
    story = begin("x")
    first = story.now_us
    for _ in range(6):
        assert said(story.sleep()) == [ask(story, "x")]
    assert said(story.take_over()) == [ask(story, "x")]
    assert story.now_us - first < 200 * 1_000_000
    grant(story, "x")
    story.hear(executed("a"))
    story.hear(executed("b"))
    story.publish()
    release = LockRelease(gid=story.gid, lock="x")
    assert said(story.sleep()) == [release]
    assert said(story.take_over()) == [release]
    assert machine.summary(story.state).active


def test_it_gives_back_what_it_may_have_been_granted() -> None:
    """A person aborts it while it waits for its second lock: the third it never asked for."""
    story = begin("x", "y", "z")
    grant(story, "x")

    aborted = story.order(Action.ABORT)

    assert story.saga.outcome is Outcome.ABORTED
    assert said(aborted) == [LockRelease(gid=story.gid, lock=name) for name in ("x", "y")]


@pytest.mark.parametrize("on_deadline", OnDeadline)
def test_the_deadline_counts_while_it_waits(on_deadline: OnDeadline) -> None:
    """Nothing is parked that has done nothing: it would keep its place in the queue."""
    definition = replace(locked(constant("x"), deadline_s=3), on_deadline=on_deadline)
    story = Story.begin(definition)
    while story.saga.phase is Phase.LOCKING:
        story.sleep()

    assert story.saga.outcome is Outcome.ABORTED
    assert "it waited for the lock x" in story.saga.reason


def test_who_does_not_wait_is_aborted_and_says_for_whom() -> None:
    story = begin("x", busy=Busy.REJECT)

    assert said(story.last) == [ask(story, "x", waits=False)]
    move = story.hear(LockDenied(gid=story.gid, lock="x", holder=OTHER))

    assert story.saga.outcome is Outcome.ABORTED
    assert story.saga.reason == f"the lock x is held by {OTHER}"
    assert messages(move, Execute) == []


def test_who_goes_on_beside_another_says_so_in_its_log() -> None:
    """And gives back all the same: a second question may have been granted since."""
    story = begin("x", busy=Busy.ALLOW)

    move = story.hear(LockDenied(gid=story.gid, lock="x", holder=OTHER))

    assert messages(move, Execute)
    assert story.records[-1] == Locked(lock="x", beside=OTHER)
    assert grant(story, "x").dropped
    story.hear(executed("a"))
    assert said(story.hear(executed("b"))) == [LockRelease(gid=story.gid, lock="x")]


def test_a_lock_that_it_does_not_wait_for_changes_nothing() -> None:
    """Old messages: of the lock before, or of one that it will ask for."""
    story = begin("x", "y")
    grant(story, "x")

    for name in ("x", "z"):
        assert grant(story, name).dropped
        assert story.hear(LockDenied(gid=story.gid, lock=name, holder=OTHER)).dropped
    assert story.hear(LockReleased(gid=story.gid, lock="x")).dropped
    assert story.saga.passed == 1


def test_what_is_parked_keeps_its_locks_and_what_is_resolved_gives_them_back() -> None:
    story = begin("x")
    grant(story, "x")

    assert said(story.park("for a test")) == []
    assert grant(story, "x").dropped
    story.publish()
    assert said(story.order(Action.ROLLBACK)) == [LockRelease(gid=story.gid, lock="x")]


def test_an_old_grant_at_the_end_is_given_back() -> None:
    """An old question came again, after it had been answered and forgotten."""
    story = begin("x")
    grant(story, "x")
    story.hear(executed("a"))
    story.hear(executed("b"))
    story.hear(LockReleased(gid=story.gid, lock="x"))

    assert said(grant(story, "x")) == [LockRelease(gid=story.gid, lock="x")]
    assert story.saga.phase is Phase.CLOSED


def test_a_lock_is_asked_for_when_it_has_rested() -> None:
    """A cooling-off period of a day keeps nobody out; the deadline counts from its end."""
    story = begin("x", delay_us=86_400_000_000)

    assert said(story.last) == []
    assert not machine.shown(story.state, story.now_us).active
    assert said(story.sleep()) == [ask(story, "x")]
    assert story.saga.deadline_us == story.now_us + 600_000_000
    assert machine.shown(story.state, story.now_us).active


@pytest.mark.parametrize(
    ("key", "said_of_it"),
    [
        (look_up("input", "missing"), "has no value"),
        (constant(1.5), "a text or an integer"),
        (constant(True), "a text or an integer"),  # noqa: FBT003  # a JSON value
        (constant(["x", None]), "a text or an integer"),
        (constant(""), "printable"),
        (constant("x" * 201), "200 printable"),
        (constant([str(n) for n in range(MOST + 1)]), f"more than {MOST}"),
    ],
)
def test_without_a_name_for_its_lock_nothing_is_done(key: Expression, said_of_it: str) -> None:
    story = Story.begin(locked(key))

    assert story.saga.outcome is Outcome.ABORTED
    assert story.saga.reason.startswith("lock: ")
    assert said_of_it in story.saga.reason
    assert story.publish().records == (Ended(),)


def test_a_list_without_any_name_needs_no_lock() -> None:
    """What has nothing to guard waits for nobody."""
    story = Story.begin(locked(constant([])))

    assert [execute.step for execute in messages(story.last, Execute)] == ["a"]


def test_a_number_names_a_lock() -> None:
    assert begin().records[1] == Locking(locks=())
    assert Story.begin(locked(constant(7))).records[1] == Locking(locks=("7",))
