"""Facts of the log and of participants' databases → findings. Pure.

It relies on the order in which facts are read, see reading.py: first the log,
then what is prepared, then the rows of participants, and the log once more
for what it did not know. What is then still only under way has its grace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from audit.branches import branches, strays
from audit.facts import Barrier, Database, Facts, LogFacts, Marker, Transaction
from audit.findings import Finding, Kind
from audit.steps import steps
from coordinator.core import machine
from coordinator.core.children import open_children
from coordinator.core.machine import State
from coordinator.core.saga_state import Phase, SagaState, StepPhase
from coordinator.core.transition import Status
from coordinator.core.two_phase_state import TwoPhase
from wire import gids


def compare(facts: Facts) -> list[Finding]:
    """Return all that does not agree, each thing once."""
    found = [
        finding
        for transaction in facts.log.transactions.values()
        for finding in _transaction(transaction, facts)
    ]
    found += strays(facts)
    for database in facts.databases:
        found += _rows(database, facts)
    found += _unowned(facts.log)
    return list({finding.identity: finding for finding in found}.values())


def _transaction(transaction: Transaction, facts: Facts) -> Iterator[Finding]:
    gid, row, state = transaction.gid, transaction.row, transaction.state
    said = list(_log(transaction))
    if isinstance(state, TwoPhase):
        said += branches(state, facts, resolved=transaction.resolved)
    elif state is not None and not transaction.resolved:
        said += steps(state, facts, transaction.skipped)
    if state is not None and row is not None and row.status == Status.PARKED:
        why = f"{row.outcome}: {state.reason}"
        said.append(Finding(Kind.PARKED, gid, "", "", row.changed_us, why))
    # Whoever has a reason to stand still is named with it.
    return iter(said or _stuck(transaction, facts))


# ── the log, beside itself ───────────────────────────────────────────────────


def _log(transaction: Transaction) -> Iterator[Finding]:
    gid, row = transaction.gid, transaction.row
    at_us = row.began_us if row is not None else transaction.entries[0].at_us
    if row is None:
        yield Finding(Kind.LOG_ROW_MISSING, gid, "", "", at_us)
    if list(transaction.seqs) != list(range(max(1, len(transaction.seqs)))):
        there = ", ".join(map(str, transaction.seqs)) or "none"
        yield Finding(Kind.LOG_GAP, gid, "", "", at_us, f"numbers that are there: {there}")
    elif transaction.state is None:
        yield Finding(Kind.LOG_UNREADABLE, gid, "", "", at_us, transaction.unreadable)
    elif row is not None:
        differing = "; ".join(_differences(transaction, transaction.state))
        if differing:
            yield Finding(Kind.LOG_ROW_DIFFERS, gid, "", "", row.changed_us, differing)


def _differences(transaction: Transaction, state: State) -> Iterator[str]:
    """Name what the row says otherwise than the records."""
    row, says = transaction.row, machine.summary(state)
    assert row is not None
    shard = gids.parse(transaction.gid)
    # Whether the parking has been told is in the row alone.
    active = row.active if says.status is Status.PARKED else says.active
    pairs = {
        "status": (row.status, says.status),
        "outcome": (row.outcome, says.outcome),
        "active": (row.active, active),
        "shard": (row.shard, shard.shard if shard is not None else row.shard),
        "definition": (row.definition, state.begun.definition),
    }
    for name, (shown, true) in pairs.items():
        if shown != true:
            yield f"{name} is {shown}, by the records {true}"


# ── nothing moves ────────────────────────────────────────────────────────────


def _stuck(transaction: Transaction, facts: Facts) -> Iterator[Finding]:
    gid, state = transaction.gid, transaction.state
    if state is None or machine.summary(state).status is not Status.OPEN:
        return
    if isinstance(state, SagaState) and (state.held or open_children(state)):
        return  # it waits for another one, which has times of its own
    if machine.wake_at_us(state) is None:
        yield Finding(Kind.ASLEEP, gid, "", "", state.began_us, f"it is {state.phase}")
        return
    due_us, limit = _due(state, transaction.entries[-1].at_us)
    if facts.is_late(due_us):
        yield Finding(Kind.OVERDUE, gid, "", "", due_us, f"it is {state.phase}; {limit}")


def _due(state: State, changed_us: int) -> tuple[int, str]:
    """Tell by when the state should have changed, and what says so."""
    if isinstance(state, TwoPhase):
        if state.decided is not None:
            return state.decided_us, f"decided to {state.decided.decision}"
        return state.deadline_us, "its deadline for votes has passed"
    match state.phase:
        case Phase.CLOSED:
            return changed_us, f"{state.outcome} is to be told"
        case Phase.COMPENSATING:
            # A new owner asks anew, and waits as long again.
            limits = [
                at.since_us + 2 * step.undo.timeout_us
                for step, at in state.in_phase(StepPhase.UNDOING)
                if step.undo is not None
            ]
            return max(limits, default=changed_us), "an undo is unanswered"
        case _:
            return _due_forward(state)


def _due_forward(saga: SagaState) -> tuple[int, str]:
    """Name the deadline, which does not interrupt the pivot."""
    pivot = saga.definition.pivot
    if pivot is None or not saga.pivot_is_asked:
        return saga.deadline_us, "its deadline has passed"
    asked_us = saga.steps[pivot.name].since_us + 2 * pivot.timeout_us
    return max(saga.deadline_us, asked_us), "its pivot is unanswered"


def _unowned(log: LogFacts) -> Iterator[Finding]:
    for shard in log.unowned:
        said = f"{shard.active} open; the last owner was {shard.last_owner or 'nobody'}"
        yield Finding(Kind.SHARD_UNOWNED, "", "", f"shard {shard.shard}", shard.since_us, said)


# ── rows that no transaction accounts for ────────────────────────────────────


def _rows(database: Database, facts: Facts) -> Iterator[Finding]:
    for (gid, step), row in database.barriers.items():
        kind, detail = _place(gid, step, database, facts, atomic=False)
        if kind is not None:
            yield Finding(kind, gid, database.label, step, row.at_us, _says(row, detail))
    for (gid, branch), row in database.markers.items():
        # A rollback of what never was leaves its mark, and harms nobody.
        if row.committed:
            kind, detail = _place(gid, branch, database, facts, atomic=True)
            if kind is not None:
                yield Finding(kind, gid, database.label, branch, row.at_us, _says(row, detail))


def _says(row: Barrier | Marker, detail: str) -> str:
    return f"the row says {row.status}" + (f"; {detail}" if detail else "")


def _place(
    gid: str, part: str, database: Database, facts: Facts, *, atomic: bool
) -> tuple[Kind | None, str]:
    """Tell whether a row has a reason to be where it is."""
    name, known = gids.parse(gid), facts.log.transactions.get(gid)
    if known is None:
        if name is None:
            return Kind.ROW_UNKNOWN, "its name is none of ours"
        foreign = name.cluster != facts.log.cluster
        return (None if foreign or facts.log.has_purged(name) else Kind.ROW_UNKNOWN), ""
    if known.state is None:
        return None, ""
    if isinstance(known.state, SagaState) and part in known.state.left:
        return None, ""
    fits = isinstance(known.state, TwoPhase) is atomic
    participants = _askable(known.state).get(part) if fits else None
    if participants is None:
        return Kind.ROW_MISPLACED, f"{known.state.definition.name} has none of this name"
    if not participants & set(database.participants):
        return Kind.ROW_MISPLACED, f"its participant is {', '.join(sorted(participants))}"
    return None, ""


def _askable(state: State) -> Mapping[str, set[str]]:
    """For each branch or step: the participants that are asked for it."""
    if isinstance(state, TwoPhase):
        return {b.name: {b.call.participant} for b in state.definition.branches.values()}
    return {
        step.name: {call.participant for call in step.calls}
        for step in state.definition.steps.values()
    }
