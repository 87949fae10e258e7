"""What a person may order, what it leads to, and what is refused and written down."""

from __future__ import annotations

import pytest

from coordinator.core.records import (
    Closed,
    CompensationBegan,
    Decided,
    Decision,
    Hazard,
    Ordered,
    Outcome,
    StepDone,
    StepUndone,
    Withdrawn,
)
from coordinator.core.saga_state import StepPhase
from tests.core.coordinator.builders import (
    Story,
    atomic,
    compensated,
    executed,
    saga,
    settled,
    step,
    told,
    voted,
)
from wire.messages import Action, End, Result, Vote


def ordered(story: Story) -> Ordered:
    return [record for record in story.records if isinstance(record, Ordered)][-1]


def settle(story: Story) -> None:
    """Let time pass, and the outcome be acknowledged, until nothing is left."""
    story.wake()
    story.publish()


# ── sagas: parked while going back ───────────────────────────────────────────


def stuck() -> Story:
    """Two steps were done, the third was refused, and the second cannot be undone."""
    story = Story.begin(saga(step("a"), step("b", "a"), step("c", "b")))
    story.hear(executed("a"))
    story.hear(executed("b"))
    story.hear(executed("c", Result.REFUSED))
    story.hear(compensated("b", Result.FAILED))
    story.sleep()
    story.hear(compensated("b", Result.FAILED, 2))
    assert story.state.outcome is Outcome.PARKED
    story.publish()
    return story


def test_a_retry_gives_an_undo_all_its_attempts_again() -> None:
    """The attempts go on in number, so that a late answer to an old one is known as such."""
    story = stuck()

    assert told(story.order(Action.RETRY)) == ["b <- Compensate 3"]
    assert story.hear(compensated("b", Result.FAILED, 2)).dropped
    story.hear(compensated("b", Result.FAILED, 3))
    assert story.at("b") is StepPhase.UNDOING
    story.sleep()
    story.hear(compensated("b", Result.FAILED, 4))

    assert story.state.outcome is Outcome.PARKED


def test_a_retry_that_helps_ends_as_if_nothing_had_been_parked() -> None:
    story = stuck()
    story.order(Action.RETRY)
    assert told(story.hear(compensated("b", attempt=3))) == ["a <- Compensate 1"]
    story.hear(compensated("a"))
    settle(story)

    assert (story.state.phase, story.state.outcome) == ("ended", Outcome.COMPENSATED)


def test_what_a_person_has_undone_is_skipped_and_what_is_below_it_undone() -> None:
    story = stuck()

    move = story.order(Action.SKIP, "b")

    assert StepUndone(step="b", attempt=2, undone=False) in move.records
    assert told(move) == ["a <- Compensate 1"]


@pytest.mark.parametrize("name", ["a", "c", "", "nobody"])
def test_only_what_it_is_parked_for_can_be_skipped(name: str) -> None:
    """A refused order is written down, and changes nothing else."""
    story = stuck()

    move = story.order(Action.SKIP, name)

    assert len(move.records) == 1
    assert "b can be skipped" in ordered(story).refused
    assert story.state.outcome is Outcome.PARKED


def test_an_order_says_who_and_why() -> None:
    story = stuck()
    story.order(Action.ROLLBACK)

    assert ordered(story).actor == "ann"
    assert ordered(story).reason == "seen to"
    assert story.records[-1] == Closed(outcome=Outcome.COMPENSATED, reason="ann: seen to")
    settle(story)
    assert (story.state.phase, story.state.outcome) == ("ended", Outcome.COMPENSATED)


def test_what_is_going_back_cannot_be_turned_back() -> None:
    story = stuck()
    story.order(Action.COMPENSATE)

    assert ordered(story).refused == "it is going back already"


# ── sagas: parked past the pivot ─────────────────────────────────────────────


def past_the_pivot(mail: Result = Result.REFUSED) -> Story:
    """The money is taken; the mail is refused, or fails for good."""
    story = Story.begin(
        saga(
            step("stock"),
            step("pay", "stock", pivot=True),
            step("mail", "pay", back=False, attempts=1),
        )
    )
    story.hear(executed("stock"))
    story.hear(executed("pay"))
    story.hear(executed("mail", mail))
    assert story.state.outcome is Outcome.PARKED
    story.publish()
    return story


