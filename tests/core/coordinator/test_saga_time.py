"""Sagas and time: attempts, pauses, busy participants, silence, deadlines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core import machine
from coordinator.core.events import StepSilent
from coordinator.core.records import AttemptFailed, CompensationBegan, Parked, Unanswered
from coordinator.core.saga_state import Phase, StepPhase
from sagas.model import OnDeadline
from tests.core.coordinator.builders import (
    SECOND,
    START_US,
    Story,
    executed,
    messages,
    saga,
    step,
    told,
)
from wire.messages import Action, Execute, Result

ONE = saga(step("a"))
LINE = saga(
    step("a"),
    step("pay", "a", pivot=True, attempts=2),
    step("mail", "pay", back=False, attempts=2),
    deadline_s=100,
)
BUSY, DONE, FAILED, REFUSED = Result.BUSY, Result.DONE, Result.FAILED, Result.REFUSED


def at_pivot() -> Story:
    story = Story.begin(LINE)
    story.hear(executed("a"))
    return story


def past_pivot() -> Story:
    story = at_pivot()
    story.hear(executed("pay"))
    return story


# ── attempts ─────────────────────────────────────────────────────────────────


def test_a_failed_attempt_is_made_again_after_a_pause() -> None:
    """The pause is random up to the first one's length, and fixed by the record."""
    story = Story.begin(ONE)
    move = story.hear(executed("a", FAILED, reason="disk"))

    assert move.sends == ()
    (record,) = move.records
    assert isinstance(record, AttemptFailed)
    assert (record.attempt, record.why, record.reason) == (1, Unanswered.FAILED, "disk")
    assert record.retry_at_us is not None
    assert START_US <= record.retry_at_us < START_US + SECOND
    assert told(story.sleep()) == ["a <- Execute 2"]
    assert story.now_us == record.retry_at_us


def test_the_attempts_are_those_of_the_definition() -> None:
    """Three attempts are made, the third failure is the last, and then it goes back."""
    story = Story.begin(ONE)
    for attempt in (1, 2):
        story.hear(executed("a", FAILED, attempt))
        story.sleep()
    move = story.hear(executed("a", FAILED, 3))

    assert [m.attempt for m in story_attempts(story)] == [1, 2, 3]
    assert isinstance(move.records[0], AttemptFailed)
    assert move.records[0].retry_at_us is None
    assert isinstance(move.records[1], CompensationBegan)
    assert told(move) == ["a <- Compensate 1"]


def story_attempts(story: Story) -> list[Execute]:
    return [s.message for s in story.sent if isinstance(s.message, Execute)]


def test_silence_is_an_attempt_too() -> None:
    """Nobody knows whether it was done: the next attempt shares its effect."""
    story = Story.begin(ONE)
    move = story.wait(30)

    (record,) = move.records
    assert isinstance(record, AttemptFailed)
    assert (record.attempt, record.why) == (1, Unanswered.SILENT)
    assert record.reason == "no answer within 30 s"


def test_silence_begins_at_the_timeout_not_before() -> None:
    """Until the last microsecond an answer may come."""
    story = Story.begin(ONE)
    assert machine.wake_at_us(story.state) == START_US + 30 * SECOND
    story.now_us = START_US + 30 * SECOND - 1

    assert story.wake().records == ()


def test_a_whole_life_of_silence_ends_in_compensation() -> None:
    """Unknown is undone as well: its barrier makes a late arrival refuse."""
    story = Story.begin(ONE)
    while story.saga.phase is Phase.RUNNING:
        story.sleep()

    assert [m.attempt for m in story_attempts(story)] == [1, 2, 3]
    assert story.at("a") is StepPhase.UNDOING
    assert told(story.last) == ["a <- Compensate 1"]


