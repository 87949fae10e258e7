"""Each kind of disagreement, and its nearest neighbour that is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from msgspec import structs

from audit.compare import compare
from audit.doubt import doubts
from audit.facts import Database, Facts, LogFacts, Prepared, Transaction, Unowned
from audit.findings import MEANINGS, Finding, Kind
from audit.repair import inquiry
from coordinator.core import machine
from coordinator.core.saga_state import SagaState, StepPhase
from tests.core.audit.made import YEARS_US, database, log_of, log_with, transaction
from tests.core.coordinator.builders import (
    GID,
    SECOND,
    START_US,
    Story,
    atomic,
    compensated,
    executed,
    saga,
    settled,
    step,
    voted,
)
from wire.envelope import unseal
from wire.messages import Action, End, Inquired, Result, Vote
from wire.topics import Topics

LATER_US = 1_000 * SECOND
OTHER = "tf1.test.9.0." + GID[-32:]
OLDEST_US = log_with(None).oldest_us[0] or 0
FOREIGN = "tf1.else.1.0." + GID[-32:]


# ── stories ──────────────────────────────────────────────────────────────────


def undecided() -> Story:
    return Story.begin(atomic("a", "b"))


def committing() -> Story:
    story = undecided()
    story.hear(voted("a", Vote.COMMIT))
    story.hear(voted("b", Vote.COMMIT))
    return story


def committed() -> Story:
    story = committing()
    story.publish()
    story.hear(settled("a", End.COMMITTED))
    story.hear(settled("b", End.COMMITTED))
    return story


def aborted() -> Story:
    story = undecided()
    story.hear(voted("a", Vote.ABORT))
    story.publish()
    story.hear(settled("b", End.ROLLED_BACK))
    return story


def parked() -> Story:
    story = undecided()
    story.park("by a test")
    story.publish()
    return story


def done_saga() -> Story:
    story = Story.begin(saga(step("a"), step("b", "a")))
    story.hear(executed("a"))
    story.hear(executed("b"))
    story.publish()
    return story


def undone_saga() -> Story:
    story = Story.begin(saga(step("a"), step("b", "a"), step("c", "b")))
    story.hear(executed("a"))
    story.hear(executed("b", Result.REFUSED))
    story.hear(compensated("a"))
    story.publish()
    return story


def refused_saga() -> Story:
    story = Story.begin(saga(step("a"), step("b", "a")))
    story.hear(executed("a", Result.REFUSED))
    story.publish()
    return story


# ── comparing ────────────────────────────────────────────────────────────────


def found(
    log: LogFacts | Story, *databases: Database, grace_us: int = SECOND
) -> list[tuple[Kind, str]]:
    """Compare, and name each finding by kind and part."""
    log = replace(log_of(log), now_us=START_US + LATER_US) if isinstance(log, Story) else log
    facts = Facts(log, databases, grace_us)
    return [(finding.kind, finding.part) for finding in compare(facts)]


def marked(participant: str, says: str) -> Database:
    return database(participant, markers={participant: says})


def held(participant: str) -> Database:
    return database(participant, prepared=[participant])


def barred(participant: str, says: str) -> Database:
    return database(participant, barriers={participant: says})


def test_what_agrees_gives_no_finding() -> None:
    """All ends, as they should be."""
    a, b = marked("a", "committed"), marked("b", "committed")
    assert found(committed(), a, b) == []
    assert found(aborted(), marked("a", "rolled-back"), marked("b", "rolled-back")) == []
    assert found(done_saga(), barred("a", "done"), barred("b", "done")) == []
    assert found(undone_saga(), barred("a", "undone"), barred("b", "refused"), database("c")) == []
    assert found(refused_saga(), barred("a", "refused"), database("b")) == []


def test_a_participant_that_is_not_looked_at_is_not_judged() -> None:
    """Its marker may be there all the same."""
    assert found(committed(), marked("a", "committed")) == []


BRANCHES = [
    (Kind.COMMIT_UNFINISHED, committing, held("a"), marked("b", "committed")),
    (Kind.ROLLBACK_UNFINISHED, aborted, held("a"), marked("b", "rolled-back")),
    (Kind.PREPARED_PARKED, parked, held("a"), database("b")),
    (Kind.MARKER_MISSING, committed, database("a"), marked("b", "committed")),
    (Kind.ROLLED_BACK_AGAINST_COMMIT, committed, marked("a", "rolled-back"), held("b")),
    (Kind.COMMITTED_AGAINST_ABORT, aborted, marked("a", "committed"), database("b")),
    (Kind.COMMITTED_UNDECIDED, undecided, marked("a", "committed"), database("b")),
]


@pytest.mark.parametrize(("kind", "story", "first", "second"), BRANCHES)
def test_a_branch_that_is_otherwise_than_decided(
    kind: Kind, story: Callable[[], Story], first: Database, second: Database
) -> None:
    """Its kind and its name."""
    assert (kind, "a") in found(story(), first, second)


STEPS = [
    (Kind.STEP_MISSING, done_saga, database("a")),
    (Kind.STEP_CONTRADICTED, done_saga, barred("a", "sealed")),
    (Kind.STEP_CONTRADICTED, done_saga, barred("a", "undone")),
    (Kind.EFFECT_NOT_UNDONE, undone_saga, barred("a", "done")),
    (Kind.SEAL_MISSING, undone_saga, database("a")),
    (Kind.EFFECT_AFTER_ABORT, refused_saga, barred("a", "done")),
]


@pytest.mark.parametrize(("kind", "story", "first"), STEPS)
def test_a_step_that_is_otherwise_than_recorded(
    kind: Kind, story: Callable[[], Story], first: Database
) -> None:
    """Just this one finding."""
    assert found(story(), first) == [(kind, "a")]


def test_a_step_that_was_never_asked_for_and_stands() -> None:
    """Of a saga that is undone."""
    databases = barred("a", "undone"), barred("b", "refused"), barred("c", "done")
    assert found(undone_saga(), *databases) == [(Kind.EFFECT_NOT_UNDONE, "c")]


def test_a_step_may_stand_where_its_definition_says_so() -> None:
    """No undo, and a reason."""
    story = Story.begin(saga(step("a", back=False), step("b", "a")))
    story.hear(executed("a"))
    story.hear(executed("b", Result.REFUSED))
    story.publish()
    assert found(story, barred("a", "done"), barred("b", "refused")) == []


def test_grace_is_given_to_what_is_under_way() -> None:
    """A branch that was decided just now."""
    databases = held("a"), held("b")
    assert found(log_of(committing()), *databases) == []
    assert found(undecided(), *databases, grace_us=YEARS_US) == []


def test_a_read_only_branch_owes_no_marker() -> None:
    """And may refuse a Prepare that comes late."""
    story = undecided()
    story.hear(voted("a", Vote.READ_ONLY))
    story.hear(voted("b", Vote.COMMIT))
    story.publish()
    story.hear(settled("b", End.COMMITTED))
    assert found(story, database("a"), marked("b", "committed")) == []
    assert found(story, marked("a", "rolled-back"), marked("b", "committed")) == []


def test_a_hazard_that_is_recorded_is_reported_as_parked() -> None:
    """Once, and not for each thing that follows from it."""
    story = committing()
    story.publish()
    story.hear(settled("a", End.HAZARD))
    story.hear(settled("b", End.COMMITTED))
    assert found(story, database("a"), marked("b", "committed")) == [(Kind.PARKED, "")]


def test_what_a_person_has_seen_to_is_taken_for_true() -> None:
    """A step that was skipped, and a branch that was resolved; but not what is still prepared."""
    story = Story.begin(saga(step("a"), step("b", "a")))
    story.hear(executed("a"))
    story.hear(executed("b", Result.REFUSED))
    story.hear(compensated("a", Result.REFUSED))
    story.publish()
    story.order(Action.SKIP, "a")
    story.publish()
    assert found(story, barred("a", "done"), barred("b", "refused")) == []
    txn = committing()
    txn.publish()
    txn.order(Action.COMMIT)
    assert txn.state.phase == "ended"
    assert found(txn, database("a"), marked("b", "rolled-back")) == []
    assert found(txn, held("a"), database("b")) == [(Kind.COMMIT_UNFINISHED, "a")]


def test_a_hazard_does_not_hide_what_is_still_prepared() -> None:
    """Somebody has said that it ended, and it has not."""
    story = committing()
    story.publish()
    story.hear(settled("a", End.HAZARD))
    story.hear(settled("b", End.COMMITTED))
    kinds = found(story, held("a"), marked("b", "committed"))
    assert kinds == [(Kind.COMMIT_UNFINISHED, "a"), (Kind.PARKED, "")]


# ── what is prepared, and no branch of ours ──────────────────────────────────

STRAYS = [
    (Kind.PREPARED_MISNAMED, committed(), database("a", prepared=["z"])),
    (Kind.PREPARED_MISNAMED, done_saga(), database("a", prepared=["a"])),
    (Kind.PREPARED_ELSEWHERE, committed(), database("a", prepared=["b"])),
    (Kind.PREPARED_OTHER_GENERATION, None, database("a", prepared=["a"], gid=OTHER)),
    (Kind.PREPARED_UNKNOWN, None, database("a", prepared=["a"])),
]


@pytest.mark.parametrize(("kind", "story", "there"), STRAYS)
def test_what_is_prepared_and_should_not_be(
    kind: Kind, story: Story | None, there: Database
) -> None:
    """By its name, and by what the log knows."""
    log = log_of(story) if story is not None else log_with(None)
    found_kinds = [k for k, _ in found(replace(log, now_us=START_US + LATER_US), there)]
    assert kind in found_kinds


def test_abort_is_presumed_only_as_far_back_as_the_log_reaches() -> None:
    """An empty log knows nothing, and what began before its oldest may be purged."""
    log = replace(log_with(None), now_us=START_US + LATER_US)
    for oldest_us in (None, OLDEST_US + SECOND):
        short = replace(log, oldest_us=[oldest_us])
        assert found(short, held("a")) == [(Kind.PREPARED_BEFORE_HORIZON, "a")]
        assert not MEANINGS[Kind.PREPARED_BEFORE_HORIZON].repairable


def test_strangers_are_named_and_never_ours_to_repair() -> None:
    """Names of another form, and of another cluster."""
    stranger = Prepared("their-own", "them", START_US)
    there = replace(database("a", prepared=["a"], gid=FOREIGN))
    there = replace(there, prepared=[*there.prepared, stranger])
    log = replace(log_with(None), now_us=START_US + LATER_US)
    findings = compare(Facts(log, [there], SECOND))
    assert {f.gid for f in findings} == {f"{FOREIGN}.a", "their-own"}
    assert {f.kind for f in findings} == {Kind.PREPARED_STRANGER}
    assert [doubt.decided for doubt in doubts(Facts(log, [there], SECOND))] == ["stranger"] * 2
    assert not MEANINGS[Kind.PREPARED_STRANGER].repairable


def test_what_has_ended_while_we_looked_is_not_in_doubt() -> None:
    """It was prepared at the first look, and its marker was there at the second."""
    both = database("a", prepared=["a"], markers={"a": "committed"})
    assert found(committed(), both, marked("b", "committed")) == []
    assert doubts(Facts(log_of(committed()), [both], SECOND)) == []


def test_each_store_has_its_own_horizon() -> None:
    """The transaction's shard is 0, so the first of two stores counts."""
    log = replace(log_with(None), now_us=START_US + LATER_US)
    assert found(replace(log, oldest_us=[OLDEST_US, None]), held("a")) == [
        (Kind.PREPARED_UNKNOWN, "a")
    ]
    assert found(replace(log, oldest_us=[None, OLDEST_US]), held("a")) == [
        (Kind.PREPARED_BEFORE_HORIZON, "a")
    ]


