"""Try, confirm, cancel: nothing is confirmed before the pivot, or cancelled after it."""

from __future__ import annotations

import pytest

from coordinator.core.records import Outcome
from coordinator.core.saga_state import StepPhase
from sagas.loader import load
from sagas.model import Saga
from tests.core.coordinator.builders import (
    Story,
    compensated,
    executed,
    messages,
)
from wire.messages import Action, Compensate, Execute, Result

STEPS = """
saga: cinema
version: 1
steps:
  seat:
    if: input.wanted
    tcc: {try: cinema.hold, confirm: {call: cinema.book, timeout: 4s}, cancel: cinema.release}
    with: {row: 7}
  pay: {call: money.take, undo: money.give}
"""
WITH_PIVOT = STEPS.replace("undo: money.give", "pivot: true") + "  mail: {call: mail.send}\n"


def told(text: str, *, wanted: bool = True) -> Story:
    definition = load(text, "cinema.yaml")
    assert isinstance(definition, Saga)
    return Story.begin(definition, wanted=wanted)


def test_it_is_confirmed_once_all_else_is_done() -> None:
    """The confirmation gets what the try got, and what it returned."""
    story = told(STEPS)
    story.hear(executed("seat", data={"ticket": 3}))
    assert [m.command for m in messages(story.last, Execute)] == ["take"]

    story.hear(executed("pay"))

    [confirm] = messages(story.last, Execute)
    assert (confirm.step, confirm.command) == ("seat.confirm", "book")
    assert (confirm.data, confirm.result) == ({"row": 7}, {"ticket": 3})
    story.hear(executed("seat.confirm"))
    assert story.saga.outcome is Outcome.COMMITTED


def test_it_is_confirmed_past_the_pivot_and_holds_up_nothing_there() -> None:
    """Other steps after the pivot go on beside it."""
    story = told(WITH_PIVOT)
    story.hear(executed("seat"))

    story.hear(executed("pay"))

    assert {m.step for m in messages(story.last, Execute)} == {"seat.confirm", "mail"}


def test_it_is_cancelled_on_the_way_back() -> None:
    """Nothing was confirmed, and nothing will be."""
    story = told(STEPS)
    story.hear(executed("seat"))

    story.hear(executed("pay", Result.REFUSED))

    [cancel] = messages(story.last, Compensate)
    assert (cancel.step, cancel.command) == ("seat", "release")
    story.hear(compensated("seat"))
    assert story.saga.outcome is Outcome.COMPENSATED


def test_what_was_not_tried_is_not_confirmed() -> None:
    """A try that was skipped takes its confirmation with it."""
    story = told(STEPS, wanted=False)

    story.hear(executed("pay"))

    assert story.at("seat.confirm") is StepPhase.SKIPPED
    assert story.saga.outcome is Outcome.COMMITTED


def test_a_confirmation_that_is_refused_waits_for_a_person() -> None:
    """There is no way back, so nothing is cancelled."""
    story = told(STEPS)
    story.hear(executed("seat"))
    story.hear(executed("pay"))

    story.hear(executed("seat.confirm", Result.REFUSED))

    assert story.saga.outcome is Outcome.PARKED
    assert not messages(story.last, Compensate)


@pytest.mark.parametrize("confirmed", [True, False])
def test_what_may_be_confirmed_is_never_cancelled(*, confirmed: bool) -> None:
    """Not even if a person sends the saga back past its pivot."""
    story = told(WITH_PIVOT)
    story.hear(executed("seat"))
    story.hear(executed("pay"))
    if confirmed:
        story.hear(executed("seat.confirm"))
    story.hear(executed("mail", Result.REFUSED))

    story.order(Action.COMPENSATE)

    assert not messages(story.last, Compensate)
    assert story.at("seat") is StepPhase.STANDING
