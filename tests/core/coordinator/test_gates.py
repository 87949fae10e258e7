"""A step without work: a place in the order, and nothing else."""

from __future__ import annotations

from coordinator.core.records import Outcome, StepDone
from coordinator.core.saga_state import Phase, StepPhase
from tests.core.coordinator.builders import Story, compensated, executed, gate, messages, saga, step
from wire.messages import Compensate, Execute, Result

JOINED = saga(step("a"), step("b"), gate("both", "a", "b", pivot=True), step("c", "both"))


def test_it_is_done_in_the_turn_in_which_what_it_needs_is() -> None:
    """Nobody is asked, and what needs it is asked at once."""
    story = Story.begin(JOINED)
    story.hear(executed("a"))

    story.hear(executed("b"))

    assert story.last.records[1] == StepDone(step="both", attempt=1)
    assert [message.step for message in messages(story.last, Execute)] == ["c"]
    assert story.saga.past_pivot


def test_a_saga_of_nothing_else_commits_at_once() -> None:
    """A gate may also be the first step, and the last."""
    assert Story.begin(saga(gate("alone"))).saga.outcome is Outcome.COMMITTED


def test_it_leaves_nothing_to_undo() -> None:
    """Going back passes through it: below it is undone what was done, in order."""
    story = Story.begin(saga(step("a"), gate("g", "a"), step("b", "g"), step("c", "b")))
    story.hear(executed("a"))
    story.hear(executed("b"))

    story.hear(executed("c", Result.REFUSED))

    assert [message.step for message in messages(story.last, Compensate)] == ["b"]
    story.hear(compensated("b"))
    assert [message.step for message in messages(story.last, Compensate)] == ["a"]
    story.hear(compensated("a"))
    assert (story.saga.phase, story.at("g")) == (Phase.CLOSED, StepPhase.DONE)


def test_a_gate_that_was_passed_is_no_effect() -> None:
    """Where only gates were passed, nothing happened: aborted, not compensated."""
    story = Story.begin(saga(gate("g"), step("a", "g")))

    story.hear(executed("a", Result.REFUSED))

    assert story.saga.outcome is Outcome.ABORTED