# ── rows ─────────────────────────────────────────────────────────────────────


def test_rows_that_no_transaction_accounts_for() -> None:
    """Unless it may be purged, or is another cluster's; a mark of a rollback harms nobody."""
    log = log_with(None)
    assert found(log, barred("a", "done")) == [(Kind.ROW_UNKNOWN, "a")]
    assert found(log, barred("a", "sealed")) == [(Kind.ROW_UNKNOWN, "a")]
    assert found(log, marked("a", "committed")) == [(Kind.ROW_UNKNOWN, "a")]
    assert found(log, marked("a", "rolled-back")) == []
    assert found(log, database("a", barriers={"a": "done"}, gid=FOREIGN)) == []
    assert found(log, database("a", barriers={"a": "done"}, gid="odd")) == [(Kind.ROW_UNKNOWN, "a")]
    assert found(replace(log, oldest_us=[OLDEST_US + SECOND]), barred("a", "done")) == []


def test_rows_in_the_wrong_place() -> None:
    """A name that is not there, another participant's, and the wrong table."""
    rest = barred("b", "done")
    for wrong in ({"z": "done"}, {"b": "done"}):
        there = database("a", barriers={"a": "done", **wrong})
        assert found(done_saga(), there, rest) == [(Kind.ROW_MISPLACED, next(iter(wrong)))]
    there = database("a", barriers={"a": "done"}, markers={"a": "committed"})
    assert found(done_saga(), there, rest) == [(Kind.ROW_MISPLACED, "a")]


