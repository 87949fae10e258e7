"""Commands that no topic would take: they are answered as their participants would."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordinator.core.records import CompensationBegan, StepRefused
from coordinator.core.saga_state import Phase, StepPhase
from coordinator.too_large import too_large
from sagas.model import OnRefused
from tests.core.coordinator.builders import (
    Story,
    compensated,
    constant,
    executed,
    messages,
    saga,
    step,
    undo,
)
from tests.core.coordinator.moves import PAY, STOCK, asked, mail, newer, parked, refusal
from wire.messages import Action, Compensate, Execute


def unsent(story: Story) -> None:
    """Let the command that has just been made be too large."""
    [command] = [*messages(story.last, Execute), *messages(story.last, Compensate)]
    no = too_large(command, 2_000_000)
    assert no is not None
    story.hear(no)


def test_the_first_attempt_is_refused() -> None:
    """Nobody was asked, and nothing is to be undone."""
    story = Story.begin(saga(step("book")))
    unsent(story)

    [refused, *_] = story.last.records
    assert isinstance(refused, StepRefused)
    assert not refused.asked
    assert story.saga.phase is Phase.CLOSED


def test_what_is_gone_without_if_refused_is_gone_without() -> None:
    """Nothing else can become of it."""
    story = Story.begin(saga(step("book", on_refused=OnRefused.CONTINUE), step("pay", "book")))
    unsent(story)

    assert story.at("book") is StepPhase.SKIPPED
    assert messages(story.last, Execute)


@pytest.mark.parametrize("attempts", [2, 10])
def test_what_an_earlier_attempt_may_have_done_is_undone(attempts: int) -> None:
    """A tenth attempt has one digit more than a ninth: that one may have left."""
    story = Story.begin(saga(step("book", attempts=attempts)))
    for _ in range(attempts - 1):
        story.wait(60)
        story.wait(60)
    assert story.saga.steps["book"].attempt == attempts
    unsent(story)

    assert [type(record) for record in story.last.records][-1] is CompensationBegan
    assert story.at("book") is StepPhase.UNDOING
    assert messages(story.last, Compensate)


def test_it_is_not_tried_again_for_it_becomes_no_smaller() -> None:
    """Though attempts are left: it is undone as what nobody knows."""
    story = Story.begin(saga(step("book", attempts=20)))
    story.wait(60)
    story.wait(60)
    unsent(story)

    assert story.at("book") is StepPhase.UNDOING
    assert "an earlier attempt may have been done" in story.saga.reason


# ── and moved to another version ─────────────────────────────────────────────


def too_large_for_mail(attempts: int) -> Story:
    """The money is taken, and this attempt of the mail is too large."""
    story = Story.begin(saga(STOCK, PAY, replace(mail(), retry=step("x", attempts=9).retry)))
    story.hear(executed("stock"))
    story.hear(executed("pay", data={"id": "p-1"}))
    for _ in range(attempts - 1):
        story.wait(60)
        story.wait(60)
    unsent(story)
    return parked(story)


def test_a_version_that_asks_with_less_asks_as_if_for_the_first_time() -> None:
    """Nobody has said no, and nobody remembers one."""
    story = too_large_for_mail(1)
    story.order(Action.RETRY)
    assert "would be again" in refusal(story)

    story.move(newer(STOCK, PAY, replace(mail(), data=constant("short"))))

    assert asked(story) == [("mail", "short")]
    assert messages(story.last, Execute)[0].attempt == 1


def test_what_an_earlier_attempt_may_have_done_is_asked_for_as_it_was() -> None:
    """It is no word of its participant, so nothing else may be asked for."""
    story = too_large_for_mail(2)

    story.move(newer(STOCK, PAY, replace(mail(), data=constant("short"))))

    assert "nobody knows whether it is done; its `with` is another one" in refusal(story)
    story.move(newer(STOCK, PAY, mail(timeout_s=90), version=3), 3)
    assert messages(story.last, Execute)[0].attempt == 3


@pytest.mark.parametrize("attempts", [1, 2])
def test_an_undo_that_was_never_sent_may_be_another_one(attempts: int) -> None:
    """If an earlier one may have left, it must be the same."""
    story = Story.begin(saga(step("book", back=undo("book", attempts=9)), step("pay", "book")))
    story.hear(executed("book"))
    story.order(Action.ABORT)
    story.hear(compensated("pay"))
    for _ in range(attempts - 1):
        story.wait(60)
        story.wait(60)
    unsent(story)
    parked(story)

    another = step("book", back=undo("book", attempts=9, data=constant("short")))
    story.move(newer(another, step("pay", "book")))

    assert asked(story) == ([("book", "short")] if attempts == 1 else [])
    assert ("its undo is another one" in refusal(story)) is (attempts == 2)
