"""Steps that wait for an event or for a person: `wait`, `approve`."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.core import machine
from coordinator.core.arrivals import EARLY_US
from coordinator.core.events import Letter, Looked
from coordinator.core.records import AttemptFailed, Ordered, Outcome, StepDone, WaitBegan
from coordinator.core.saga_state import Phase, StepPhase
from coordinator.core.transition import Look
from coordinator.core.waiting import GRACE_US, letter_key
from recovery.rebuild import rebuild
from recovery.traces import Did, Traces
from sagas.model import EvaluationFailed, OnTimeout, Saga
from tests.core.coordinator.builders import (
    SECOND,
    START_US,
    Story,
    approving,
    compensated,
    executed,
    look_up,
    messages,
    saga,
    step,
    told,
    waiting,
)
from wire.messages import Action, Execute, Json, Result

KEY = 'event.of = "7"'
LOOK = Look("paid", "news", KEY)


def letter(event: Json, *, at_us: int = START_US, key: str = KEY) -> Letter:
    return Letter("news", key, 0, 0, at_us, event)


def looked(*letters: Letter) -> Looked:
    return Looked("paid", letters)


def waits(definition: Saga | None = None) -> Story:
    """Begin a saga whose first step is done, so that it waits to be paid."""
    story = Story.begin(
        definition or saga(step("book"), waiting("paid", "book"), step("ship", "paid")), id="7"
    )
    story.hear(executed("book"))
    return story


def test_who_begins_to_wait_says_for_what_and_looks_whether_it_is_there() -> None:
    story = waits()

    assert story.last.records[1:] == (WaitBegan(step="paid", topic="news", key=KEY),)
    assert story.last.looks == (LOOK,)
    assert machine.waits(story.state) == {LOOK}
    assert not story.last.sends


def test_an_event_that_came_first_is_found() -> None:
    """The first that fits is the step's result, and what needs it goes on."""
    story = waits(
        saga(
            step("book"),
            waiting("paid", "book"),
            step("ship", "paid", data=look_up("steps", "paid")),
        )
    )
    story.hear(looked(letter({"sum": 1}), letter({"sum": 2})))

    assert story.last.records == (StepDone(step="paid", attempt=1, data={"sum": 1}),)
    assert [one.data for one in messages(story.last, Execute)] == [{"sum": 1}]
    assert not machine.waits(story.state)


def test_an_event_that_comes_later_is_taken_once() -> None:
    story = waits()
    story.hear(looked())
    story.wait(600)
    story.hear(looked(letter({})))
    assert told(story.last) == ["ship <- Execute 1"]

    assert story.hear(looked(letter({}))).dropped


@pytest.mark.parametrize(
    "stray",
    [
        letter({"sum": 0}, at_us=START_US - EARLY_US - 1),
        letter({"sum": 0}, key='event.of = "8"'),
        letter({"sum": 3}),
        letter({}),
    ],
    ids=["of long before", "of another", "that does not match", "of which match has no value"],
)
def test_another_event_is_not_taken(stray: Letter) -> None:
    small = look_up("event", "small")
    definition = saga(
        step("book"),
        waiting("paid", "book", match=lambda scope: scope["event"].get("sum") == 0 or small(scope)),
    )
    story = waits(definition)

    story.hear(looked(stray))
    assert story.at("paid") is StepPhase.RUNNING

    story.hear(looked(stray, letter({"sum": 0}, at_us=START_US - EARLY_US)))
    assert story.saga.outcome is Outcome.COMMITTED


def test_who_waits_sleeps_once_it_has_looked() -> None:
    """Not before: what had come already would never be found."""
    story = waits()
    assert machine.shown(story.state, story.now_us).active

    story.hear(looked())

    shown = machine.shown(story.state, story.now_us)
    assert (shown.active, shown.wake_at_us) == (False, story.saga.deadline_us)
    assert machine.shown(story.replayed(), story.now_us) == shown


