"""Steps that are wanted only if a condition holds."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.core.records import Begun, Outcome, StepSkipped
from coordinator.core.saga_state import Phase, StepPhase
from sagas.model import EvaluationFailed, Scope
from tests.core.coordinator.builders import (
    Story,
    compensated,
    constant,
    executed,
    look_up,
    saga,
    step,
    told,
)
from wire.messages import Action, Result

NEVER = constant(value=False)


def test_a_step_whose_condition_is_false_is_passed() -> None:
    """Nobody is asked, it has no result, and what needed it starts in the same turn."""
    story = Story.begin(saga(step("a"), step("b", "a", condition=NEVER), step("c", "b")))

    assert told(story.hear(executed("a"))) == ["c <- Execute 1"]
    assert story.records[-1] == StepSkipped(step="b")
    assert story.saga.steps["b"].data is None
    assert told(story.hear(executed("c"))) == ["anyone <- Outcome COMMITTED"]


def test_a_condition_sees_the_results_of_earlier_steps() -> None:
    """What was returned decides, also after a crash."""
    wrapped = saga(step("pack"), step("wrap", "pack", condition=look_up("steps", "pack", "gift")))
    story = Story.begin(wrapped)
    assert told(story.hear(executed("pack", data={"gift": True}))) == ["wrap <- Execute 1"]
    assert told(story.crash()) == ["wrap <- Execute 1"]

    story = Story.begin(wrapped)
    assert told(story.hear(executed("pack", data={"gift": False}))) == [
        "anyone <- Outcome COMMITTED"
    ]


def test_a_saga_that_wants_nothing_commits_at_once() -> None:
    """All of what was wanted is done."""
    story = Story.begin(saga(step("a", condition=NEVER), step("b", "a", condition=NEVER)))

    assert [type(record) for record in story.records[:3]] == [Begun, StepSkipped, StepSkipped]
    assert story.saga.outcome is Outcome.COMMITTED


def test_a_condition_without_a_value_refuses_its_step() -> None:
    """Nobody guesses whether it was meant."""

    def broken(_scope: Scope) -> Any:
        raise EvaluationFailed("input.gift has no value")

    story = Story.begin(saga(step("a"), step("b", "a", condition=broken)))
    assert told(story.hear(executed("a"))) == ["a <- Compensate 1"]
    assert "input.gift has no value" in story.saga.reason


def test_what_was_skipped_is_not_undone() -> None:
    """Going back passes it, and reaches what it stood on."""
    story = Story.begin(saga(step("a"), step("b", "a", condition=NEVER), step("c", "b")))
    story.hear(executed("a"))

    assert told(story.hear(executed("c", Result.REFUSED))) == ["a <- Compensate 1"]
    assert told(story.hear(compensated("a"))) == ["anyone <- Outcome COMPENSATED"]
    assert story.at("b") is StepPhase.SKIPPED


def test_past_a_pivot_that_was_skipped_there_is_no_way_back_either() -> None:
    """What comes after it has no undo."""
    story = Story.begin(
        saga(step("a"), step("p", "a", pivot=True, condition=NEVER), step("c", "p"))
    )
    story.hear(executed("a"))
    order = story.order(Action.ABORT)
    assert order.state.phase is Phase.RUNNING

    story.hear(executed("c", Result.REFUSED))
    assert story.saga.phase is Phase.PARKED


@pytest.mark.parametrize("wanted", [True, False])
def test_steps_beside_each_other_have_conditions_of_their_own(*, wanted: bool) -> None:
    """A join waits for those that are wanted."""
    story = Story.begin(saga(step("a"), step("b", condition=constant(wanted)), step("c", "a", "b")))
    assert told(story.hear(executed("a"))) == ([] if wanted else ["c <- Execute 1"])