# ── the log, beside itself ───────────────────────────────────────────────────


def read(story: Story) -> Transaction:
    return transaction(story, story.entries(), machine.summary(story.state))


def findings_of(one: Transaction) -> list[Finding]:
    return compare(Facts(log_with(one), [], SECOND))


@pytest.mark.parametrize("seqs", [[0, 2], [1, 2], []])
def test_a_gap_in_the_log(seqs: Sequence[int]) -> None:
    """In the middle, at the beginning, and nothing but a gap."""
    one = replace(read(committed()), seqs=seqs, state=None)
    assert [f.kind for f in findings_of(one)] == [Kind.LOG_GAP]


def test_records_that_cannot_be_replayed() -> None:
    """With the reason."""
    one = replace(read(committed()), state=None, unreadable="what is this?")
    [finding] = findings_of(one)
    assert (finding.kind, finding.detail) == (Kind.LOG_UNREADABLE, "what is this?")


def test_records_without_a_row() -> None:
    """Nobody would find them."""
    one = replace(read(committed()), row=None)
    assert [f.kind for f in findings_of(one)] == [Kind.LOG_ROW_MISSING]


@pytest.mark.parametrize(
    "change", [{"status": "open"}, {"outcome": "ABORTED"}, {"active": True}, {"shard": 3}]
)
def test_a_row_that_says_otherwise(change: dict[str, object]) -> None:
    """Than the replay of its records."""
    one = read(committed())
    assert one.row is not None
    [finding] = findings_of(replace(one, row=one.row._replace(**change)))
    assert finding.kind is Kind.LOG_ROW_DIFFERS
    assert next(iter(change)) in finding.detail