def test_a_new_owner_looks_again() -> None:
    story = waits()
    story.hear(looked())
    story.take_over()

    assert story.last.looks == (LOOK,)
    assert not story.last.records
    assert machine.waits(story.state) == {LOOK}


# ── in time ──────────────────────────────────────────────────────────────────


def late(on_timeout: OnTimeout = OnTimeout.FAIL) -> Story:
    """Wait for a minute, and for nothing."""
    paid = waiting("paid", "book", timeout_s=60, on_timeout=on_timeout)
    story = waits(saga(step("book"), paid, step("ship", "paid")))
    story.hear(looked())
    return story


def test_what_does_not_come_in_time_turns_the_saga_back() -> None:
    story = late()
    story.wait(59)
    assert not story.last.records
    story.wait(1)

    assert isinstance(story.last.records[0], AttemptFailed)
    assert told(story.last) == ["book <- Compensate 1"]
    story.hear(compensated("book"))
    assert story.saga.outcome is Outcome.COMPENSATED
    assert "has not come within 1m" in story.saga.reason


def test_or_it_goes_on_without() -> None:
    story = late(OnTimeout.CONTINUE)
    story.wait(60)

    assert story.last.records == (StepDone(step="paid", attempt=1),)
    assert told(story.last) == ["ship <- Execute 1"]


def test_a_wait_that_is_late_past_the_pivot_is_parked_and_can_be_begun_anew() -> None:
    story = waits(saga(step("book", pivot=True), waiting("paid", "book", timeout_s=60)))
    story.hear(looked())
    story.wait(60)
    assert story.saga.phase is Phase.PARKED
    assert not machine.waits(story.state)

    story.order(Action.RETRY)

    assert machine.waits(story.state) == {LOOK}
    assert story.last.looks == (LOOK,)
    story.hear(looked())
    story.wait(59)
    assert story.saga.phase is Phase.RUNNING
    story.hear(looked(letter({})))
    assert story.saga.outcome is Outcome.COMMITTED


def test_who_is_taken_over_late_has_time_for_what_came_meanwhile() -> None:
    """The event may lie on its topic, unread as long as nobody was there."""
    story = late()
    story.now_us += 600 * SECOND
    story.take_over()
    story.wake()
    assert story.at("paid") is StepPhase.RUNNING
    story.hear(looked())
    story.wait(GRACE_US / SECOND - 1)
    assert story.at("paid") is StepPhase.RUNNING
    story.wait(1)
    assert story.saga.phase is Phase.COMPENSATING


def test_nobody_is_given_up_before_the_box_was_looked_into() -> None:
    story = late()
    story.take_over()
    story.wait(600)

    assert story.at("paid") is StepPhase.RUNNING


def test_a_pivot_that_waits_is_no_point_of_no_return_yet() -> None:
    """Neither for the deadline nor for a person who aborts."""
    definition = saga(step("book"), waiting("paid", "book", pivot=True), deadline_s=100)
    story = waits(definition)
    story.hear(looked())
    story.wait(100)
    assert told(story.last) == ["book <- Compensate 1"]

    story = waits(definition)
    assert told(story.order(Action.ABORT)) == ["book <- Compensate 1"]


def test_a_wait_leaves_nothing_behind_when_its_saga_goes_back() -> None:
    story = Story.begin(saga(waiting("paid"), step("other")), id="7")
    story.hear(executed("other", Result.REFUSED))

    assert story.saga.outcome is Outcome.ABORTED
    assert not machine.waits(story.state)


def test_what_nobody_can_wait_for_is_refused() -> None:
    story = Story.begin(saga(waiting("paid")))
    assert story.saga.outcome is Outcome.ABORTED
    story = Story.begin(saga(waiting("paid")), id=None)
    assert "null is no key" in story.saga.reason


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), ("a", "a"), ([1, "x"], [1, "x"])])
def test_what_is_equal_has_one_key(one: Json, other: Json) -> None:
    assert letter_key("event.of", one) == letter_key("event.of", other)