@pytest.mark.parametrize("result", [DONE, REFUSED])
def test_a_final_answer_to_an_old_attempt_counts(result: Result) -> None:
    """Attempts share one effect, so what is final for one is final for all."""
    story = Story.begin(ONE)
    story.wait(30)
    story.sleep()
    move = story.hear(executed("a", result, 1))

    assert not move.dropped
    assert story.at("a") is (StepPhase.DONE if result is DONE else StepPhase.REFUSED)


@pytest.mark.parametrize("result", [FAILED, BUSY])
def test_a_passing_answer_to_an_old_attempt_does_not(result: Result) -> None:
    """It would count one failure twice."""
    story = Story.begin(ONE)
    story.wait(30)
    story.sleep()
    move = story.hear(executed("a", result, 1))

    assert move.dropped == "step a is at attempt 2"


def test_an_answer_during_the_pause_counts() -> None:
    """A step given up as silent that then answers is done; no second attempt is made."""
    story = Story.begin(ONE)
    story.wait(30)
    story.hear(executed("a", DONE, 1))
    story.wait(1000)

    assert [m.attempt for m in story_attempts(story)] == [1]


def test_a_stale_silence_counts_nothing() -> None:
    """A timer of an earlier attempt that fires late is dropped."""
    story = Story.begin(ONE)
    story.hear(executed("a", FAILED))

    assert story.hear(StepSilent("a", 1)).dropped


def test_parallel_steps_count_their_own_attempts() -> None:
    """The silence of two is two records in one turn."""
    story = Story.begin(saga(step("a"), step("b")))
    move = story.wait(30)

    assert [r.step for r in move.records if isinstance(r, AttemptFailed)] == ["a", "b"]


def test_one_exhausted_step_turns_the_others_back() -> None:
    """When two fall silent at once, the second's silence belongs to a saga that goes back."""
    story = Story.begin(saga(step("a", attempts=1), step("b", attempts=1)))
    move = story.wait(30)

    assert [type(r) for r in move.records] == [AttemptFailed, CompensationBegan]
    assert told(move) == ["a <- Compensate 1", "b <- Compensate 1"]


# ── busy ─────────────────────────────────────────────────────────────────────


def test_busy_costs_no_attempt() -> None:
    """The same attempt is made again after at least half the first pause."""
    story = Story.begin(ONE)
    for _ in range(10):
        before = story.now_us
        assert story.hear(executed("a", BUSY)).sends == ()
        assert told(story.sleep()) == ["a <- Execute 1"]
        assert story.now_us - before >= SECOND // 2