# ── nothing moves ────────────────────────────────────────────────────────────


def test_what_is_open_past_its_time() -> None:
    """Votes, a decision that is not acknowledged, a step, an undo, an outcome."""
    running = Story.begin(saga(step("a"), deadline_s=60))
    undoing = Story.begin(saga(step("a"), step("b", "a")))
    undoing.hear(executed("a"))
    undoing.hear(executed("b", Result.REFUSED))
    closed = Story.begin(saga(step("a")))
    closed.hear(executed("a"))
    for story in (undecided(), committing(), running, undoing, closed):
        assert found(story) == [(Kind.OVERDUE, "")], story.state
        assert found(log_of(story)) == []


def test_a_pivot_has_its_time_beyond_the_deadline() -> None:
    """Which does not interrupt it."""
    story = Story.begin(saga(step("a", pivot=True, timeout_s=2_000), deadline_s=60))
    assert found(story) == []


def test_what_nothing_would_ever_wake() -> None:
    """It is open, and no step is asked for."""
    story = Story.begin(saga(step("a"), step("b", "a")))
    story.hear(executed("a"))
    story.hear(executed("b", Result.REFUSED))
    one = read(story)
    assert isinstance(one.state, SagaState)
    steps = {**one.state.steps, "a": structs.replace(one.state.steps["a"], phase=StepPhase.TO_UNDO)}
    one = replace(one, state=structs.replace(one.state, steps=steps))
    assert [f.kind for f in findings_of(one)] == [Kind.ASLEEP]


