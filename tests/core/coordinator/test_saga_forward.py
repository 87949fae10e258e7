"""Sagas going forward: order, results, refusals, the pivot, the end."""

from __future__ import annotations

import pytest

from coordinator.core import machine
from coordinator.core.events import Event
from coordinator.core.records import (
    Begun,
    Closed,
    CompensationBegan,
    Ended,
    Outcome,
    Parked,
    StepDone,
    StepRefused,
)
from coordinator.core.saga_state import Phase, StepPhase
from coordinator.core.transition import Status
from tests.core.coordinator.builders import (
    GID,
    SECOND,
    START_US,
    Story,
    compensated,
    executed,
    inquired,
    look_up,
    messages,
    saga,
    step,
    told,
)
from wire.messages import Execute, Result
from wire.messages import Outcome as OutcomeMessage

LINE = saga(
    step("reserve"),
    step("charge", "reserve"),
    step("dispatch", "charge", pivot=True),
    step("mail", "dispatch", back=False),
)
DIAMOND = saga(
    step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"), output=look_up("steps", "d")
)


def past_pivot() -> Story:
    story = Story.begin(LINE)
    for name in ("reserve", "charge", "dispatch"):
        story.hear(executed(name))
    return story


# ── order ────────────────────────────────────────────────────────────────────


def test_only_what_needs_nothing_starts() -> None:
    """The first turn remembers the start and asks for the first step."""
    story = Story.begin(LINE)

    assert [type(record) for record in story.records] == [Begun]
    assert messages(story.last, Execute) == [
        Execute(gid=GID, step="reserve", attempt=1, command="doreserve", data={"of": "reserve"})
    ]
    assert story.last.sends[0].key == GID
    assert story.last.sends[0].deadline_us == START_US + 30 * SECOND


def test_steps_without_needs_run_in_parallel() -> None:
    """All of them are asked for in the first turn."""
    story = Story.begin(saga(step("a"), step("b"), step("c", "a", "b")))

    assert told(story.last) == ["a <- Execute 1", "b <- Execute 1"]


def test_a_step_waits_for_everything_it_needs() -> None:
    """One of two needs is not enough, in either order."""
    for first, second in (("b", "c"), ("c", "b")):
        story = Story.begin(DIAMOND)
        assert told(story.hear(executed("a"))) == ["b <- Execute 1", "c <- Execute 1"]
        assert told(story.hear(executed(first))) == []
        assert told(story.hear(executed(second))) == ["d <- Execute 1"]


def test_a_step_sees_the_results_of_others() -> None:
    """A result is kept in the log and found by those after it, also after a crash."""
    story = Story.begin(
        saga(step("a"), step("b", "a", data=look_up("steps", "a"), key=look_up("input", "sku"))),
        sku=7,
    )
    move = story.hear(executed("a", data={"id": "r-1"}))

    assert messages(move, Execute)[0].data == {"id": "r-1"}
    assert move.sends[0].key == "7"
    assert story.crash().sends == move.sends


def test_it_commits_when_all_steps_are_done() -> None:
    """The outcome carries the output; the end comes when it is told."""
    story = Story.begin(DIAMOND)
    for name in "abc":
        story.hear(executed(name))
    move = story.hear(executed("d", data="t-1"))

    assert move.records == (
        StepDone(step="d", attempt=1, data="t-1"),
        Closed(outcome=Outcome.COMMITTED, output="t-1"),
    )
    assert messages(move, OutcomeMessage) == [
        OutcomeMessage(
            gid=GID, definition="order", version=1, key="k-1", outcome="COMMITTED", output="t-1"
        )
    ]
    assert machine.summary(story.state).status is Status.OPEN
    assert story.publish().records == (Ended(),)
    assert machine.summary(story.state)[:3] == (Status.ENDED, "COMMITTED", False)


def test_parallel_ends_do_not_commit_early() -> None:
    """The last of several final steps commits, not the first."""
    story = Story.begin(saga(step("a"), step("b")))
    story.hear(executed("b"))

    assert story.saga.phase is Phase.RUNNING
    story.hear(executed("a"))
    assert story.saga.outcome is Outcome.COMMITTED


# ── answers that change nothing ──────────────────────────────────────────────


def test_a_step_is_done_once() -> None:
    """The repetition of an answer is dropped, and cannot replace the result."""
    story = Story.begin(LINE)
    story.hear(executed("reserve", data=1))
    move = story.hear(executed("reserve", data=2))

    assert "already" in move.dropped
    assert story.saga.steps["reserve"].data == 1


@pytest.mark.parametrize("result", Result)
def test_a_step_that_was_not_asked_for_cannot_answer(result: Result) -> None:
    """A waiting step's answer is forged or from another life."""
    story = Story.begin(LINE)
    move = story.hear(executed("charge", result))

    assert move.dropped
    assert (move.records, move.sends) == ((), ())


@pytest.mark.parametrize("result", Result)
def test_an_attempt_that_was_not_made_cannot_answer(result: Result) -> None:
    """No participant can know of the next attempt before it is made."""
    story = Story.begin(LINE)
    move = story.hear(executed("reserve", result, attempt=2))

    assert move.dropped
    assert story.at("reserve") is StepPhase.RUNNING


