"""Transactions that rest before they ask for anything: `start.delay`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core.records import Outcome
from recovery.rebuild import rebuild
from recovery.traces import Traces
from sagas.model import AnyDefinition, EvaluationFailed, Scope
from tests.core.coordinator.builders import (
    NO_START,
    SECOND,
    START_US,
    Story,
    atomic,
    branch,
    compensated,
    saga,
    step,
    told,
)
from wire.messages import Action

REST_S = 100
ASKED_US = START_US + REST_S * SECOND

SAGA = saga(step("a", timeout_s=20), deadline_s=30)
PAIR = atomic("x", "y", vote_timeout_s=5)
ALONE = atomic("x", vote_timeout_s=5)


def resting(definition: AnyDefinition) -> Story:
    """Start it, to be asked for after a while."""
    start = replace(NO_START, delay_us=REST_S * SECOND)
    return Story.begin(replace(definition, start=start))


@pytest.mark.parametrize(
    ("definition", "asked"),
    [
        (SAGA, ["a <- Execute 1"]),
        (PAIR, ["x <- Prepare", "y <- Prepare"]),
        (ALONE, ["x <- Prepare one-phase"]),
    ],
)
@pytest.mark.parametrize("taken_over", [True, False])
def test_nothing_is_asked_before_it_has_rested(
    definition: AnyDefinition, asked: list[str], *, taken_over: bool
) -> None:
    """Not by a new owner either; then as if it had just begun."""
    story = resting(definition)
    assert story.last.sends == ()
    assert story.wait(REST_S - 1).sends == ()
    if taken_over:
        assert story.crash().sends == ()
    assert told(story.sleep()) == asked
    assert story.now_us == ASKED_US


def test_its_time_counts_from_when_it_has_rested() -> None:
    """The time of a saga, and the time for all votes."""
    assert resting(SAGA).saga.deadline_us == ASKED_US + 30 * SECOND
    story = resting(PAIR)
    story.sleep()
    assert {send.deadline_us for send in story.last.sends} == {ASKED_US + 5 * SECOND}


def test_what_can_never_be_asked_is_refused_before_it_rests() -> None:
    def impossible(_scope: Scope) -> object:
        raise EvaluationFailed("no such field")

    story = resting(atomic("x", branch("y", data=impossible)))
    assert told(story.last) == ["anyone <- Outcome ABORTED"]


def test_a_person_may_abort_it_meanwhile() -> None:
    """Its participants are told all the same, so that nothing late can happen there."""
    story = resting(PAIR)
    asked = told(story.order(Action.ABORT))
    assert asked == ["x <- Rollback", "y <- Rollback", "anyone <- Outcome ABORTED"]

    story = resting(SAGA)
    assert told(story.order(Action.ABORT)) == ["a <- Compensate 1"]
    assert "anyone <- Outcome COMPENSATED" in told(story.hear(compensated("a")))


@pytest.mark.parametrize("definition", [SAGA, PAIR, ALONE])
def test_a_log_that_has_forgotten_lets_it_rest(definition: AnyDefinition) -> None:
    """Without a trace of it, nobody was asked: it is not given up."""
    state, records = rebuild(resting(definition).state, Traces(), START_US)
    assert (state.outcome, records) == (None, ())


def test_a_log_that_has_forgotten_gives_up_what_has_rested() -> None:
    state, _ = rebuild(resting(PAIR).state, Traces(), ASKED_US)
    assert state.outcome is Outcome.ABORTED
