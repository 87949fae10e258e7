"""What a log that has forgotten is told of one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from coordinator.core import machine
from coordinator.core.machine import State
from coordinator.core.records import (
    AnyRecord,
    Begun,
    ChildBegan,
    Decided,
    Decision,
    Entry,
    Outcome,
    Parked,
)
from coordinator.core.saga_state import SagaState, StepPhase
from coordinator.core.transition import Status, Transition
from recovery.rebuild import rebuild
from recovery.traces import Did, Sent, Traces
from sagas.model import OnRefused, SubSaga
from tests.core.coordinator.builders import (
    GID,
    START_US,
    Story,
    atomic,
    begun,
    constant,
    executed,
    saga,
    step,
)
from wire.messages import Commit, Compensate, Execute, Prepare, Rollback
from wire.messages import Outcome as Told

LATER_US = START_US + 3_600_000_000


def told(outcome: Outcome, **said: Any) -> Told:
    """Make the outcome that was told."""
    return Told(gid=GID, definition="d", version=1, key="k-1", outcome=outcome, **said)


def kinds(records: Sequence[AnyRecord]) -> list[str]:
    """Name the records."""
    return [type(record).__name__ for record in records]


def replayed(story: Story, records: Sequence[AnyRecord]) -> State:
    """Read the story's log with what was added to it."""
    first = begun(story.definition)
    assert isinstance(story.state.begun, Begun)
    log = [Entry(GID, 0, START_US, first)]
    log += [Entry(GID, i + 1, LATER_US, record) for i, record in enumerate(records)]
    return machine.recover(GID, story.definition, log)


def asked(state: State) -> list[Any]:
    """Return what the next owner sends."""
    return [send.message for send in machine.resume(state, LATER_US).sends]


# ── atomic transactions ──────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("branches", "outcome", "decision", "awaited"),
    [
        ({}, None, Decision.ABORT, ("a", "b", "c")),
        ({"a": "prepared", "b": "prepared"}, None, Decision.ABORT, ("a", "b", "c")),
        ({"a": "rolled-back", "b": "prepared"}, None, Decision.ABORT, ("a", "b", "c")),
        ({"a": "prepared"}, Outcome.ABORTED, Decision.ABORT, ("a", "b", "c")),
        ({"a": "committed", "b": "prepared"}, None, Decision.COMMIT, ("a", "b")),
        ({"a": "prepared", "c": "prepared"}, Outcome.COMMITTED, Decision.COMMIT, ("a", "c")),
        ({"a": "committed", "b": "rolled-back"}, None, Decision.COMMIT, ("a",)),
        ({}, Outcome.COMMITTED, Decision.COMMIT, ()),
    ],
)
def test_only_what_was_seen_outside_proves_a_commit(
    branches: dict[str, str],
    outcome: Outcome | None,
    decision: Decision,
    awaited: tuple[str, ...],
) -> None:
    """A branch that only read has no trace, and is not to be asked to commit."""
    story = Story.begin(atomic("a", "b", "c"))
    traces = Traces(branches=branches, told=told(outcome) if outcome else None)

    state, records = rebuild(story.state, traces, LATER_US)

    [decided] = records
    assert isinstance(decided, Decided)
    assert (decided.decision, decided.awaited) == (decision, awaited)
    assert replayed(story, records) == state
    commands = [m for m in asked(state) if isinstance(m, Commit | Rollback)]
    assert [m.branch for m in commands] == list(awaited)
    assert {type(m) for m in commands} <= {Commit if decision is Decision.COMMIT else Rollback}


def test_a_commit_that_is_on_its_topic_is_as_good_as_done() -> None:
    """Whoever reads it commits, whatever the log says by then."""
    story = Story.begin(atomic("a", "b"))
    traces = Traces({"a": "prepared", "b": "prepared"}, sent=Sent.ANYTHING | Sent.COMMIT)
    _, [decided] = rebuild(story.state, traces, LATER_US)
    assert isinstance(decided, Decided)
    assert decided.decision is Decision.COMMIT


def test_a_branch_that_is_alone_is_asked_again() -> None:
    """It decides for itself, and what it was sent may be read any moment."""
    story = Story.begin(atomic("a"))
    state, records = rebuild(story.state, Traces(sent=Sent.ANYTHING), LATER_US)
    assert records == ()
    assert [type(message) for message in asked(state)] == [Prepare]
    _, [decided] = rebuild(story.state, Traces({"a": "committed"}), LATER_US)
    assert isinstance(decided, Decided)
    assert decided.decision is Decision.COMMIT


def test_what_is_decided_already_needs_nothing() -> None:
    """The log is believed as far as it goes."""
    story = Story.begin(atomic("a", "b"))
    state, records = rebuild(story.state, Traces({"a": "committed"}), LATER_US)
    assert records
    assert rebuild(state, Traces({"a": "committed"}), LATER_US) == (state, ())


