"""Records → spans. Pure: a transaction's trace is a function of its log.

A span is complete when the record that ends it is written, so one record and
the state before it are enough. The root is short and comes first; attempts,
compensations and the outcome are its children, each with the id that its
command carried (identity.py). So no parent is ever missing, a saga that runs
for days is seen while it runs, and a new owner goes on in the same trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from coordinator.core import machine
from coordinator.core.machine import State
from coordinator.core.records import (
    AttemptFailed,
    Begun,
    Closed,
    CompensationBegan,
    Decided,
    Ended,
    Entry,
    Locked,
    Ordered,
    Outcome,
    Parked,
    StepDone,
    StepRefused,
    StepSkipped,
    StepUndone,
    UndoFailed,
)
from coordinator.core.saga_state import SagaState, StepPhase
from coordinator.core.two_phase_state import Phase, TwoPhase
from coordinator.telemetry import attributes as a
from coordinator.telemetry import identity
from sagas.model import AnyDefinition
from wire.topics import Topics


class SpanKind(StrEnum):
    """OpenTelemetry's kinds that we use."""

    INTERNAL = "internal"
    PRODUCER = "producer"


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """All that a span says."""

    name: str
    trace: str
    span: str
    parent: str
    start_us: int
    end_us: int
    kind: SpanKind = SpanKind.INTERNAL
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    error: str = ""


GOOD = frozenset({Outcome.COMMITTED, Outcome.ABORTED, Outcome.COMPENSATED})


def spans_of_log(
    gid: str,
    definition: AnyDefinition,
    entries: Iterable[Entry],
    versions: Iterable[AnyDefinition] = (),
) -> list[SpanFacts]:
    """Return the whole trace, as far as it is told by the log; ``versions`` as to `recover`."""
    log = list(entries)
    state = machine.recover(gid, definition, log[:1], versions)
    return [*spans(None, state, log[:1]), *spans(state, state, log[1:])]


def spans(before: State | None, after: State, entries: Iterable[Entry]) -> Iterator[SpanFacts]:
    """Return the spans that these entries complete.

    ``before`` is the state that the entries found, None for a beginning;
    ``after`` is any later state of the same transaction.
    """
    versions = machine.versions(after)
    state = machine.knowing(before, after) if before is not None else None
    for entry in entries:
        if isinstance(entry.record, Begun):
            state = machine.recover(entry.gid, after.definition, [entry], versions)
            yield _root(state, entry.at_us)
            continue
        assert state is not None, f"{entry.gid}: a record before the beginning"
        if isinstance(entry.record, Ordered):
            yield _ordered(state, entry.record, entry.at_us)
        elif isinstance(state, SagaState):
            yield from _saga(state, entry)
        else:
            yield from _two_phase(state, entry)
        state = state.evolve(entry.record, entry.at_us)


def resumed(state: State, now_us: int, epoch: int) -> SpanFacts:
    """Show that a new owner has taken the transaction over."""
    label = f"resumed/{epoch}"
    return _span(state, label, "taken over", (now_us, now_us + 1), {a.EPOCH: epoch})


# ── sagas ────────────────────────────────────────────────────────────────────


def _saga(saga: SagaState, entry: Entry) -> Iterator[SpanFacts]:
    record, at_us = entry.record, entry.at_us
    match record:
        case StepDone():
            yield _attempt(saga, record.step, at_us, result="done")
        case StepSkipped():
            said = {a.STEP: record.step, a.RESULT: "skipped"}
            label = f"skip/{record.step}"
            yield _span(saga, label, f"skip {record.step}", (at_us, at_us + 1), said)
        case Locked():
            said = {a.RESULT: f"held by {record.beside}" if record.beside else "granted"}
            times = (saga.lock_since_us, at_us)
            yield _span(saga, f"lock/{record.lock}", f"lock {record.lock}", times, said)
        case StepRefused():
            yield _attempt(saga, record.step, at_us, result="refused", reason=record.reason)
        case AttemptFailed() | UndoFailed():
            why, reason = str(record.why), record.reason
            yield _attempt(saga, record.step, at_us, result=why, reason=reason, error=why)
        case StepUndone():
            result = "undone" if record.undone else "nothing to undo"
            yield _attempt(saga, record.step, at_us, result=result)
        case CompensationBegan():
            yield from _abandoned(saga, at_us)
        case Parked():
            yield from _abandoned(saga, at_us)
            yield _outcome(saga, record.outcome, record.reason, at_us)
        case Closed():
            yield _outcome(saga, record.outcome, record.reason or saga.reason, at_us)
        case _:
            return


def _attempt(
    saga: SagaState, name: str, at_us: int, *, result: str, reason: str = "", error: str = ""
) -> SpanFacts:
    step, state = saga.definition.steps[name], saga.steps[name]
    undoing = state.phase is StepPhase.UNDOING and step.undo is not None
    call = step.undo.call if undoing and step.undo else step.call
    messaging = {} if call is None else _messaging(saga, Topics.commands(call.participant))
    label = f"{'undo' if undoing else 'step'}/{name}/{state.attempt}"
    said = {
        a.STEP: name,
        a.ATTEMPT: state.attempt,
        a.RESULT: result,
        **({a.REASON: reason} if reason else {}),
        **messaging,
    }
    kind = SpanKind.INTERNAL if call is None else SpanKind.PRODUCER
    title = f"{'compensate' if undoing else 'step'} {name}"
    times = (state.since_us, at_us)
    return _span(saga, label, title, times, said, error=error, kind=kind)