def test_a_step_that_a_person_has_done_is_skipped() -> None:
    """The person says what it returned."""
    story = past_the_pivot()

    move = story.order(Action.SKIP, "mail", data={"by": "hand"})

    assert StepDone(step="mail", attempt=1, data={"by": "hand"}) in move.records
    settle(story)
    assert (story.state.phase, story.state.outcome) == ("ended", Outcome.COMMITTED)


def test_a_person_speaks_of_one_step_and_the_next_is_asked_for() -> None:
    """What comes after it is not done by that."""
    steps = step("pay", pivot=True), step("mail", "pay", back=False, attempts=1)
    story = Story.begin(saga(*steps, step("bill", "mail", back=False)))
    story.hear(executed("pay"))
    story.hear(executed("mail", Result.REFUSED))
    story.publish()

    assert told(story.order(Action.SKIP, "mail")) == ["bill <- Execute 1"]
    assert (story.state.phase, story.state.outcome) == ("running", None)
    assert told(story.hear(executed("bill"))) == ["anyone <- Outcome COMMITTED"]


def test_a_person_may_go_back_past_the_pivot() -> None:
    """The pivot itself has no undo: its effect stands."""
    story = past_the_pivot()

    move = story.order(Action.COMPENSATE)

    assert CompensationBegan(reason="ann: seen to") in move.records
    assert told(move) == ["stock <- Compensate 1"]
    assert story.at("pay") is StepPhase.STANDING


def test_a_retry_asks_again_and_has_a_new_deadline() -> None:
    """After a week in the parking lot, the old deadline has long passed."""
    story = past_the_pivot(Result.FAILED)
    story.now_us += 10 * story.saga.definition.deadline_us

    assert told(story.order(Action.RETRY)) == ["mail <- Execute 2"]
    story.wake()
    assert story.state.phase == "running"
    story.hear(executed("mail", attempt=2))
    settle(story)
    assert story.state.outcome is Outcome.COMMITTED


def test_a_pivot_without_an_answer_is_asked_again() -> None:
    """Nobody knows whether it was done, and its participant's barrier does."""
    story = Story.begin(saga(step("pay", pivot=True, attempts=1)))
    story.sleep()
    assert story.state.outcome is Outcome.PARKED

    assert told(story.order(Action.RETRY)) == ["pay <- Execute 2"]


def test_what_was_refused_is_not_asked_again() -> None:
    """Its participant would say no for ever: it remembers what it has answered."""
    story = past_the_pivot(Result.REFUSED)

    assert told(story.order(Action.RETRY)) == []
    assert ordered(story).refused.startswith("mail was refused")
    assert story.state.outcome is Outcome.PARKED


def test_a_new_owner_knows_what_was_ordered() -> None:
    story = past_the_pivot(Result.FAILED)
    story.order(Action.RETRY)

    assert told(story.take_over()) == ["mail <- Execute 2"]


# ── sagas that run ───────────────────────────────────────────────────────────


def test_a_running_saga_is_turned_back() -> None:
    story = Story.begin(saga(step("a"), step("b", "a")))

    assert told(story.order(Action.ABORT)) == ["a <- Compensate 1"]


def test_a_saga_is_not_turned_back_while_its_pivot_is_asked() -> None:
    """Nobody knows yet which way it goes."""
    story = Story.begin(saga(step("pay", pivot=True)))
    story.order(Action.ABORT)

    assert "pivot" in ordered(story).refused
    assert story.state.phase == "running"


@pytest.mark.parametrize(
    "action", [Action.RETRY, Action.SKIP, Action.COMPENSATE, Action.COMMIT, Action.ROLLBACK]
)
def test_what_runs_is_not_parked(action: Action) -> None:
    story = Story.begin(saga(step("a")))
    story.order(action)

    assert ordered(story).refused == "only for what is parked"


@pytest.mark.parametrize("action", list(Action))
def test_what_has_ended_has_ended(action: Action) -> None:
    """Also if it was parked before."""
    story = stuck()
    story.order(Action.ROLLBACK)
    settle(story)
    before = story.state
    story.order(action, "b")

    assert ordered(story).refused == "the outcome stands"
    assert story.state == before


# ── atomic transactions ──────────────────────────────────────────────────────


def test_an_undecided_transaction_is_aborted() -> None:
    story = Story.begin(atomic("a", "b"))
    story.hear(voted("a", Vote.COMMIT))

    move = story.order(Action.ABORT)

    assert story.records[-1] == Decided(
        decision=Decision.ABORT, awaited=("a", "b"), reason="ann: seen to"
    )
    assert set(told(move)) == {"a <- Rollback", "b <- Rollback", "anyone <- Outcome ABORTED"}