def test_a_key_is_short_and_never_null() -> None:
    assert letter_key("x", 1) != letter_key("x", "1")
    assert len(letter_key("x", "y" * 10_000)) < 100
    with pytest.raises(EvaluationFailed):
        letter_key("x", None)


# ── people ───────────────────────────────────────────────────────────────────


def test_a_person_may_say_that_the_event_has_come() -> None:
    story = waits()
    story.order(Action.SIGNAL, "paid", data={"sum": 9})

    assert story.last.records[1] == StepDone(step="paid", attempt=1, data={"sum": 9})


def asks(**said: Any) -> Story:
    return waits(saga(step("book"), approving("ok", "book", **said), step("ship", "ok")))


def test_a_step_goes_on_when_somebody_approves() -> None:
    """Its result says who it was."""
    story = asks()
    assert story.last.records[1:] == (WaitBegan(step="ok"),)
    assert not story.last.looks
    assert not machine.shown(story.state, story.now_us).active

    story.order(Action.APPROVE, "ok", role="boss", data=3)

    word = {"actor": "ann", "role": "boss", "reason": "seen to", "data": 3}
    assert story.last.records[1:] == (StepDone(step="ok", attempt=1, data=word),)
    assert told(story.last) == ["ship <- Execute 1"]


def test_a_step_that_somebody_refuses_turns_the_saga_back() -> None:
    story = asks()
    story.order(Action.REFUSE, "ok")

    assert told(story.last) == ["book <- Compensate 1"]
    assert story.saga.reason == "ok: ann: seen to"


@pytest.mark.parametrize("role", ["", "clerk"])
@pytest.mark.parametrize("action", [Action.APPROVE, Action.REFUSE])
def test_only_who_may_decides(action: Action, role: str) -> None:
    """That somebody has tried is written down all the same."""
    story = asks(roles=("boss", "cfo"))
    [record] = story.order(action, "ok", role=role).records

    assert isinstance(record, Ordered)
    assert "boss or cfo" in record.refused
    assert record.role == role
    story.order(action, "ok", role="cfo")
    assert story.at("ok") is not StepPhase.RUNNING


@pytest.mark.parametrize(
    ("action", "at"),
    [(Action.APPROVE, "book"), (Action.SIGNAL, "ok"), (Action.REFUSE, ""), (Action.SIGNAL, "nil")],
)
def test_a_word_to_a_step_that_does_not_wait_for_it_is_refused(action: Action, at: str) -> None:
    story = asks()
    [record] = story.order(action, at).records

    assert isinstance(record, Ordered)
    assert record.refused


def test_nobody_is_asked_for_ever() -> None:
    story = asks(timeout_s=60)
    story.wait(60)
    assert told(story.last) == ["book <- Compensate 1"]

    story = asks(timeout_s=60, on_timeout=OnTimeout.CONTINUE)
    story.wait(60)
    assert told(story.last) == ["ship <- Execute 1"]


def test_what_is_parked_is_not_approved() -> None:
    """Or it would go on in secret once it is retried."""
    story = asks()
    story.park("by a test")
    [record] = story.order(Action.APPROVE, "ok").records

    assert isinstance(record, Ordered)
    assert "parked" in record.refused


# ── a log that has forgotten ─────────────────────────────────────────────────


def test_a_wait_that_was_over_is_known_by_what_came_after_it() -> None:
    """Else what a participant did after it would never be undone."""
    story = waits()
    traces = Traces(steps={"book": Did("done"), "ship": Did("done")})
    state, _ = rebuild(story.state, traces, START_US)
    assert state.outcome is Outcome.COMMITTED

    state, _ = rebuild(story.state, Traces(steps={"book": Did("done")}), START_US)
    assert state.phase is Phase.RUNNING


def test_an_event_of_an_earlier_wait_is_no_look_for_a_later_one() -> None:
    """Who sleeps before its own look is not found by what lies in the box, if it dies now."""
    story = waits()
    story.hear(Looked("paid", (letter({}, key="of before"),), told=True))

    assert story.last.dropped
    assert machine.shown(story.state, story.now_us).active