def _abandoned(saga: SagaState, at_us: int) -> Iterator[SpanFacts]:
    """Show the attempts whose answers will not be looked at: their participants have spans."""
    for step, state in saga.in_phase(StepPhase.RUNNING, StepPhase.UNDOING):
        if state.since_us <= at_us:
            yield _attempt(saga, step.name, at_us, result="abandoned")


# ── atomic transactions ──────────────────────────────────────────────────────


def _two_phase(txn: TwoPhase, entry: Entry) -> Iterator[SpanFacts]:
    record, at_us = entry.record, entry.at_us
    match record:
        case Decided():
            yield from _prepares(txn, at_us, str(record.decision))
            if txn.phase is Phase.WITHDRAWING:
                yield from _settles(txn, txn.definition.branches, txn.began_us, at_us, "rollback")
            outcome = Outcome.COMMITTED if record.decision == "commit" else Outcome.ABORTED
            yield _outcome(txn, outcome, record.reason, at_us)
        case Ended() | Parked():
            if txn.decided is not None:
                told = "commit" if txn.decided.decision == "commit" else "rollback"
                yield from _settles(txn, txn.decided.awaited, txn.decided_us, at_us, told)
            elif isinstance(record, Parked):
                yield from _prepares(txn, at_us, "none")
            if isinstance(record, Parked):
                yield _outcome(txn, record.outcome, record.reason, at_us)
        case _:
            return


def _prepares(txn: TwoPhase, at_us: int, decision: str) -> Iterator[SpanFacts]:
    for name, branch in txn.definition.branches.items():
        said = {
            a.BRANCH: name,
            a.DECISION: decision,
            **_messaging(txn, Topics.commands(branch.call.participant)),
        }
        label, title = f"prepare/{name}", f"prepare {name}"
        yield _span(txn, label, title, (txn.began_us, at_us), said, kind=SpanKind.PRODUCER)


def _settles(
    txn: TwoPhase, branches: Iterable[str], from_us: int, at_us: int, told: str
) -> Iterator[SpanFacts]:
    for name in branches:
        participant = txn.definition.branches[name].call.participant
        hazard = str(txn.hazards[name]) if name in txn.hazards else ""
        said = {a.BRANCH: name, **_messaging(txn, Topics.commands(participant))}
        title = f"{told} {name}"
        label, times = f"settle/{name}", (from_us, at_us)
        yield _span(txn, label, title, times, said, error=hazard, kind=SpanKind.PRODUCER)


# ── both ─────────────────────────────────────────────────────────────────────


def _root(state: State, at_us: int) -> SpanFacts:
    context = identity.parse(state.begun.traceparent)
    assert context is not None, f"{state.gid}: it began without a trace"
    begun = state.begun
    said = {
        a.TXN_ID: state.gid,
        a.TXN_KEY: begun.key,
        a.DEFINITION: begun.name,
        a.VERSION: begun.version,
        a.KIND: state.definition.kind,
    }
    name = f"{state.definition.kind} {begun.name}"
    return SpanFacts(
        name, context.trace, context.span, begun.parent_span, at_us, at_us + 1, attributes=said
    )


def _outcome(state: State, outcome: Outcome, reason: str, at_us: int) -> SpanFacts:
    """Show the end, with the whole duration. Parked again, it has another outcome span."""
    label = "outcome" if outcome in GOOD else f"outcome/{outcome}"
    said = {a.OUTCOME: str(outcome), **({a.REASON: reason} if reason else {})}
    error = "" if outcome in GOOD else str(outcome)
    return _span(state, label, f"outcome {outcome}", (state.began_us, at_us), said, error=error)


def _ordered(state: State, order: Ordered, at_us: int) -> SpanFacts:
    said: dict[str, Any] = {a.ACTOR: order.actor, a.REASON: order.reason}
    if order.step:
        said[a.STEP] = order.step
    if order.to:
        said[a.VERSION] = order.to
    name, times = f"ordered {order.action}", (at_us, at_us + 1)
    return _span(state, f"ordered/{order.id}", name, times, said, error=order.refused)


def _span(
    state: State,
    label: str,
    name: str,
    times: tuple[int, int],
    said: dict[str, Any],
    *,
    error: str = "",
    kind: SpanKind = SpanKind.INTERNAL,
) -> SpanFacts:
    context = identity.parse(state.begun.traceparent)
    assert context is not None, f"{state.gid}: it began without a trace"
    start_us, end_us = times
    return SpanFacts(
        name,
        context.trace,
        identity.span_of(state.gid, label),
        context.span,
        min(start_us, end_us - 1),
        end_us,
        kind,
        {a.TXN_ID: state.gid, a.DEFINITION: state.begun.name, **said},
        error,
    )


def _messaging(state: State, topic: str) -> dict[str, str]:
    return {
        a.MESSAGING_SYSTEM: "kafka",
        a.MESSAGING_OPERATION_NAME: "send",
        a.MESSAGING_OPERATION_TYPE: "send",
        a.MESSAGING_DESTINATION: topic,
        a.MESSAGING_CONVERSATION: state.gid,
    }