def test_the_output_that_was_told_is_told_again() -> None:
    """Votes are gone, and with them what it was made of."""
    story = Story.begin(atomic("a", "b"))
    traces = Traces({"a": "committed"}, told=told(Outcome.COMMITTED, output={"n": 1}))
    state, _ = rebuild(story.state, traces, LATER_US)
    again = [m for m in asked(state) if isinstance(m, Told)]
    assert [(m.outcome, m.output) for m in again] == [("COMMITTED", {"n": 1})]


def test_what_waited_for_a_person_waits_again() -> None:
    """Somebody has ended a branch by hand; no row says how."""
    story = Story.begin(atomic("a", "b"))
    traces = Traces({"a": "committed"}, told=told(Outcome.HEURISTIC_MIXED, reason="b is gone"))
    state, records = rebuild(story.state, traces, LATER_US)
    assert kinds(records) == ["Decided", "Parked"]
    assert machine.summary(state).outcome == Outcome.HEURISTIC_MIXED


# ── sagas ────────────────────────────────────────────────────────────────────


def trip() -> Story:
    """Begin a saga of three steps in a row, the second of which is the pivot."""
    return Story.begin(saga(step("book"), step("pay", "book", pivot=True), step("send", "pay")))


def test_steps_that_were_done_are_known_with_their_results() -> None:
    """So a deadline that has passed meanwhile does not undo what must stand."""
    story = trip()
    traces = Traces(steps={"book": Did("done", {"seat": 3}), "pay": Did("done")})

    state, records = rebuild(story.state, traces, LATER_US)

    assert kinds(records) == ["StepDone", "StepDone"]
    assert replayed(story, records) == state
    assert [(m.step, type(m)) for m in asked(state)] == [("send", Execute)]


def test_a_step_that_needs_another_is_not_done_before_it() -> None:
    """Rows of a step whose needs have no row prove nothing that could be written down."""
    state, records = rebuild(trip().state, Traces(steps={"send": Did("done")}), LATER_US)
    assert records == ()
    assert machine.summary(state).status is Status.OPEN


def test_a_saga_that_was_finished_ends() -> None:
    """Though nobody was told."""
    steps = {name: Did("done") for name in ("book", "pay", "send")}
    state, records = rebuild(trip().state, Traces(steps=steps), LATER_US)
    assert kinds(records) == ["StepDone"] * 3 + ["Closed"]
    assert [m.outcome for m in asked(state) if isinstance(m, Told)] == ["COMMITTED"]


@pytest.mark.parametrize("second", [Did("refused", None, "no money"), Did("sealed")])
def test_a_saga_that_had_turned_back_goes_on_back(second: Did) -> None:
    """A row that refuses a step from now on proves it."""
    story = Story.begin(saga(step("book"), step("pay", "book"), step("send", "pay")))
    traces = Traces(steps={"book": Did("done"), "pay": second})

    state, records = rebuild(story.state, traces, LATER_US)

    assert "CompensationBegan" in kinds(records)
    assert replayed(story, records) == state
    assert [(m.step, type(m)) for m in asked(state)] == [("book", Compensate)]


def test_a_saga_that_was_told_to_go_back_goes_back() -> None:
    """The undo is on its topic, and will be done."""
    story = Story.begin(saga(step("book"), step("pay", "book")))
    traces = Traces(steps={"book": Did("done")}, sent=Sent.ANYTHING | Sent.UNDO)
    state, _ = rebuild(story.state, traces, LATER_US)
    assert [(m.step, type(m)) for m in asked(state)] == [("pay", Compensate)]


def test_what_was_undone_is_not_undone_again() -> None:
    """The last one first, and none is left."""
    story = Story.begin(saga(step("book"), step("pay", "book"), step("send", "pay")))
    rows = {"book": Did("undone"), "pay": Did("undone"), "send": Did("refused", None, "no car")}

    state, records = rebuild(story.state, Traces(steps=rows), LATER_US)

    assert kinds(records)[-3:] == ["StepUndone", "StepUndone", "Closed"]
    assert isinstance(state, SagaState)
    assert (state.outcome, state.reason) == (Outcome.COMPENSATED, "send: no car")
    assert {one.phase for one in state.steps.values()} == {StepPhase.UNDONE, StepPhase.REFUSED}


def test_what_comes_before_what_is_being_undone_was_undone_or_never_asked() -> None:
    """A step that was too large to be asked would hold up all the rest for ever."""
    story = Story.begin(saga(step("book"), step("pay", "book"), step("send", "pay")))
    rows = {"book": Did("done"), "pay": Did("undone")}

    state, records = rebuild(story.state, Traces(steps=rows), LATER_US)

    assert replayed(story, records) == state
    assert [(m.step, type(m)) for m in asked(state)] == [("book", Compensate)]


