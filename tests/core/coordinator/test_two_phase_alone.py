"""A lone branch decides by itself: one phase, and the ways in which its answer can be lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordinator.core.records import Decided, Decision, Ended, Hazard, Outcome, Parked, Withdrawn
from coordinator.core.two_phase import Phase
from tests.core.coordinator.builders import (
    GID,
    Story,
    atomic,
    inquired,
    look_up,
    messages,
    settled,
    told,
    voted,
)
from wire.messages import End, Prepare, Rollback, Settled, Vote, Voted

ALONE = atomic("ledger", output=look_up("branches", "ledger"))
COMMITTED = Decided(decision=Decision.COMMIT, awaited=())
NO_ANSWER = "no answer in time from ledger"


def withdrawing() -> Story:
    story = Story.begin(ALONE)
    story.wait(5)
    return story


def test_a_lone_branch_is_asked_for_one_phase() -> None:
    """There is nobody to agree with, so a second phase would buy nothing."""
    story = Story.begin(ALONE)

    assert messages(story.last, Prepare) == [
        Prepare(gid=GID, branch="ledger", command="work", data={"of": "ledger"}, one_phase=True)
    ]


def test_its_commit_is_the_decision() -> None:
    """What it returned is the output, and it hears nothing more."""
    story = Story.begin(ALONE)
    move = story.hear(voted("ledger", Vote.COMMITTED, data=7))

    assert move.records == (Decided(decision=Decision.COMMIT, awaited=(), output=7),)
    assert told(move) == ["anyone <- Outcome COMMITTED"]
    assert story.publish().records == (Ended(),)


def test_its_no_is_the_decision() -> None:
    """It did nothing and never will, so there is nobody to tell."""
    move = Story.begin(ALONE).hear(voted("ledger", Vote.ABORT, reason="no funds"))

    assert move.records == (Decided(decision=Decision.ABORT, awaited=(), reason="no funds"),)
    assert told(move) == ["anyone <- Outcome ABORTED"]


def test_a_lone_reader_needs_no_commit() -> None:
    """It changed nothing."""
    move = Story.begin(ALONE).hear(voted("ledger", Vote.READ_ONLY))

    assert move.records == (COMMITTED,)
    assert told(move) == ["anyone <- Outcome COMMITTED"]


def test_a_lone_branch_may_insist_on_two_phases() -> None:
    """A participant that only knows how to prepare is then told to commit."""
    story = Story.begin(ALONE)
    move = story.hear(voted("ledger", Vote.COMMIT))

    assert told(move) == ["ledger <- Commit", "anyone <- Outcome COMMITTED"]
    story.hear(settled("ledger", End.COMMITTED))
    assert story.publish().records == (Ended(),)


def test_a_busy_lone_branch_is_asked_again() -> None:
    """Still for one phase, until the deadline withdraws the question."""
    story = Story.begin(ALONE)
    story.hear(voted("ledger", Vote.BUSY))

    assert told(story.sleep()) == ["ledger <- Prepare one-phase"]
    while story.txn.phase is Phase.DELEGATED:
        story.hear(voted("ledger", Vote.BUSY))
        story.sleep()
    assert story.txn.phase is Phase.WITHDRAWING


def test_its_silence_decides_nothing() -> None:
    """It may have committed: it is asked how it ended, and no outcome is told."""
    story = withdrawing()

    assert story.last.records == (Withdrawn(reason=NO_ANSWER),)
    assert messages(story.last, Rollback) == [Rollback(gid=GID, branch="ledger")]
    assert story.txn.outcome is None


def test_the_withdrawal_is_repeated_without_end() -> None:
    """Only the branch itself knows how it ended."""
    story = withdrawing()
    for _ in range(20):
        assert told(story.sleep()) == ["ledger <- Rollback"]
    assert story.txn.phase is Phase.WITHDRAWING


@pytest.mark.parametrize(
    "answer", [voted("ledger", Vote.COMMITTED), settled("ledger", End.COMMITTED)]
)
def test_a_commit_that_was_lost_is_believed_late(answer: Voted | Settled) -> None:
    """Whether as the late vote or as the answer to Rollback: it has committed."""
    story = withdrawing()
    story.hear(answer)

    assert story.txn.outcome is Outcome.COMMITTED
    assert told(story.last) == ["anyone <- Outcome COMMITTED"]


@pytest.mark.parametrize(
    "answer", [voted("ledger", Vote.ABORT), settled("ledger", End.ROLLED_BACK)]
)
def test_a_branch_that_has_not_committed_now_cannot(answer: Voted | Settled) -> None:
    """The transaction is aborted, and the reason is the silence."""
    story = withdrawing()
    story.hear(answer)

    assert told(story.last) == ["anyone <- Outcome ABORTED"]
    assert story.txn.reason == NO_ANSWER


@pytest.mark.parametrize("vote", [Vote.COMMIT, Vote.BUSY])
def test_a_late_yes_does_not_stop_a_withdrawal(vote: Vote) -> None:
    """Its rollback is on the way, and will end what is prepared."""
    story = withdrawing()
    move = story.hear(voted("ledger", vote))

    assert (move.records, move.sends) == ((), ())
    assert story.txn.phase is Phase.WITHDRAWING


def test_a_hazard_of_a_lone_branch_parks() -> None:
    """Somebody else ended it: no outcome can be claimed, and the hazard is told."""
    story = withdrawing()
    move = story.hear(settled("ledger", End.HAZARD, reason="forgotten"))

    assert move.records == (
        Hazard(branch="ledger", end=End.HAZARD, reason="forgotten"),
        Parked(reason="ledger: forgotten", outcome=Outcome.HEURISTIC_HAZARD),
    )
    assert told(move) == ["anyone <- Outcome HEURISTIC_HAZARD"]


@pytest.mark.parametrize("begin", [lambda: Story.begin(ALONE), withdrawing])
def test_an_undecided_lone_branch_gets_no_answer(begin: Callable[[], Story]) -> None:
    """Before the decision an inquiry is not answered."""
    assert begin().hear(inquired("ledger")).sends == ()


def test_an_inquiry_after_an_undecided_hazard_is_a_persons() -> None:
    """Nothing was decided, so nothing can be told."""
    story = withdrawing()
    story.hear(settled("ledger", End.HAZARD))
    move = story.hear(inquired("ledger"))

    assert move.sends == ()
    assert "a person decides" in move.dropped


@pytest.mark.parametrize("end", End)
def test_a_settlement_is_no_answer_to_a_one_phase_question(end: End) -> None:
    """Before the withdrawal nobody has told the branch how to end."""
    story = Story.begin(ALONE)
    story.hear(settled("ledger", end))

    assert story.txn.phase is Phase.DELEGATED


def test_a_crash_while_withdrawing_asks_again_how_it_ended() -> None:
    """The withdrawal is remembered: the branch is never asked to prepare again."""
    story = withdrawing()
    move = story.crash()

    assert told(move) == ["ledger <- Rollback"]


def test_a_crash_while_delegated_asks_again_for_one_phase() -> None:
    """Nothing is lost but time: the branch's marker makes the repetition safe."""
    assert told(Story.begin(ALONE).crash()) == ["ledger <- Prepare one-phase"]


def test_a_lone_readers_rollback_is_no_broken_promise() -> None:
    """A reader ends as rolled back as committed.

    Its late vote commits an empty transaction while Rollback is under way; the
    answer to that Rollback is then expected, and no heuristic.
    """
    story = withdrawing()
    story.hear(voted("ledger", Vote.READ_ONLY))
    story.hear(settled("ledger", End.ROLLED_BACK))
    story.publish()

    assert story.txn.phase is Phase.ENDED
    assert story.txn.outcome is Outcome.COMMITTED
