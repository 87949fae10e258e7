"""Atomic transactions of two branches and more: votes, decisions, second phase."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordinator.core import machine, two_phase
from coordinator.core.records import Begun, Decided, Decision, Ended
from coordinator.core.transition import Status
from coordinator.core.two_phase import Phase
from sagas.model import Atomic
from tests.core.coordinator.builders import (
    GID,
    SECOND,
    START_US,
    Story,
    atomic,
    branch,
    constant,
    executed,
    inquired,
    look_up,
    messages,
    settled,
    told,
    voted,
)
from wire.messages import Commit, End, Inquired, Outcome, Prepare, Rollback, Vote, Voted

PAIR = atomic("ledger", "stock")
YES, NO, READ_ONLY, BUSY = Vote.COMMIT, Vote.ABORT, Vote.READ_ONLY, Vote.BUSY


def prepared(definition: Atomic = PAIR) -> Story:
    """Let all branches but the last vote yes."""
    story = Story.begin(definition)
    for name in list(definition.branches)[:-1]:
        story.hear(voted(name, YES))
    return story


def committing() -> Story:
    story = prepared()
    story.hear(voted("stock", YES))
    return story


def aborting() -> Story:
    story = Story.begin(PAIR)
    story.hear(voted("ledger", NO))
    return story


def ended() -> Story:
    story = committing()
    story.hear(settled("ledger", End.COMMITTED))
    story.hear(settled("stock", End.COMMITTED))
    story.publish()
    return story


# ── phase one ────────────────────────────────────────────────────────────────


def test_a_start_asks_every_branch_to_prepare() -> None:
    """The first turn remembers the start, and then asks each branch with its own data."""
    story = Story.begin(PAIR)

    assert [type(record) for record in story.records] == [Begun]
    assert messages(story.last, Prepare) == [
        Prepare(gid=GID, branch="ledger", command="work", data={"of": "ledger"}),
        Prepare(gid=GID, branch="stock", command="work", data={"of": "stock"}),
    ]
    assert {send.deadline_us for send in story.last.sends} == {START_US + 5 * SECOND}


def test_one_yes_of_two_decides_nothing() -> None:
    """Nothing is written or said while a vote is missing."""
    story = prepared()

    assert story.last.records == ()
    assert story.last.sends == ()
    assert story.txn.waiting_for == ("stock",)


def test_the_last_yes_commits() -> None:
    """The decision is one record, and what is sent follows it in the same transition."""
    story = committing()

    assert story.last.records == (Decided(decision=Decision.COMMIT, awaited=("ledger", "stock")),)
    assert told(story.last) == [
        "ledger <- Commit",
        "stock <- Commit",
        "anyone <- Outcome COMMITTED",
    ]


def test_one_abort_vote_decides_without_waiting() -> None:
    """A single no is final, so the other branch is told at once; the one that said no is not."""
    story = Story.begin(PAIR)
    move = story.hear(voted("ledger", NO, reason="no funds"))

    assert move.records == (
        Decided(decision=Decision.ABORT, awaited=("stock",), reason="ledger: no funds"),
    )
    assert told(move) == ["stock <- Rollback", "anyone <- Outcome ABORTED"]


def test_a_no_overrides_the_yes_of_others() -> None:
    """A branch that is prepared must be told to roll back."""
    story = prepared()
    move = story.hear(voted("stock", NO))

    assert told(move) == ["ledger <- Rollback", "anyone <- Outcome ABORTED"]


def test_a_read_only_branch_hears_no_decision() -> None:
    """It holds nothing, so a commit is told only to the other."""
    story = prepared()
    move = story.hear(voted("stock", READ_ONLY))

    assert told(move) == ["ledger <- Commit", "anyone <- Outcome COMMITTED"]


def test_a_read_only_branch_hears_no_abort_either() -> None:
    """It holds nothing that could be rolled back."""
    story = Story.begin(PAIR)
    story.hear(voted("ledger", READ_ONLY))
    move = story.hear(voted("stock", NO))

    assert told(move) == ["anyone <- Outcome ABORTED"]


def test_nothing_but_readers_commits_without_a_second_phase() -> None:
    """When all are read-only, only the outcome is left to tell."""
    story = Story.begin(PAIR)
    story.hear(voted("ledger", READ_ONLY))
    story.hear(voted("stock", READ_ONLY))

    assert told(story.last) == ["anyone <- Outcome COMMITTED"]
    assert story.publish().records == (Ended(),)


def test_the_same_vote_twice_is_one_vote() -> None:
    """A repeated yes of one branch cannot stand for the other's."""
    story = prepared()
    story.hear(voted("ledger", YES))

    assert story.txn.phase is Phase.PREPARING


