"""How long attempts may go on, and how far apart they are."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.records import Outcome
from coordinator.core.saga_state import StepPhase
from sagas.model import OnUnknown, Retry
from tests.core.coordinator.builders import (
    SECOND,
    Story,
    compensated,
    executed,
    retry,
    saga,
    step,
    told,
    undo,
)
from wire.messages import Action, Result

PLAIN = retry(100, max_s=4, jitter=False, budget_s=10)


def trying(how: Retry, *, pivot: bool = False, on_unknown: OnUnknown = OnUnknown.RETRY) -> Story:
    """A lone step that is tried so."""
    only = step("a", pivot=pivot, on_unknown=on_unknown, timeout_s=1)
    return Story.begin(saga(replace(only, retry=how)))


def fail_until_given_up(story: Story, result: Result = Result.FAILED) -> list[float]:
    """Answer each attempt at once; return when each was asked, in seconds."""
    asked: list[float] = []
    while story.at("a") is StepPhase.RUNNING:
        asked.append((story.now_us - story.saga.began_us) / SECOND)
        story.hear(executed("a", result, story.saga.steps["a"].attempt))
        if story.at("a") is StepPhase.RUNNING:
            story.sleep()
    return asked


def test_without_jitter_pauses_are_as_written_and_none_begins_after_the_budget() -> None:
    """1 s, 2 s, then 4 s each: after 7 s comes 11 s, and that is too late."""
    story = trying(PLAIN)
    assert fail_until_given_up(story) == [0, 1, 3, 7]
    assert told(story.last) == ["a <- Compensate 1"]
    assert "no time is left" in story.saga.reason


def test_a_busy_participant_is_not_asked_for_longer() -> None:
    """Busy costs no attempt, so nothing else but the deadline would end it."""
    assert fail_until_given_up(trying(PLAIN), Result.BUSY) == [0, 1, 3, 7]


def test_a_pivot_whose_time_is_over_waits_for_a_person() -> None:
    """Who lets it begin anew, with all its time."""
    story = trying(PLAIN, pivot=True)
    fail_until_given_up(story, Result.BUSY)
    assert story.saga.outcome is Outcome.PARKED
    story.publish()
    story.now_us += 3600 * SECOND
    assert told(story.order(Action.RETRY)) == ["a <- Execute 2"]
    story.hear(executed("a", Result.FAILED, 2))
    assert story.at("a") is StepPhase.RUNNING
    assert told(story.sleep()) == ["a <- Execute 3"]


def test_silence_counts_with_its_timeout() -> None:
    """Asked at 0, 2 and 5 s, each with a second of silence; 10 s would be the next."""
    story = trying(retry(100, max_s=4, jitter=False, budget_s=9))
    for _ in range(5):
        story.sleep()
    assert story.at("a") is StepPhase.UNDOING
    assert story.now_us - story.saga.began_us == 6 * SECOND


def test_what_is_parked_when_silent_says_so_when_its_time_is_over_by_failing() -> None:
    """A failure is known, so the rule for silence is not for it."""
    story = trying(PLAIN, on_unknown=OnUnknown.PARK)
    fail_until_given_up(story)
    assert told(story.last) == ["a <- Compensate 1"]


def test_an_undo_has_a_budget_of_its_own() -> None:
    """From when it could first be asked, which is long after its step could."""
    limited = replace(undo("a"), retry=PLAIN)
    story = Story.begin(saga(step("a", back=limited), step("b", "a")))
    story.hear(executed("a"))
    story.now_us += 60 * SECOND
    story.hear(executed("b", Result.REFUSED))
    began_us, asked = story.now_us, list[float]()
    while story.at("a") is StepPhase.UNDOING:
        asked.append((story.now_us - began_us) / SECOND)
        story.hear(compensated("a", Result.FAILED, story.saga.steps["a"].attempt))
        if story.at("a") is StepPhase.UNDOING:
            story.sleep()
    assert asked == [0, 1, 3, 7]
    assert story.saga.outcome is Outcome.PARKED
