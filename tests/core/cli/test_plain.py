"""What people read at night: one sentence a record, and what a transaction waits for."""

from __future__ import annotations

import pytest

from coordinator.cli import plain
from coordinator.cli.story import Story
from coordinator.core.records import (
    AnyRecord,
    AttemptFailed,
    Begun,
    Closed,
    CompensationBegan,
    Decided,
    Decision,
    Ended,
    Entry,
    Hazard,
    Outcome,
    Parked,
    StepDeferred,
    StepDone,
    StepRefused,
    StepUndone,
    Unanswered,
    UndoFailed,
    Withdrawn,
)
from sagas.loader import load
from wire.messages import End

SECOND = 1_000_000
T0 = 1_800_000_000 * SECOND
GID = "tf1.main.1.3.0190c2ef5c8d7a6f8c1d2e3f4a5b6c7d"

SAGA = """\
saga: order
version: 2
deadline: 10m
steps:
  reserve: {call: stock.reserve, undo: stock.release}
  charge: {call: payments.charge, undo: payments.refund, retry: {attempts: 3}}
  dispatch: {call: shipping.dispatch, pivot: true}
"""

ATOMIC = """\
atomic: transfer
version: 1
vote_timeout: 5s
branches:
  debit: {call: bank-a.withdraw}
  credit: {call: bank-b.deposit}
"""

LONE = """\
atomic: alone
version: 1
vote_timeout: 5s
branches: {only: {call: bank-a.withdraw}}
"""


def story(source: str, *records: AnyRecord, after_s: float = 1.0) -> Story:
    """Tell the story of these records, one a second."""
    definition = load(source, "test")
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    begun = Begun(
        definition=definition.hash,
        name=definition.name,
        version=definition.version,
        key="k-1",
        input={"a": 1},
        traceparent=trace,
    )
    entries = [
        Entry(GID, seq, T0 + seq * SECOND, record) for seq, record in enumerate([begun, *records])
    ]
    now_us = entries[-1].at_us + int(after_s * SECOND)
    return Story.of(GID, definition, entries, now_us)


def commit(*awaited: str) -> Decided:
    return Decided(decision=Decision.COMMIT, awaited=awaited)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            Begun(definition="h", name="order", version=2, key="k", input={}),
            "begun: order version 2, key k",
        ),
        (commit("debit", "credit"), "decided to commit; debit and credit must hear of it"),
        (
            Decided(decision=Decision.ABORT, awaited=(), reason="debit: no money"),
            "decided to abort (debit: no money)",
        ),
        (
            Withdrawn(reason="no answer in time from only"),
            "no answer in time from only: the lone branch is asked how it ended",
        ),
        (
            Hazard(branch="debit", end=End.ROLLED_BACK, reason="by hand"),
            "debit was ended by somebody else, it is rolled-back (by hand)",
        ),
        (
            Hazard(branch="debit", end=End.HAZARD, reason=""),
            "debit was ended by somebody else, and nothing tells how",
        ),
        (StepDone(step="charge", attempt=1), "charge is done"),
        (StepDone(step="charge", attempt=3), "charge is done, at attempt 3"),
        (
            StepRefused(step="charge", attempt=1, reason="card blocked"),
            "charge was refused (card blocked)",
        ),
        (
            StepDeferred(step="a", attempt=1, reason="busy", retry_at_us=T0 + 1_500_000),
            "a is put off by 1.5 s, at no cost (busy)",
        ),
        (
            AttemptFailed(
                step="a",
                attempt=1,
                why=Unanswered.SILENT,
                reason="no answer within 3 s",
                retry_at_us=T0 + 200_000,
            ),
            "attempt 1 of a: no answer within 3 s; tried again 200 ms later",
        ),
        (
            UndoFailed(step="a", attempt=5, why=Unanswered.FAILED, reason="disk full"),
            "attempt 5 of undoing a failed: disk full; no attempt is left",
        ),
        (CompensationBegan(reason="a: no"), "turned back: a: no"),
        (StepUndone(step="a", attempt=1), "a is undone"),
        (StepUndone(step="a", attempt=1, undone=False), "a had nothing to undo"),
        (Parked(reason="look"), "parked for a person: look"),
        (
            Parked(reason="look", outcome=Outcome.HEURISTIC_MIXED),
            "parked for a person as HEURISTIC_MIXED: look",
        ),
        (Closed(outcome=Outcome.COMPENSATED), "the outcome stands: COMPENSATED"),
        (Ended(), "ended: the outcome is told"),
    ],
)
def test_a_record_is_a_sentence(record: AnyRecord, said: str) -> None:
    """Each kind of record has words of its own."""
    assert plain.sentence(record, T0) == said


@pytest.mark.parametrize(
    ("length_us", "said"),
    [
        (0, "0 ms"),
        (999_999, "999 ms"),
        (1_234_567, "1.23 s"),
        (59_990_000, "60 s"),
        (61_000_000, "1 min 1 s"),
        (7_200_000_000, "2 h"),
        (90_061_000_000, "1 d 1 h"),
    ],
)
def test_a_span_has_the_units_that_matter(length_us: int, said: str) -> None:
    """At most two of them."""
    assert plain.span(length_us) == said