def test_what_is_undone_beside_it_says_nothing_of_a_step() -> None:
    """Only what a step needs is undone after it."""
    story = Story.begin(saga(step("book"), step("pay", "book"), step("send", "book")))
    rows = {"book": Did("done"), "pay": Did("undone")}

    state, _ = rebuild(story.state, Traces(steps=rows), LATER_US)

    assert [(m.step, type(m)) for m in asked(state)] == [("send", Compensate)]


@pytest.mark.parametrize("outcome", [Outcome.COMMITTED, Outcome.COMPENSATED, Outcome.ABORTED])
def test_an_outcome_that_was_told_stands(outcome: Outcome) -> None:
    """Whatever else is there, nobody is told anything else."""
    steps = {"book": Did("done")}
    state, _ = rebuild(trip().state, Traces(steps=steps, told=told(outcome)), LATER_US)
    assert [m.outcome for m in asked(state)] == [outcome]


def test_a_saga_past_its_pivot_that_has_turned_back_is_for_a_person() -> None:
    """Only a person can have ordered so."""
    steps = {"book": Did("done"), "pay": Did("done"), "send": Did("refused", None, "no")}
    state, records = rebuild(trip().state, Traces(steps=steps), LATER_US)
    assert kinds(records)[-1] == "Parked"
    assert machine.summary(state).status is Status.PARKED


def test_what_lies_past_a_step_that_was_too_large_to_be_asked_for_is_known() -> None:
    """Its saga went on without it; nobody was asked, so nobody has a row."""
    without = replace(step("a"), on_refused=OnRefused.CONTINUE)
    story = Story.begin(saga(without, step("b", "a")))
    traces = Traces(steps={"b": Did("done")}, sent=Sent.ANYTHING | Sent.UNDO)

    state, records = rebuild(story.state, traces, LATER_US)

    assert kinds(records)[:3] == ["StepRefused", "StepSkipped", "StepDone"]
    assert [(m.step, type(m)) for m in asked(state)] == [("b", Compensate)]


@pytest.mark.parametrize("later", [{"send": Did("done")}, {"pay": Did("undone")}, {}])
def test_what_a_person_had_let_go_on_is_for_a_person_again(later: dict[str, Did]) -> None:
    """Who goes back where it had gone on would leave standing what the copy does not know."""
    story = trip()
    story.hear(executed("book"))
    parked = Transition(story.state).remember(Parked(reason="no answer"), START_US).state
    traces = Traces(steps={"book": Did("done"), "pay": Did("done"), **later})

    state, _ = rebuild(parked, traces, LATER_US)

    assert isinstance(state, SagaState)
    assert all(name in state.reason for name in later)
    assert "no answer" in state.reason
    assert state.before == parked.before, "an order goes on from there"


def test_without_a_trace_it_stays_as_it_is() -> None:
    """Whatever is next is asked for, and barriers know the rest."""
    story = trip()
    assert rebuild(story.state, Traces(), LATER_US) == (story.state, ())


@pytest.mark.parametrize("back", [False, True])
def test_what_lies_past_a_step_that_was_skipped_is_known(*, back: bool) -> None:
    """It left no trace, and what came after it must not be forgotten, nor left standing."""
    never = constant(value=False)
    story = Story.begin(saga(step("a"), step("b", "a", condition=never), step("c", "b")))
    traces = Traces(
        steps={"a": Did("done", 1), "c": Did("done", 3)}, sent=Sent.UNDO if back else Sent.ANYTHING
    )
    state, records = rebuild(story.state, traces, LATER_US)

    assert kinds(records)[:3] == ["StepDone", "StepSkipped", "StepDone"]
    assert state == replayed(story, records)
    if back:
        assert [message.step for message in asked(state)] == ["c"]
    else:
        assert kinds(records)[3:] == ["Closed"]


@pytest.mark.parametrize("outcome", [None, Outcome.COMMITTED])
def test_a_saga_in_it_of_a_name_that_is_not_known_is_for_a_person(outcome: Outcome | None) -> None:
    """Of what it has done nothing can be found; unless the end of the whole was told."""
    story = Story.begin(saga(replace(step("b"), work=SubSaga("other"))))
    began = ChildBegan(step="b", child="tf1.test.1.0." + "e" * 32, attempt=1)
    known = Transition(story.state).remember(began, START_US).state
    traces = Traces(told=told(outcome) if outcome else None)

    state, _ = rebuild(known, traces, LATER_US)

    assert state.phase == ("closed" if outcome else "parked")
    assert outcome or began.child in state.reason