def test_a_shard_that_nobody_has() -> None:
    """Once, however many transactions are open there."""
    log = log_of(undecided(), unowned=[Unowned(0, 7, "gone", START_US)])
    assert found(log) == [(Kind.SHARD_UNOWNED, "shard 0")]


# ── in words, and mended ─────────────────────────────────────────────────────


def test_every_kind_has_a_meaning() -> None:
    """And something to do about it; three can be repaired."""
    assert MEANINGS.keys() == set(Kind)
    assert {kind for kind, meaning in MEANINGS.items() if meaning.repairable} == {
        Kind.COMMIT_UNFINISHED,
        Kind.ROLLBACK_UNFINISHED,
        Kind.PREPARED_UNKNOWN,
    }


def test_what_is_in_doubt_says_who_will_end_it() -> None:
    """Decided, undecided, and never begun."""

    def said(log: LogFacts, *databases: Database) -> list[tuple[str, str]]:
        return [(d.decided, d.waits) for d in doubts(Facts(log, databases, SECOND))]

    assert said(log_of(committing()), held("a"))[0] == (
        "commit",
        "for a to hear of it: the commit is on its way",
    )
    late = replace(log_of(committing()), now_us=START_US + LATER_US)
    late = replace(late, unowned=[Unowned(0, 1, "gone", START_US)])
    decided, waits = said(late, held("a"))[0]
    assert (decided, "does it run?" in waits) == ("commit", True)
    assert "nobody has shard 0" in waits
    decided, waits = said(log_of(undecided()), held("a"))[0]
    assert (decided, "for the votes of a and b" in waits) == ("undecided", True)
    assert said(log_of(parked()), held("a"))[0][0] == "parked"
    young = log_with(None, now_us=START_US)
    assert said(young, held("a"))[0][0] == "unknown"


def test_repair_asks_as_a_resolver_does() -> None:
    """To the partition of the transaction's shard, for a participant that has its database."""
    gid = "tf1.test.1.5." + GID[-32:]
    finding = Finding(Kind.PREPARED_UNKNOWN, gid, "a+b", "x", 0)
    record = inquiry(finding, Topics("p"))
    assert (record.topic, record.partition) == ("p.replies", 5)
    assert unseal(record.headers, record.value).message == Inquired(
        gid=gid, branch="x", participant="a"
    )


def test_a_step_of_an_older_version_left_a_row_for_a_reason() -> None:
    """It was refused, and its saga was moved to a version that goes without it."""
    story = Story.begin(saga(step("a", pivot=True), step("b", "a", back=False)))
    story.hear(executed("a"))
    story.hear(executed("b", Result.REFUSED))
    newer = saga(step("a", pivot=True), step("c", "a", back=False))
    story.move(replace(newer, version=2, hash="sha256:2"))
    databases = [
        database("a", barriers={"a": "done"}),
        database("b", barriers={"b": "refused", "x": "refused"}),
        database("c"),
    ]

    found = compare(Facts(log_of(story), databases, YEARS_US))

    assert [(one.kind, one.part) for one in found] == [(Kind.ROW_MISPLACED, "x")]
