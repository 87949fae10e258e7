"""What somebody else ended: hazards are recorded, told, and never hidden."""

from __future__ import annotations

import pytest

from coordinator.core import machine
from coordinator.core.records import Hazard, Outcome, Parked
from coordinator.core.transition import Status
from coordinator.core.two_phase import Phase
from tests.core.coordinator.builders import GID, Story, atomic, inquired, settled, told, voted
from wire.messages import Commit, End, Vote

PAIR = atomic("ledger", "stock")
DONE, BACK, HAZARD = End.COMMITTED, End.ROLLED_BACK, End.HAZARD


def decided(*, commit: bool) -> Story:
    """Decide, and let the outcome be told."""
    story = Story.begin(PAIR)
    if commit:
        story.hear(voted("ledger", Vote.COMMIT))
        story.hear(voted("stock", Vote.COMMIT))
    else:
        story.wait(5)
    story.publish()
    return story


@pytest.mark.parametrize(
    ("commit", "ledger", "stock", "outcome"),
    [
        (True, DONE, BACK, Outcome.HEURISTIC_MIXED),
        (True, BACK, BACK, Outcome.HEURISTIC_ROLLBACK),
        (True, HAZARD, DONE, Outcome.HEURISTIC_HAZARD),
        (True, HAZARD, BACK, Outcome.HEURISTIC_HAZARD),
        (False, BACK, DONE, Outcome.HEURISTIC_MIXED),
        (False, DONE, DONE, Outcome.HEURISTIC_COMMIT),
        (False, HAZARD, BACK, Outcome.HEURISTIC_HAZARD),
        (False, HAZARD, HAZARD, Outcome.HEURISTIC_HAZARD),
    ],
)
def test_broken_promises_have_the_names_of_the_xa_specification(
    *, commit: bool, ledger: End, stock: End, outcome: Outcome
) -> None:
    """All against the decision, some of them, or nobody knows: each is parked under its name."""
    story = decided(commit=commit)
    story.hear(settled("ledger", ledger))
    move = story.hear(settled("stock", stock))

    parked = move.records[-1]
    assert isinstance(parked, Parked)
    assert parked.outcome is outcome
    assert machine.summary(story.state)[:2] == (Status.PARKED, outcome)


def test_a_hazard_is_recorded_when_it_is_heard() -> None:
    """Not at the end: a crash must not forget it."""
    story = decided(commit=True)
    move = story.hear(settled("ledger", BACK, reason="by hand"))

    assert move.records == (Hazard(branch="ledger", end=BACK, reason="by hand"),)
    assert story.txn.waiting_for == ("stock",)


def test_a_hazard_heard_twice_is_recorded_once() -> None:
    """The answer to a repeated Commit says nothing new."""
    story = decided(commit=True)
    story.hear(settled("ledger", BACK))
    move = story.hear(settled("ledger", BACK))

    assert move.records == ()


def test_the_others_still_hear_the_decision() -> None:
    """One broken promise does not free the coordinator of its own."""
    story = decided(commit=True)
    story.hear(settled("ledger", BACK))

    assert told(story.sleep()) == ["stock <- Commit"]


def test_a_hazard_survives_a_crash_and_comes_to_its_end() -> None:
    """The new owner knows the hazard, so its repetition must complete the branch all the same."""
    story = decided(commit=True)
    story.hear(settled("ledger", HAZARD))
    story.crash()
    story.hear(settled("stock", DONE))
    story.hear(settled("ledger", HAZARD))
    story.publish()

    assert story.txn.phase is Phase.PARKED
    assert story.txn.outcome is Outcome.HEURISTIC_HAZARD


def test_a_heuristic_outcome_is_told_to_everyone() -> None:
    """Whoever was told COMMITTED must hear that it is not so."""
    story = decided(commit=True)
    story.hear(settled("ledger", BACK))
    move = story.hear(settled("stock", DONE))

    assert told(move) == ["anyone <- Outcome HEURISTIC_MIXED"]
    assert machine.summary(story.state).active
    story.publish()
    assert not machine.summary(story.state).active


def test_a_parked_transaction_still_answers_from_its_decision() -> None:
    """The decision stands, whoever broke it."""
    story = decided(commit=True)
    story.hear(settled("ledger", BACK))
    story.hear(settled("stock", DONE))
    move = story.hear(inquired("stock"))

    assert [s.message for s in move.sends] == [Commit(gid=GID, branch="stock")]


@pytest.mark.parametrize("end", End)
def test_a_parked_transaction_listens_to_nobody_else(end: End) -> None:
    """Late settlements do not change what a person is to look at."""
    story = decided(commit=False)
    story.hear(settled("ledger", DONE))
    story.hear(settled("stock", BACK))
    before = story.txn
    move = story.hear(settled("stock", end))

    assert move.dropped
    assert story.txn == before
