"""Sagas going back: order, unknown steps, attempts, undos that fail."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from coordinator.core.events import Event, UndoSilent
from coordinator.core.records import (
    Closed,
    CompensationBegan,
    Outcome,
    Parked,
    StepDone,
    StepRefused,
    StepUndone,
    Unanswered,
    UndoFailed,
)
from coordinator.core.saga_state import Phase, StepPhase
from sagas.model import Saga
from tests.core.coordinator.builders import (
    GID,
    SECOND,
    Story,
    compensated,
    constant,
    executed,
    look_up,
    messages,
    saga,
    step,
    told,
    undo,
)
from wire.messages import Compensate, Result

DIAMOND = saga(
    step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"), step("last", "d", back=False)
)
DONE, FAILED, REFUSED, BUSY = Result.DONE, Result.FAILED, Result.REFUSED, Result.BUSY


def turned(definition: Saga, *done: str, refused: str) -> Story:
    """Do some steps, and let one refuse."""
    story = Story.begin(definition)
    for name in done:
        story.hear(executed(name, data={"id": name}))
    story.hear(executed(refused, REFUSED, reason="no"))
    return story


def going_back() -> Story:
    return turned(saga(step("a"), step("b", "a")), "a", refused="b")


# ── order ────────────────────────────────────────────────────────────────────


def test_a_diamond_is_undone_from_its_end() -> None:
    """Each step is undone only after all that was built on it, in parallel where that allows."""
    for first, second in (("b", "c"), ("c", "b")):
        story = turned(DIAMOND, "a", "b", "c", "d", refused="last")
        assert told(story.last) == ["d <- Compensate 1"]
        assert told(story.hear(compensated("d"))) == ["b <- Compensate 1", "c <- Compensate 1"]
        assert told(story.hear(compensated(first))) == []
        assert told(story.hear(compensated(second))) == ["a <- Compensate 1"]
        move = story.hear(compensated("a"))
        assert move.records == (
            StepUndone(step="a", attempt=1),
            Closed(outcome=Outcome.COMPENSATED),
        )
        assert story.saga.reason == "last: no"
        assert story.publish().state.phase is Phase.ENDED


def test_order_reaches_through_steps_that_stand() -> None:
    """Between them lies one without undo: the first still waits for the third."""
    line = saga(step("a"), step("b", "a", back=False), step("c", "b"), step("d", "c"))
    story = turned(line, "a", "b", "c", refused="d")

    assert told(story.last) == ["c <- Compensate 1"]
    assert story.at("b") is StepPhase.STANDING
    assert told(story.hear(compensated("c"))) == ["a <- Compensate 1"]


def test_a_step_that_is_still_running_is_undone_too() -> None:
    """Nobody knows whether it was done: the barrier knows, and refuses it from then on."""
    story = turned(saga(step("a"), step("b")), refused="a")

    assert told(story.last) == ["b <- Compensate 1"]
    assert story.hear(executed("b")).dropped
    story.hear(compensated("b", undone=False))
    assert story.records[-2] == StepUndone(step="b", attempt=1, undone=False)


def test_a_step_that_never_started_is_not_undone() -> None:
    """What waits for its needs was never asked for."""
    story = turned(saga(step("a"), step("b", "a"), step("c", "b")), "a", refused="b")

    assert story.at("c") is StepPhase.WAITING
    story.hear(compensated("a"))
    assert story.saga.outcome is Outcome.COMPENSATED


def test_what_stands_by_design_is_no_abort() -> None:
    """Something happened and stays: the outcome must not say that nothing did."""
    story = turned(saga(step("a", back=False), step("b", "a")), "a", refused="b")

    assert story.saga.outcome is Outcome.COMPENSATED


def test_wide_and_deep_sagas_turn_back_at_once() -> None:
    """Order is found without walking every path: their number is 3 to the power of 12."""
    layers = [[f"s{depth}x{width}" for width in range(3)] for depth in range(12)]
    steps = [step(name) for name in layers[0]]
    for above, below in pairwise(layers):
        steps += [step(name, *above) for name in below]
    story = Story.begin(saga(*steps, step("no", *layers[-1])))
    state = story.saga
    for name in (name for layer in layers for name in layer):
        state = state.evolve(StepDone(step=name, attempt=1), story.now_us)
    state = state.evolve(StepRefused(step="no", attempt=1, reason="no"), story.now_us)
    began = time.process_time()
    state = state.evolve(CompensationBegan(reason="no"), story.now_us)
    for name in (name for layer in layers[:0:-1] for name in layer):
        state = state.evolve(StepUndone(step=name, attempt=1), story.now_us)

    assert state.steps["s0x0"].phase is StepPhase.UNDOING
    assert time.process_time() - began < 0.5


# ── what an undo is given ────────────────────────────────────────────────────


def test_an_undo_gets_what_the_step_got_and_gave() -> None:
    """Without data of its own, it is the step's; the result is beside it."""
    story = going_back()

    assert messages(story.last, Compensate) == [
        Compensate(
            gid=GID, step="a", attempt=1, command="una", data={"of": "a"}, result={"id": "a"}
        )
    ]
    assert story.last.sends[0].deadline_us == story.now_us + 20 * SECOND


