"""The one door: what a new owner resends, tables without gaps, records as JSON."""

from __future__ import annotations

import msgspec
import pytest

from coordinator.core import lock, machine, saga, saga_table, two_phase, two_phase_table
from coordinator.core.events import Kind
from coordinator.core.records import (
    AnyRecord,
    AttemptFailed,
    Begun,
    ChildBegan,
    ChildEnded,
    ChildRevoked,
    Closed,
    CompensationBegan,
    Decided,
    Decision,
    Ended,
    Hazard,
    LetGo,
    Locked,
    Locking,
    Moved,
    Ordered,
    Outcome,
    Parked,
    StepDeferred,
    StepDone,
    StepRefused,
    StepSkipped,
    StepSpread,
    StepUndone,
    Unanswered,
    UndoFailed,
    WaitBegan,
    Withdrawn,
    decode,
    encode,
)
from coordinator.core.transition import Status, drop, fraction, on, table
from sagas.model import AnyDefinition
from tests.core.coordinator.builders import (
    SECOND,
    START_US,
    Story,
    atomic,
    begun,
    compensated,
    executed,
    settled,
    told,
    voted,
)
from tests.core.coordinator.builders import saga as make_saga
from tests.core.coordinator.builders import step as make_step
from wire.messages import Action, End, Result, Vote

PAIR = atomic("ledger", "stock")
LINE = make_saga(make_step("a"), make_step("b"), make_step("c", "a", "b"))


# ── a new owner ──────────────────────────────────────────────────────────────


def test_a_crash_while_preparing_asks_for_all_votes_again() -> None:
    """A vote that was heard but not written counts no more: no commit rests on memory."""
    story = Story.begin(PAIR)
    story.hear(voted("ledger", Vote.COMMIT))

    assert told(story.crash()) == ["ledger <- Prepare", "stock <- Prepare"]
    story.hear(voted("stock", Vote.COMMIT))
    assert story.txn.decided is None


def test_a_crash_after_the_decision_resends_it_to_all_who_await_it() -> None:
    """The reader and the outcome's audience are what they were; settlements are asked for again."""
    story = Story.begin(atomic("ledger", "stock", "reader"))
    for name, vote in (("ledger", "commit"), ("stock", "commit"), ("reader", "read-only")):
        story.hear(voted(name, Vote(vote)))
    story.hear(settled("ledger", End.COMMITTED))

    assert told(story.crash()) == [
        "ledger <- Commit",
        "stock <- Commit",
        "anyone <- Outcome COMMITTED",
    ]


def test_a_crash_before_the_deadline_does_not_move_it() -> None:
    """The time for votes is counted from the beginning, however many owners there were."""
    story = Story.begin(PAIR)
    story.now_us += 4 * SECOND
    story.crash()
    story.wait(1)

    assert story.txn.phase is two_phase.Phase.ABORTING


def test_a_new_owner_after_the_deadline_aborts_at_once() -> None:
    """It sends no Prepare that nobody would wait for."""
    story = Story.begin(PAIR)
    story.now_us += 60 * SECOND

    assert told(story.crash()) == [
        "ledger <- Rollback",
        "stock <- Rollback",
        "anyone <- Outcome ABORTED",
    ]


def test_a_crash_of_a_saga_resends_what_is_unanswered() -> None:
    """Under the same attempt and the same deadline; what is done is not asked for again."""
    story = Story.begin(LINE)
    first = {send.participant: send for send in story.last.sends}
    story.hear(executed("a"))
    story.now_us += SECOND

    deadline_us = story.now_us + 30 * SECOND
    assert story.crash().sends == (first["b"]._replace(deadline_us=deadline_us),)


def test_a_crash_during_a_pause_does_not_shorten_it() -> None:
    """The moment of the next attempt is in the log."""
    story = Story.begin(LINE)
    story.hear(executed("a", Result.FAILED))
    story.hear(executed("b"))

    assert story.crash().sends == ()
    assert told(story.sleep()) == ["a <- Execute 2"]


def test_a_crash_while_going_back_resends_the_undos() -> None:
    """Those that are asked for now, not those that must wait, not those that are gone."""
    story = Story.begin(LINE)
    story.hear(executed("a"))
    story.hear(executed("b"))
    story.hear(executed("c", Result.REFUSED))
    story.hear(compensated("a"))

    assert told(story.crash()) == ["b <- Compensate 1"]


