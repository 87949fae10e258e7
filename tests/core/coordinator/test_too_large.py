"""Commands that no topic would take: they are answered as their participants would."""

from __future__ import annotations

import pytest

from coordinator.core.records import CompensationBegan, StepRefused
from coordinator.core.saga_state import Phase, StepPhase
from coordinator.too_large import too_large
from tests.core.coordinator.builders import Story, messages, saga, step
from wire.messages import Compensate, Execute


def unsent(story: Story) -> None:
    """Let the command that has just been made be too large."""
    [execute] = messages(story.last, Execute)
    no = too_large(execute, 2_000_000)
    assert no is not None
    story.hear(no)


def test_the_first_attempt_is_refused() -> None:
    """Nobody was asked, and nothing is to be undone."""
    story = Story.begin(saga(step("book")))
    unsent(story)

    assert isinstance(story.last.records[0], StepRefused)
    assert story.saga.phase is Phase.CLOSED


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