def test_a_running_saga_waits_for_a_participant_until_a_time() -> None:
    """Whom, for what, which attempt, until when, and what then."""
    waits = story(SAGA, StepDone(step="reserve", attempt=1)).waits

    assert waits.startswith("for payments to answer payments.charge (attempt 1 of 3) until ")
    assert "(in 29 s); what is not done by " in waits
    assert waits.endswith(" is undone")


def test_a_step_between_two_attempts_says_when_and_why() -> None:
    """The pause is not a wait for the participant."""
    failed = AttemptFailed(
        step="charge",
        attempt=1,
        why=Unanswered.FAILED,
        reason="disk full",
        retry_at_us=T0 + 12 * SECOND,
    )
    told = story(SAGA, StepDone(step="reserve", attempt=1), failed)

    assert "(in 9 s), when payments.charge is asked again (attempt 2 of 3)" in told.waits
    assert "last time: disk full" in told.waits
    charge = told.parts[1]
    assert (charge.attempt, charge.attempts) == (2, 3)
    assert charge.next_try_us == T0 + 12 * SECOND
    assert charge.timeout_us is None


def test_a_deadline_does_not_interrupt_the_pivot() -> None:
    """Its outcome decides the direction."""
    done = [StepDone(step="reserve", attempt=1), StepDone(step="charge", attempt=1)]

    assert "does not interrupt the pivot" in story(SAGA, *done).waits


def test_a_silence_that_is_too_long_is_not_called_so_at_once() -> None:
    """After a restart an answer has its whole timeout again, and the log does not say."""
    waits = story(SAGA, after_s=60).waits

    assert "(30 s ago), or later if the coordinator was restarted since" in waits


def test_a_saga_that_goes_back_says_what_is_undone_and_what_never_was() -> None:
    """Only what was asked for is undone."""
    told = story(
        SAGA,
        StepDone(step="reserve", attempt=1),
        StepRefused(step="charge", attempt=1, reason="card blocked"),
        CompensationBegan(reason="charge: card blocked"),
    )

    assert told.waits.startswith("for stock to answer stock.release (attempt 1 of 5) until ")
    assert told.waits.endswith("going back has no deadline")
    assert [part.state for part in told.parts] == ["undoing", "refused", "never asked"]
    assert [part.note for part in told.parts] == ["", "card blocked", ""]


def test_a_parked_saga_names_what_is_stuck() -> None:
    """A person has to know what still stands."""
    told = story(
        SAGA,
        StepDone(step="reserve", attempt=1),
        StepRefused(step="charge", attempt=1, reason="no"),
        CompensationBegan(reason="charge: no"),
        UndoFailed(step="reserve", attempt=5, why=Unanswered.SILENT, reason="no answer in time"),
        Parked(reason="reserve could not be undone"),
    )

    assert told.waits == "for a person, and does nothing by itself"
    assert (told.parts[0].state, told.parts[0].call) == ("stuck", "stock.release")
    assert told.deadline_us is None


def test_votes_are_waited_for_until_the_deadline() -> None:
    """Silence is a no."""
    told = story(ATOMIC)

    assert told.waits.startswith("for the votes of debit and credit until ")
    assert told.waits.endswith("(in 4 s); a missing vote is a no")
    assert [part.timeout_us for part in told.parts] == [T0 + 5 * SECOND] * 2


def test_a_decision_is_repeated_without_limit() -> None:
    """Who has acknowledged is not in the log, so all that must are named."""
    told = story(ATOMIC, commit("debit"))

    assert told.waits.startswith("for debit to acknowledge the commit; repeated at growing")
    assert [part.state for part in told.parts] == ["told to commit", "committed, or read only"]


def test_a_lone_branch_is_asked_how_it_ended() -> None:
    """It may have committed by itself."""
    assert "to commit by itself until" in story(LONE).waits
    assert "for only to say how it ended" in story(LONE, Withdrawn(reason="silence")).waits


@pytest.mark.parametrize(("source"), [SAGA, ATOMIC])
def test_what_has_ended_waits_for_nothing(source: str) -> None:
    """And has no deadline any more."""
    ends = [Closed(outcome=Outcome.COMMITTED)] if source is SAGA else [commit()]
    told = story(source, *ends, Ended())

    assert told.waits == ""
    assert told.deadline_us is None


def test_json_says_the_same_as_the_text() -> None:
    """Times in RFC 3339, records beside their sentences."""
    told = story(SAGA, StepDone(step="reserve", attempt=1, data={"left": 3})).as_json()

    assert told["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert told["history"][1]["said"] == "reserve is done"
    assert told["history"][1]["record"]["data"] == {"left": 3}
    assert told["history"][1]["after_ms"] == 1000
    assert told["parts"][0]["result"] == {"left": 3}
    assert told["parts"][1]["timeout_at"] == plain.moment(T0 + 31 * SECOND)
    assert told["parts"][2]["note"] == "needs charge"