@pytest.mark.parametrize("event", [executed("forged"), inquired("reserve"), compensated("reserve")])
def test_what_means_nothing_is_dropped(event: Event) -> None:
    """A stranger's step, a branch's inquiry, and an undo while running change nothing."""
    story = Story.begin(LINE)
    move = story.hear(event)

    assert move.dropped
    assert (move.records, move.sends) == ((), ())


def test_an_outcome_cannot_be_told_before_there_is_one() -> None:
    """A stray acknowledgement does not end a running saga."""
    story = Story.begin(LINE)

    assert story.publish().dropped
    assert story.saga.phase is Phase.RUNNING


@pytest.mark.parametrize("result", Result)
def test_an_ended_saga_listens_to_nobody(result: Result) -> None:
    """Whatever comes late, the outcome stands."""
    story = Story.begin(saga(step("a")))
    story.hear(executed("a"))
    assert story.hear(executed("a", result)).dropped
    story.publish()

    assert story.hear(executed("a", result)).dropped
    assert story.hear(compensated("a", result)).dropped
    assert story.publish().dropped


# ── refusals and the pivot ───────────────────────────────────────────────────


def test_a_first_step_refused_aborts() -> None:
    """Nothing had happened, so nothing is undone."""
    move = Story.begin(LINE).hear(executed("reserve", Result.REFUSED, reason="sold out"))

    assert move.records == (
        StepRefused(step="reserve", attempt=1, reason="sold out"),
        CompensationBegan(reason="reserve: sold out"),
        Closed(outcome=Outcome.ABORTED),
    )
    assert messages(move, OutcomeMessage)[0].reason == "reserve: sold out"


def test_a_refusal_before_the_pivot_turns_back() -> None:
    """What was done is undone; what was refused is not."""
    story = Story.begin(LINE)
    story.hear(executed("reserve"))
    move = story.hear(executed("charge", Result.REFUSED))

    assert told(move) == ["reserve <- Compensate 1"]


def test_a_refused_pivot_turns_back() -> None:
    """The pivot decides the direction, and it said no."""
    story = Story.begin(LINE)
    story.hear(executed("reserve"))
    story.hear(executed("charge"))
    move = story.hear(executed("dispatch", Result.REFUSED))

    assert story.saga.phase is Phase.COMPENSATING
    assert told(move) == ["charge <- Compensate 1"]


def test_a_refusal_after_the_pivot_parks() -> None:
    """There is no way back and no way forward: a person is needed, and told."""
    story = past_pivot()
    move = story.hear(executed("mail", Result.REFUSED, reason="no address"))

    assert move.records == (
        StepRefused(step="mail", attempt=1, reason="no address"),
        Parked(reason="mail: no address; past the pivot there is no way back"),
    )
    assert told(move) == ["anyone <- Outcome PARKED"]
    assert machine.summary(story.state)[:3] == (Status.PARKED, "PARKED", True)
    story.publish()
    assert machine.summary(story.state)[:3] == (Status.PARKED, "PARKED", False)


def test_a_parked_saga_keeps_still() -> None:
    """Answers, time and repetitions leave it to the person."""
    story = past_pivot()
    story.hear(executed("mail", Result.REFUSED))
    story.publish()

    assert story.hear(executed("mail")).dropped
    assert story.wait(10_000).sends == ()
    assert machine.wake_at_us(story.state) is None


def test_a_saga_without_pivot_may_turn_back_at_its_last_step() -> None:
    """Every step can be undone, so none is too late."""
    story = Story.begin(DIAMOND)
    for name in "abc":
        story.hear(executed(name))
    move = story.hear(executed("d", Result.REFUSED))

    assert told(move) == ["b <- Compensate 1", "c <- Compensate 1"]


# ── expressions ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("part", ["data", "key"])
def test_a_step_that_cannot_be_asked_for_is_refused(part: str) -> None:
    """Data or key without value: it was never sent, so only those before it are undone."""
    missing = look_up("steps", "a", "id")
    bad = step("b", "a", data=missing) if part == "data" else step("b", "a", key=missing)
    story = Story.begin(saga(step("a"), bad))
    move = story.hear(executed("a", data={}))

    assert [type(record) for record in move.records] == [StepDone, StepRefused, CompensationBegan]
    assert told(move) == ["a <- Compensate 1"]
    assert story.saga.reason == "b: steps.a.id has no value"


def test_a_start_that_cannot_be_asked_for_aborts() -> None:
    """The beginning and the end are one turn."""
    story = Story.begin(saga(step("a", data=look_up("input", "sku"))))

    assert [type(record) for record in story.records] == [
        Begun,
        StepRefused,
        CompensationBegan,
        Closed,
    ]
    assert story.saga.outcome is Outcome.ABORTED


def test_a_step_after_the_pivot_that_cannot_be_asked_for_parks() -> None:
    """Past the pivot a missing value is a person's business."""
    late = step("mail", "pay", back=False, data=look_up("steps", "pay", "to"))
    story = Story.begin(saga(step("pay", pivot=True), late))
    story.hear(executed("pay"))

    assert story.saga.phase is Phase.PARKED


def test_an_output_without_value_stops_no_end() -> None:
    """The steps are done, whether or not the output has a value."""
    story = Story.begin(saga(step("a"), output=look_up("steps", "x")))
    story.hear(executed("a"))

    assert story.saga.outcome is Outcome.COMMITTED
    assert story.saga.reason == "output: steps.x has no value"
