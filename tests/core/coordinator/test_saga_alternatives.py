"""Going on without what was refused, and going on past what cannot be undone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.cli.plain import sentence
from coordinator.core.records import Outcome
from coordinator.core.saga_state import Phase, StepPhase
from coordinator.rehearsal.run import Verdict, rehearse
from sagas.model import Expression, OnRefused, OnUndoFailure, Saga, Scope
from tests.core.coordinator.builders import (
    Story,
    compensated,
    executed,
    look_up,
    saga,
    step,
    told,
)
from wire.messages import Action, Result

CONTINUE = OnRefused.CONTINUE


def has_no(name: str) -> Expression:
    def ask(scope: Scope) -> bool:
        return scope["steps"][name] is None

    return ask


def card_or_invoice(*, pivot: bool = False) -> Saga:
    """An invoice if the card is refused, and then both ways join."""
    return saga(
        step("order"),
        step("card", "order", on_refused=CONTINUE),
        step("invoice", "card", condition=has_no("card"), pivot=pivot),
        step("send", "card", "invoice", back=not pivot),
    )


def refused() -> Story:
    story = Story.begin(card_or_invoice())
    story.hear(executed("order"))
    story.hear(executed("card", Result.REFUSED, reason="over its limit"))
    return story


def test_what_is_refused_is_gone_without() -> None:
    """Its result is null, so what comes next may choose; why is kept."""
    story = refused()
    assert told(story.last) == ["invoice <- Execute 1"]
    assert story.saga.steps["card"].reason == "over its limit"
    assert [sentence(record, 0) for record in story.records[-2:]] == [
        "card was refused (over its limit)",
        "card is skipped: it was refused",
    ]
    assert told(story.hear(executed("invoice"))) == ["send <- Execute 1"]
    story.hear(executed("send"))
    assert story.saga.outcome is Outcome.COMMITTED


def test_what_was_gone_without_is_not_undone() -> None:
    """It has no effect, and its participant remembers that."""
    story = refused()
    assert told(story.hear(executed("invoice", Result.REFUSED))) == ["order <- Compensate 1"]
    story.hear(compensated("order"))
    assert story.saga.outcome is Outcome.COMPENSATED


def test_an_answer_that_comes_after_the_no_changes_nothing() -> None:
    story = refused()
    assert story.hear(executed("card")).dropped


def test_another_owner_goes_on_without_it() -> None:
    story = refused()
    assert told(story.take_over()) == ["invoice <- Execute 1"]


def test_an_expression_without_a_value_is_no_answer() -> None:
    """That is a mistake in the definition, not a participant's no."""
    only = step("a", on_refused=CONTINUE, data=look_up("input", "missing"))
    story = Story.begin(saga(only))
    assert story.saga.outcome is Outcome.ABORTED


def test_past_the_pivot_a_no_need_not_wait_for_a_person() -> None:
    late = step("mail", "pay", back=False, on_refused=CONTINUE)
    story = Story.begin(saga(step("pay", pivot=True), late))
    story.hear(executed("pay"))
    story.hear(executed("mail", Result.REFUSED))
    assert story.saga.outcome is Outcome.COMMITTED


def test_what_was_tried_in_vain_is_not_confirmed() -> None:
    """There is nothing to make final; the rest goes on."""
    hold = step("hold", on_refused=CONTINUE)
    confirm = replace(step("hold.confirm", "hold", "pay", back=False), confirms="hold")
    story = Story.begin(saga(hold, step("pay", "hold", pivot=True), confirm))
    story.hear(executed("hold", Result.REFUSED))
    assert told(story.hear(executed("pay"))) == ["anyone <- Outcome COMMITTED"]


def test_the_rehearsal_takes_the_other_way_as_well() -> None:
    """Each failure of the invoice, with the card refused; none ends half done."""
    found = {end.scenario: end for end in rehearse(card_or_invoice(), {}, {"card": "c"})}
    assert found["card is refused"].stands == ("order", "invoice", "send")
    assert found["card is refused, and invoice is refused"].undone == ("order",)
    assert found["card is refused, and undoing invoice is refused"].outcome == "PARKED"
    assert found["undoing card is refused"].outcome == "PARKED"
    assert {end.verdict for end in found.values()} <= {Verdict.WHOLE, Verdict.WAITS}


# ── what cannot be undone ────────────────────────────────────────────────────


def going_back(on_undo_failure: OnUndoFailure) -> Story:
    """Three in a row are done; the last is undone, the middle one cannot be."""
    steps = (
        step("a"),
        step("b", "a", on_undo_failure=on_undo_failure),
        step("c", "b"),
        step("d", "c"),
    )
    story = Story.begin(saga(*steps))
    for name in "abc":
        story.hear(executed(name))
    story.hear(executed("d", Result.REFUSED))
    story.hear(compensated("c"))
    story.hear(compensated("b", Result.REFUSED, reason="spent"))
    return story


def test_a_person_sees_at_once_what_cannot_be_undone() -> None:
    story = going_back(OnUndoFailure.PARK)
    assert story.saga.outcome is Outcome.PARKED
    assert story.at("a") is StepPhase.TO_UNDO


def test_the_others_are_undone_first_if_the_definition_wants_it_so() -> None:
    """And then a person sees what stands: it never counts as compensated."""
    story = going_back(OnUndoFailure.CONTINUE)
    assert told(story.last) == ["a <- Compensate 1"]
    assert told(story.hear(compensated("a"))) == ["anyone <- Outcome PARKED"]
    assert story.saga.reason == "b could not be undone: refused: spent"
    assert story.at("a") is StepPhase.UNDONE
    story.publish()
    assert told(story.order(Action.RETRY)) == ["b <- Compensate 2"]
    story.hear(compensated("b", attempt=2))
    assert story.saga.outcome is Outcome.COMPENSATED


def test_a_person_may_see_to_what_stands() -> None:
    story = going_back(OnUndoFailure.CONTINUE)
    story.hear(compensated("a"))
    story.publish()
    story.order(Action.SKIP, "b")
    assert story.saga.outcome is Outcome.COMPENSATED


@pytest.mark.parametrize("first", ["a", "b"])
def test_two_that_cannot_be_undone_are_both_told_and_seen_to(first: str) -> None:
    """A person who has seen to one is asked about the other."""
    go_on = OnUndoFailure.CONTINUE
    beside = (step("a", on_undo_failure=go_on), step("b", on_undo_failure=go_on))
    story = Story.begin(saga(*beside, step("c", "a", "b")))
    story.hear(executed("a"))
    story.hear(executed("b"))
    story.hear(executed("c", Result.REFUSED))
    story.hear(compensated("a", Result.REFUSED, reason="x"))
    story.hear(compensated("b", Result.REFUSED, reason="y"))
    both = "a could not be undone: refused: x; b could not be undone: refused: y"
    assert story.saga.reason == both
    story.publish()
    story.order(Action.SKIP, first)
    assert story.saga.phase is Phase.PARKED
    story.publish()
    story.order(Action.SKIP, "b" if first == "a" else "a")
    assert story.saga.outcome is Outcome.COMPENSATED


def test_what_a_person_skips_does_not_hide_what_else_is_stuck() -> None:
    """One cannot be undone while another is being undone: then a person sees to the other."""
    story = Story.begin(saga(step("a"), step("b"), step("c", "a", "b")))
    story.hear(executed("a"))
    story.hear(executed("b"))
    story.hear(executed("c", Result.REFUSED))
    story.hear(compensated("a", Result.REFUSED, reason="x"))
    story.publish()
    story.order(Action.SKIP, "b")
    assert story.saga.phase is Phase.PARKED