def test_a_stranger_has_no_vote() -> None:
    """A branch that the definition does not have is dropped by name."""
    story = prepared()
    move = story.hear(voted("forged", YES))

    assert move.dropped == "no branch 'forged'"
    assert story.txn.phase is Phase.PREPARING


def test_an_answer_to_another_machine_is_dropped() -> None:
    """A step's answer means nothing to an atomic transaction."""
    assert "means nothing" in prepared().hear(executed("ledger")).dropped


def test_only_a_lone_branch_may_commit_by_itself() -> None:
    """One of several that says it has committed is not believed, and still asked."""
    story = prepared()
    move = story.hear(voted("stock", Vote.COMMITTED))

    assert move.dropped
    assert story.txn.waiting_for == ("stock",)


@pytest.mark.parametrize("end", End)
def test_nobody_ends_before_the_decision(end: End) -> None:
    """A settlement that nobody asked for changes nothing."""
    move = prepared().hear(settled("ledger", end))

    assert (move.records, move.sends) == ((), ())


# ── busy, silence, deadlines ─────────────────────────────────────────────────


def test_a_busy_branch_is_asked_again_soon() -> None:
    """Busy is no vote: only this branch is asked again, after 50 to 125 ms at first."""
    story = Story.begin(PAIR)
    assert story.hear(voted("stock", BUSY)).sends == ()

    move = story.sleep()
    assert told(move) == ["stock <- Prepare"]
    assert SECOND // 20 <= story.now_us - START_US <= SECOND // 8


def test_a_branch_that_stays_busy_does_not_outlive_the_deadline() -> None:
    """Busy costs no attempt, but the time for all votes stands, and is over at its very end."""
    story = prepared()
    while story.txn.phase is Phase.PREPARING:
        assert story.now_us < START_US + 5 * SECOND
        story.hear(voted("stock", BUSY))
        story.sleep()

    assert story.now_us == START_US + 5 * SECOND
    assert story.txn.decided is not None
    assert story.txn.decided.decision is Decision.ABORT


def test_a_silent_branch_is_asked_again() -> None:
    """A Prepare may be lost: it is repeated word for word, to the silent one only."""
    story = prepared()
    move = story.sleep()

    assert told(move) == ["stock <- Prepare"]
    assert move.sends[0] == Story.begin(PAIR).last.sends[1]
    assert SECOND <= story.now_us - START_US <= SECOND * 5 // 4


def test_silence_at_the_deadline_is_an_abort_vote() -> None:
    """Both hear of it: the silent one may hold something prepared as well."""
    story = prepared()
    move = story.wait(5)

    assert move.records == (
        Decided(
            decision=Decision.ABORT,
            awaited=("ledger", "stock"),
            reason="no vote in time from stock",
        ),
    )
    assert told(move) == [
        "ledger <- Rollback",
        "stock <- Rollback",
        "anyone <- Outcome ABORTED",
    ]


def test_a_microsecond_before_the_deadline_is_in_time() -> None:
    """The deadline is a moment, not an approximation."""
    story = prepared()
    story.now_us = START_US + 5 * SECOND - 1
    story.wake()

    assert story.txn.phase is Phase.PREPARING
    assert machine.wake_at_us(story.state) == START_US + 5 * SECOND


def test_a_yes_after_the_deadline_counts_if_nothing_is_decided() -> None:
    """Only the decision closes the vote; time does so through a turn of its own."""
    story = prepared()
    story.now_us = START_US + 6 * SECOND
    story.hear(voted("stock", YES))

    assert story.txn.phase is Phase.COMMITTING


@pytest.mark.parametrize("vote", Vote)
@pytest.mark.parametrize("begin", [committing, aborting])
def test_a_late_vote_changes_no_decision(begin: Callable[[], Story], vote: Vote) -> None:
    """What is decided is decided, whatever a branch says then."""
    story = begin()
    move = story.hear(voted("stock", vote))

    assert move.dropped
    assert (move.records, move.sends) == ((), ())


# ── the second phase ─────────────────────────────────────────────────────────


def test_it_ends_when_all_have_ended_and_the_outcome_is_told() -> None:
    """Neither alone is the end, in either order."""
    for first_told in (True, False):
        story = committing()
        if first_told:
            story.publish()
        assert story.hear(settled("stock", End.COMMITTED)).records == ()
        move = story.hear(settled("ledger", End.COMMITTED))
        if not first_told:
            assert move.records == ()
            move = story.publish()
        assert move.records == (Ended(),)
        assert machine.summary(story.state)[:3] == (Status.ENDED, "COMMITTED", False)
        assert machine.wake_at_us(story.state) is None