def test_a_crash_before_the_outcome_is_told_tells_it_again() -> None:
    """A repetition is better than silence."""
    story = Story.begin(make_saga(make_step("a")))
    story.hear(executed("a"))

    assert told(story.crash()) == ["anyone <- Outcome COMMITTED"]
    story.publish()
    assert story.crash().sends == ()


def test_what_is_not_told_yet_is_woken_for() -> None:
    """An outcome whose acknowledgement never comes is told again: no state may sleep for ever."""
    for definition in (PAIR, make_saga(make_step("ledger"))):
        story = Story.begin(definition)
        story.hear(voted("ledger", Vote.ABORT))
        story.hear(executed("ledger", Result.REFUSED))
        story.hear(settled("stock", End.ROLLED_BACK))
        assert machine.summary(story.state).status is Status.OPEN
        assert told(story.sleep()) == ["anyone <- Outcome ABORTED"]


def test_a_fresh_owner_is_told_to_wake_for_an_outcome() -> None:
    """Replayed and not yet woken, a closed saga has something to do now."""
    story = Story.begin(make_saga(make_step("a")))
    story.hear(executed("a"))
    at_us = machine.wake_at_us(story.replayed())

    assert at_us is not None
    assert at_us <= story.now_us


def test_a_second_wake_in_the_same_moment_sends_nothing() -> None:
    """Waking is safe to repeat."""
    for definition in (PAIR, LINE):
        story = Story.begin(definition)
        story.crash()
        assert story.wake().sends == ()


def test_to_resume_is_to_send_and_nothing_else() -> None:
    """What time has brought is left to the next wake; what is outstanding leaves at once."""
    story = Story.begin(PAIR)
    story.hear(voted("ledger", Vote.ABORT))
    move = story.take_over()

    assert told(move) == ["stock <- Rollback", "anyone <- Outcome ABORTED"]
    assert move.records == ()
    assert story.wake().sends == ()


@pytest.mark.parametrize("publish", [True, False])
@pytest.mark.parametrize("definition", [PAIR, LINE, make_saga(make_step("ledger"))])
def test_whatever_is_parked_says_so(definition: AnyDefinition, *, publish: bool) -> None:
    """Also where another outcome was told, or is on its way."""
    story = Story.begin(definition)
    story.hear(voted("ledger", Vote.ABORT))
    story.hear(executed("ledger"))
    if publish:
        story.publish()
    move = story.park("a bug in its definition")

    assert told(move) == ["anyone <- Outcome PARKED"]
    assert machine.summary(story.state)[:3] == (Status.PARKED, "PARKED", True)
    story.publish()
    assert machine.summary(story.state)[:3] == (Status.PARKED, "PARKED", False)
    assert story.crash().records == ()


def test_an_open_transaction_shows_no_outcome() -> None:
    """A row says open until there is one."""
    for definition in (PAIR, LINE):
        assert machine.summary(Story.begin(definition).state)[:3] == (Status.OPEN, None, True)


def test_a_log_must_begin_with_its_beginning() -> None:
    """Half a log is no log."""
    story = Story.begin(PAIR)
    story.hear(voted("ledger", Vote.ABORT))

    with pytest.raises(AssertionError, match="beginning"):
        machine.recover(story.gid, PAIR, story.entries()[1:])


def test_a_fact_of_the_other_machine_is_refused() -> None:
    """A log that mixes the two is corrupt, and says so."""
    with pytest.raises(AssertionError, match="no fact"):
        Story.begin(PAIR).txn.evolve(StepDone(step="a", attempt=1), START_US)
    with pytest.raises(AssertionError, match="no fact"):
        Story.begin(LINE).saga.evolve(Withdrawn(reason=""), START_US)


# ── tables ───────────────────────────────────────────────────────────────────


def test_every_kind_has_a_column_somewhere() -> None:
    """An event that no table knows would be lost without a reason."""
    assert {*two_phase_table.KINDS, *saga_table.KINDS, *lock.KINDS} == set(Kind)


