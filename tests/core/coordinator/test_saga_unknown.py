"""Attempts whose answers do not come, by what the definition wants then."""

from __future__ import annotations

import pytest

from coordinator.core.records import Outcome
from coordinator.core.saga_state import Phase, StepPhase
from sagas.model import OnUnknown
from tests.core.coordinator.builders import Story, compensated, executed, saga, step, told
from wire.messages import Action, Result


def silent(on_unknown: OnUnknown, *, pivot: bool = False) -> Story:
    """The second step was asked, and nothing came."""
    story = Story.begin(saga(step("a"), step("b", "a", pivot=pivot, on_unknown=on_unknown)))
    story.hear(executed("a"))
    story.sleep()
    return story


def test_by_default_it_is_asked_again() -> None:
    story = silent(OnUnknown.RETRY)
    story.sleep()
    assert told(story.last) == ["b <- Execute 2"]


def test_it_is_undone_at_once_if_the_definition_wants_it_so() -> None:
    """Although attempts are left; itself included, since it may have been done."""
    story = silent(OnUnknown.COMPENSATE)
    assert told(story.last) == ["b <- Compensate 1"]
    assert "not to be asked again" in story.saga.reason
    assert told(story.hear(compensated("b"))) == ["a <- Compensate 1"]


@pytest.mark.parametrize("pivot", [True, False])
def test_it_waits_for_a_person_at_once_if_the_definition_wants_it_so(*, pivot: bool) -> None:
    """Who may let it be asked again, or say that it is done."""
    story = silent(OnUnknown.PARK, pivot=pivot)
    assert story.saga.outcome is Outcome.PARKED
    assert story.at("b") is StepPhase.EXHAUSTED
    story.publish()
    assert told(story.order(Action.RETRY)) == ["b <- Execute 2"]

    story = silent(OnUnknown.PARK, pivot=pivot)
    story.publish()
    assert "anyone <- Outcome COMMITTED" in told(story.order(Action.SKIP, "b"))


@pytest.mark.parametrize("on_unknown", OnUnknown)
def test_what_has_failed_is_known_and_asked_again(on_unknown: OnUnknown) -> None:
    story = Story.begin(saga(step("a", on_unknown=on_unknown)))
    story.hear(executed("a", Result.FAILED))
    story.sleep()
    assert told(story.last) == ["a <- Execute 2"]
    assert story.state.phase is Phase.RUNNING