def test_a_lone_branch_is_asked_and_not_overruled() -> None:
    """It may have committed by now."""
    story = Story.begin(atomic("a"))

    assert told(story.order(Action.ABORT)) == ["a <- Rollback"]
    assert story.records[-1] == Withdrawn(reason="ann: seen to")


@pytest.mark.parametrize("action", [Action.COMMIT, Action.ROLLBACK, Action.RETRY])
def test_no_order_commits_what_not_all_have_voted_for(action: Action) -> None:
    story = Story.begin(atomic("a", "b"))
    story.order(action)

    assert ordered(story).refused
    assert not story.txn.decided


def committing() -> Story:
    story = Story.begin(atomic("a", "b"))
    story.hear(voted("a", Vote.COMMIT))
    story.hear(voted("b", Vote.COMMIT))
    story.publish()
    story.hear(settled("a", End.COMMITTED))
    return story


def test_an_order_ends_the_wait_for_a_participant_that_never_comes_back() -> None:
    story = committing()
    story.order(Action.COMMIT)

    assert (story.state.phase, story.state.outcome) == ("ended", Outcome.COMMITTED)


def test_an_order_against_the_decision_is_a_broken_promise_and_shown_as_one() -> None:
    story = committing()
    story.order(Action.ROLLBACK)

    assert Hazard(branch="b", end=End.ROLLED_BACK, reason="ann: seen to") in story.records
    assert story.state.outcome is Outcome.HEURISTIC_MIXED


def test_a_decision_is_not_aborted() -> None:
    story = committing()
    story.order(Action.ABORT)

    assert ordered(story).refused == "the decision stands"


def test_a_decision_is_not_aborted_either_if_it_is_parked() -> None:
    """Others have committed: that is for `resolve`."""
    story = committing()
    story.hear(settled("b", End.HAZARD))
    story.publish()
    story.order(Action.ABORT)

    assert ordered(story).refused == "it is decided: commit"
    assert [type(r) for r in story.records].count(Decided) == 1


def test_what_was_mended_is_asked_again() -> None:
    """Somebody has repaired the branch by hand; now it says that it is committed."""
    story = committing()
    story.hear(settled("b", End.HAZARD))
    assert story.state.outcome is Outcome.HEURISTIC_HAZARD
    story.publish()

    assert set(told(story.order(Action.RETRY))) == {
        "a <- Commit",
        "b <- Commit",
        "anyone <- Outcome COMMITTED",
    }
    story.hear(settled("a", End.COMMITTED))
    story.hear(settled("b", End.COMMITTED))
    story.publish()
    assert (story.state.phase, story.state.outcome) == ("ended", Outcome.COMMITTED)


@pytest.mark.parametrize(
    ("action", "outcome"),
    [(Action.COMMIT, Outcome.COMMITTED), (Action.ROLLBACK, Outcome.ABORTED)],
)
def test_a_heuristic_outcome_is_resolved_as_a_person_says(action: Action, outcome: Outcome) -> None:
    story = committing()
    story.hear(settled("b", End.ROLLED_BACK))
    story.publish()
    story.order(action)
    settle(story)

    assert (story.state.phase, story.state.outcome) == ("ended", outcome)


def lost() -> Story:
    """The lone branch was ended by somebody else, and nothing tells how."""
    story = Story.begin(atomic("a"))
    story.wait(6)
    story.hear(settled("a", End.HAZARD))
    story.publish()
    return story


@pytest.mark.parametrize(
    ("action", "outcome"),
    [(Action.COMMIT, Outcome.COMMITTED), (Action.ROLLBACK, Outcome.ABORTED)],
)
def test_a_person_says_how_a_lone_branch_ended(action: Action, outcome: Outcome) -> None:
    story = lost()
    story.order(action)
    settle(story)

    assert (story.state.phase, story.state.outcome) == ("ended", outcome)


def test_a_lone_branch_is_asked_again() -> None:
    assert told(lost().order(Action.RETRY)) == ["a <- Rollback"]


def test_what_a_bug_has_parked_undecided_can_only_be_aborted_or_tried_again() -> None:
    """To commit it would commit what was never prepared."""
    story = Story.begin(atomic("a", "b"))
    story.park("a bug")
    story.order(Action.COMMIT)
    assert "abort it" in ordered(story).refused

    story.order(Action.ABORT)
    assert story.txn.outcome is Outcome.ABORTED