def test_pauses_of_a_busy_step_grow_to_their_limit() -> None:
    """Each is half to all of its doubled length, and never over the definition's longest."""
    story = Story.begin(saga(step("a"), deadline_s=10_000))
    pauses: list[int] = []
    for _ in range(10):
        before = story.now_us
        story.hear(executed("a", BUSY))
        story.sleep()
        pauses.append(story.now_us - before)

    full = [min(2**n, 60) * SECOND for n in range(10)]
    assert all(top // 2 <= pause <= top for top, pause in zip(full, pauses, strict=True))


def test_the_timeout_of_a_deferred_attempt_starts_anew() -> None:
    """Waiting for a busy participant is not silence."""
    story = Story.begin(ONE)
    story.hear(executed("a", BUSY))
    story.sleep()

    assert messages(story.last, Execute)[0].attempt == 1
    assert story.last.sends[0].deadline_us == story.now_us + 30 * SECOND
    assert machine.wake_at_us(story.state) == story.now_us + 30 * SECOND


def test_the_same_busy_twice_is_one_busy() -> None:
    """A repeated answer must neither be recorded again nor put the retry off further."""
    story = Story.begin(ONE)
    story.hear(executed("a", BUSY))
    before = story.saga.steps["a"]
    move = story.hear(executed("a", BUSY))

    assert move.records == ()
    assert story.saga.steps["a"] == before


def test_a_pivot_that_stays_busy_does_not_outlive_the_deadline() -> None:
    """Busy costs no attempt but the deadline stands: what is held must be seen by a person."""
    story = at_pivot()
    for _ in range(50):
        if story.saga.phase is not Phase.RUNNING:
            break
        story.hear(executed("pay", BUSY))
        story.sleep()

    assert story.saga.phase is Phase.PARKED


# ── deadlines ────────────────────────────────────────────────────────────────


def test_the_deadline_parks_where_the_definition_wants_it_so() -> None:
    """A person may let it go on, with a deadline as long as the first."""
    definition = saga(step("a", timeout_s=500), deadline_s=100)
    story = Story.begin(replace(definition, on_deadline=OnDeadline.PARK))
    move = story.wait(100)
    assert move.records == (Parked(reason="not done within its deadline of 1m 40s"),)
    story.publish()
    assert told(story.order(Action.RETRY)) == ["a <- Execute 1"]
    assert story.saga.deadline_us == story.now_us + 100 * SECOND


def test_the_deadline_before_the_pivot_turns_back() -> None:
    """What is asked for and unanswered is undone too."""
    story = Story.begin(saga(step("a", timeout_s=500), deadline_s=100))
    assert machine.wake_at_us(story.state) == START_US + 100 * SECOND
    move = story.wait(100)

    assert move.records == (CompensationBegan(reason="not done within its deadline of 1m 40s"),)
    assert told(move) == ["a <- Compensate 1"]


def test_a_microsecond_before_the_deadline_is_in_time() -> None:
    """The deadline is a moment, not an approximation."""
    story = Story.begin(saga(step("a", timeout_s=500), deadline_s=100))
    story.now_us = START_US + 100 * SECOND - 1

    assert story.wake().records == ()


def test_the_deadline_beats_the_silence_of_the_same_turn() -> None:
    """A new owner that comes late to both goes back at once and makes no new attempt."""
    story = Story.begin(saga(step("a", attempts=2), deadline_s=20))
    move = story.wait(60)

    assert [type(r) for r in move.records] == [CompensationBegan]


def test_the_deadline_does_not_interrupt_the_pivot() -> None:
    """Whether it happened decides the direction, so it is waited for."""
    story = at_pivot()
    story.now_us = START_US + 100 * SECOND
    story.hear(executed("pay", FAILED))
    story.wait(10)

    assert story.saga.phase is Phase.RUNNING
    assert story.at("pay") is StepPhase.RUNNING


def test_the_deadline_after_the_pivot_parks() -> None:
    """Past the pivot there is no way back; late is a person's business."""
    story = past_pivot()
    story.hear(executed("mail", BUSY))
    story.wait(100)

    assert story.saga.phase is Phase.PARKED
    assert story.saga.reason == (
        "not done within its deadline of 1m 40s; past the pivot there is no way back"
    )


def test_a_pivot_done_too_late_parks_at_the_next_turn() -> None:
    """The step after it was asked for, and then time is found to be over."""
    story = at_pivot()
    story.now_us = START_US + 101 * SECOND
    story.hear(executed("pay"))
    assert told(story.last) == ["mail <- Execute 1"]
    story.wake()

    assert story.saga.phase is Phase.PARKED


def test_a_pivot_without_attempts_left_parks() -> None:
    """It has no undo, and nobody knows whether it was done: never guess."""
    story = at_pivot()
    story.hear(executed("pay", FAILED, 1))
    story.sleep()
    move = story.wait(30)

    assert isinstance(move.records[-1], Parked)
    assert "it is the pivot" in move.records[-1].reason
    assert told(move) == ["anyone <- Outcome PARKED"]


def test_a_step_after_the_pivot_without_attempts_left_parks() -> None:
    """Forward is the only way, and it is blocked."""
    story = past_pivot()
    story.hear(executed("mail", FAILED, 1))
    story.sleep()
    story.hear(executed("mail", FAILED, 2))

    assert story.saga.phase is Phase.PARKED
    assert story.at("mail") is StepPhase.EXHAUSTED