def test_an_undo_may_have_its_own_data_and_participant() -> None:
    """Its key is the step's, so that both reach the participant in order."""
    back = undo("clerk", data=look_up("steps", "a", "id"))
    definition = saga(step("a", back=back, key=constant("sku")), step("b", "a"))
    (send,) = turned(definition, "a", refused="b").last.sends

    assert isinstance(send.message, Compensate)
    assert (send.participant, send.message.data, send.key) == ("clerk", "a", "sku")


def test_an_undo_of_an_unknown_step_has_no_result() -> None:
    """The participant's own barrier knows better."""
    story = turned(saga(step("a"), step("b")), refused="a")

    assert messages(story.last, Compensate)[0].result is None


def test_an_undo_that_cannot_be_asked_for_parks() -> None:
    """Its data has no value: the effect still stands, and a person must see it."""
    back = undo("a", data=look_up("steps", "a", "nothing"))
    story = turned(saga(step("a", back=back), step("b", "a")), "a", refused="b")

    assert story.saga.phase is Phase.PARKED
    assert story.at("a") is StepPhase.STUCK
    assert told(story.last) == ["anyone <- Outcome PARKED"]
    assert story.saga.reason == "a could not be undone: steps.a.nothing has no value"


# ── attempts ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("result", [FAILED, BUSY])
def test_a_failed_undo_is_tried_again(result: Result) -> None:
    """Going back has no deadline, so busy costs an attempt as well."""
    story = going_back()
    move = story.hear(compensated("a", result, reason="disk"))

    (record,) = move.records
    assert isinstance(record, UndoFailed)
    assert (record.attempt, record.why) == (1, Unanswered.FAILED)
    assert told(story.sleep()) == ["a <- Compensate 2"]


def test_a_silent_undo_is_tried_again() -> None:
    """Its timeout is its own, not the step's."""
    story = going_back()
    assert story.wait(19).records == ()
    move = story.wait(1)

    (record,) = move.records
    assert isinstance(record, UndoFailed)
    assert record.why is Unanswered.SILENT


def test_an_undo_without_attempts_left_parks() -> None:
    """Two attempts are made; what still stands is then a person's business."""
    story = going_back()
    story.hear(compensated("a", FAILED, 1))
    story.sleep()
    move = story.hear(compensated("a", FAILED, 2, reason="disk"))

    assert move.records == (
        UndoFailed(step="a", attempt=2, why=Unanswered.FAILED, reason="disk"),
        Parked(reason="a could not be undone: disk"),
    )
    assert story.at("a") is StepPhase.STUCK
    assert len([s for s in story.sent if isinstance(s.message, Compensate)]) == 2


def test_a_refused_undo_parks_at_once() -> None:
    """An undo has no no: trying again would not help."""
    move = going_back().hear(compensated("a", REFUSED, reason="closed"))

    assert move.records[-1] == Parked(reason="a could not be undone: refused: closed")


def test_an_undone_answer_to_an_old_attempt_counts() -> None:
    """To undo twice is to undo once."""
    story = going_back()
    story.wait(20)
    story.sleep()
    move = story.hear(compensated("a", DONE, 1))

    assert story.at("a") is StepPhase.UNDONE
    assert move.records[0] == StepUndone(step="a", attempt=1)


@pytest.mark.parametrize("result", [FAILED, BUSY, REFUSED])
def test_any_other_answer_to_an_old_attempt_does_not(result: Result) -> None:
    """It would count one failure twice."""
    story = going_back()
    story.wait(20)
    story.sleep()

    assert story.hear(compensated("a", result, 1)).dropped == "the undo of a is at attempt 2"


@pytest.mark.parametrize(
    "event", [compensated("b"), compensated("x"), compensated("a", attempt=2), UndoSilent("a", 2)]
)
def test_what_is_not_being_undone_cannot_answer(event: Event) -> None:
    """Strangers, refused steps, and attempts not made are dropped."""
    story = going_back()
    move = story.hear(event)

    assert move.dropped
    assert move.records == ()


@pytest.mark.parametrize("result", Result)
def test_a_late_answer_to_the_step_does_not_stop_its_undo(result: Result) -> None:
    """Its undo is on the way and finds what is there."""
    story = turned(saga(step("a"), step("b")), refused="a")

    assert story.hear(executed("b", result)).dropped
    assert story.at("b") is StepPhase.UNDOING


def test_the_deadline_does_not_interrupt_going_back() -> None:
    """Compensation takes as long as it takes."""
    story = turned(saga(step("a"), step("b", "a"), deadline_s=10), "a", refused="b")
    story.wait(15)

    assert story.saga.phase is Phase.COMPENSATING


def test_one_stuck_undo_stops_the_rest() -> None:
    """A parked saga sends nothing more: a person decides in which order to go on."""
    story = turned(saga(step("a"), step("b"), step("c", "a", "b")), "a", "b", refused="c")
    story.hear(compensated("a", REFUSED))
    story.publish()

    assert story.at("b") is StepPhase.UNDOING
    assert story.wait(1000).sends == ()