def test_every_row_gives_its_reason() -> None:
    """An operator reads it in the log of what was dropped."""
    for rules in (two_phase_table.RULES, saga_table.RULES, lock.RULES):
        assert all(rule.reason for rule in rules.values())


def test_a_table_refuses_a_gap_and_a_contradiction() -> None:
    """Nothing is left unsaid, and nothing is said twice."""
    phase = saga.Phase.RUNNING
    told_once = drop(saga.Phase, Kind.PUBLISHED, "x")
    with pytest.raises(ValueError, match="said twice"):
        table(
            saga.Phase,
            [Kind.PUBLISHED],
            told_once,
            on(phase, Kind.PUBLISHED, saga.outcome_told, "y"),
        )
    with pytest.raises(ValueError, match="not said"):
        table(saga.Phase, [Kind.PUBLISHED, Kind.INQUIRED], told_once)


def test_jitter_is_the_same_for_the_same_names() -> None:
    """A replay draws what was drawn; other names draw otherwise, and never one."""
    drawn = [fraction("gid", name) for name in range(1000)]

    assert drawn == [fraction("gid", name) for name in range(1000)]
    assert len(set(drawn)) > 990
    assert 0 <= min(drawn) < 0.01
    assert 0.99 < max(drawn) < 1


# ── records ──────────────────────────────────────────────────────────────────

RECORDS: list[AnyRecord] = [
    begun(PAIR, amount=7),
    Decided(decision=Decision.COMMIT, awaited=("a", "b"), reason="r", output={"x": [1, None]}),
    Withdrawn(reason="r"),
    Hazard(branch="a", end=End.HAZARD, reason="r"),
    StepDone(step="a", attempt=1, data=[1.5, "x", None]),
    StepRefused(step="a", attempt=1, reason="r"),
    WaitBegan(step="a", topic="t", key="k"),
    StepSkipped(step="a"),
    StepSpread(step="a", count=2),
    ChildBegan(step="a", child="tf1.t.1.0.c", attempt=1, undoing=True),
    ChildRevoked(step="a", child="tf1.t.1.0.c", attempt=1),
    LetGo(),
    ChildEnded(step="a", child="tf1.t.1.0.c", outcome=Outcome.ABORTED, reason="no"),
    StepDeferred(step="a", attempt=1, reason="r", retry_at_us=5),
    AttemptFailed(step="a", attempt=1, why=Unanswered.SILENT, reason="r"),
    CompensationBegan(reason="r"),
    StepUndone(step="a", attempt=1, undone=False),
    UndoFailed(step="a", attempt=1, why=Unanswered.FAILED, reason="r", retry_at_us=5),
    Parked(reason="r", outcome=Outcome.HEURISTIC_MIXED),
    Ordered(id="o", action=Action.SKIP, actor="ann", reason="r", step="a", refused="no"),
    Moved(definition="d", version=2),
    Closed(outcome=Outcome.COMPENSATED, output=1, reason="r"),
    Locking(locks=("x", "y")),
    Locked(lock="x", beside="somebody"),
    Ended(),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_survives_its_text(record: AnyRecord) -> None:
    """What is read from the log is what was written."""
    assert decode(encode(record)) == record


def test_a_record_says_its_kind_and_nothing_by_default() -> None:
    """People read the log; what is not said is the default."""
    assert (
        encode(StepUndone(step="a", attempt=1)) == '{"kind":"step-undone","step":"a","attempt":1}'
    )


def test_the_examples_are_all_kinds_of_records() -> None:
    """A new kind of record must join the list above."""
    assert {type(record) for record in RECORDS} == set(AnyRecord.__args__)


def test_records_written_before_a_field_was_there_can_be_read() -> None:
    """A log outlives versions: additions have defaults, and unknown fields are ignored."""
    text = '{"kind":"begun","definition":"d","name":"n","version":1,"key":"k","input":{},"new":1}'

    assert decode(text) == Begun(definition="d", name="n", version=1, key="k", input={})


@pytest.mark.parametrize("text", ["", "{}", '{"kind":"forged"}', '{"kind":"ended"'])
def test_what_is_no_record_is_refused(text: str) -> None:
    """A corrupt log stops its reader instead of being guessed at."""
    with pytest.raises(msgspec.DecodeError):
        decode(text)