def test_the_same_settlement_twice_is_one() -> None:
    """One branch cannot settle for the other."""
    story = committing()
    story.publish()
    story.hear(settled("ledger", End.COMMITTED))
    story.hear(settled("ledger", End.COMMITTED))

    assert story.txn.phase is Phase.COMMITTING
    assert story.txn.waiting_for == ("stock",)


def test_a_commit_is_repeated_until_it_is_settled() -> None:
    """There is no last try: the pauses double up to five minutes, a quarter more at most."""
    story = committing()
    story.publish()
    story.hear(settled("ledger", End.COMMITTED))
    pauses: list[int] = []
    for _ in range(15):
        before = story.now_us
        assert told(story.sleep()) == ["stock <- Commit"]
        pauses.append(story.now_us - before)

    wanted = [min(2**n, 300) * SECOND for n in range(15)]
    assert all(low <= pause <= low * 5 // 4 for low, pause in zip(wanted, pauses, strict=True))


def test_pauses_differ_between_branches() -> None:
    """Many that fail together must not all come back together."""
    pauses = {two_phase.resend_pause_us(GID, name, 3) for name in ("a", "b", "c", "d")}

    assert len(pauses) == 4


def test_the_outcome_is_sent_once() -> None:
    """While its acknowledgement is under way, turns do not repeat it."""
    story = committing()
    story.hear(settled("stock", End.COMMITTED))
    story.wake()

    assert len([send for send in story.sent if isinstance(send.message, Outcome)]) == 1


def test_the_outcome_says_what_came_of_it() -> None:
    """It carries the definition's output over what the branches returned."""
    story = Story.begin(atomic("ledger", "stock", output=look_up("branches", "ledger")))
    story.hear(voted("ledger", YES, data={"balance": 7}))
    story.hear(voted("stock", YES))

    assert messages(story.last, Outcome) == [
        Outcome(
            gid=GID,
            definition="transfer",
            version=1,
            key="k-1",
            outcome="COMMITTED",
            output={"balance": 7},
        )
    ]
    assert story.last.sends[-1].key == "k-1"


# ── inquiries ────────────────────────────────────────────────────────────────


def test_an_undecided_inquiry_gets_no_answer() -> None:
    """The branch's yes binds it: it waits."""
    assert prepared().hear(inquired("ledger")).sends == ()


@pytest.mark.parametrize(
    ("begin", "answer"), [(committing, Commit), (aborting, Rollback), (ended, Commit)]
)
def test_an_inquiry_after_the_decision_is_answered_from_it(
    begin: Callable[[], Story], answer: type[Commit | Rollback]
) -> None:
    """In every later phase a branch in doubt hears the decision, and only that branch."""
    story = begin()
    move = story.hear(inquired("stock"))

    assert [send.message for send in move.sends] == [answer(gid=GID, branch="stock")]
    assert move.sends[0].participant == "stock"
    assert move.records == ()


def test_an_inquiry_of_a_stranger_gets_no_answer() -> None:
    """Who is no branch is told nothing."""
    move = committing().hear(Inquired(gid=GID, branch="forged", participant="forged"))

    assert move.sends == ()
    assert move.dropped


# ── expressions ──────────────────────────────────────────────────────────────


def test_what_cannot_be_asked_is_aborted_at_once() -> None:
    """A branch whose data has no value cannot be asked, so none is."""
    story = Story.begin(atomic("ledger", branch("stock", data=look_up("input", "sku"))))

    assert [type(record) for record in story.records] == [Begun, Decided]
    assert told(story.last) == ["anyone <- Outcome ABORTED"]
    assert story.txn.reason == "input.sku has no value"
    assert story.publish().records == (Ended(),)


def test_an_output_without_value_stops_no_commit() -> None:
    """The decision does not depend on it: the outcome says what was wrong."""
    story = Story.begin(atomic("ledger", "stock", output=look_up("branches", "x")))
    story.hear(voted("ledger", YES))
    story.hear(voted("stock", YES))

    assert story.txn.phase is Phase.COMMITTING
    assert story.txn.reason == "output: branches.x has no value"


def test_a_branch_is_asked_under_its_own_key() -> None:
    """What a definition gives as ``key`` is the Kafka key of all that the branch hears."""
    keyed = branch("stock", key=constant("sku-7"))
    story = Story.begin(atomic("ledger", keyed))
    story.hear(voted("ledger", YES))
    story.hear(Voted(gid=GID, branch="stock", vote=YES))

    keys = {send.key for send in story.sent if send.participant == "stock"}
    assert keys == {"sku-7"}
