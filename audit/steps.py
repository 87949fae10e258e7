"""Sagas: what the log says of each step, beside its row in the barrier.

The log is read first. What it says of a step was true in the barrier before
it was written, and rows there never go, nor turn back: done may only become
undone, and the others stay. So what the log has closed must still be so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from audit.facts import Barrier, Facts
from audit.findings import Finding, Kind
from coordinator.core.records import Outcome
from coordinator.core.saga_state import Phase, SagaState, StepPhase


def steps(saga: SagaState, facts: Facts, skipped: Collection[str]) -> Iterator[Finding]:
    """Compare each step with its participant's barrier, unless a person has seen to it."""
    for name, step in saga.definition.steps.items():
        participant = step.call.participant if step.call is not None else None
        database = facts.where(participant) if participant is not None else None
        if participant is None or database is None or name in skipped:
            continue
        row = database.barriers.get((saga.gid, name))
        kind = _step(saga, saga.steps[name].phase, row)
        if kind is not None:
            since_us = row.at_us if row is not None else saga.began_us
            said = f"the log says {saga.steps[name].phase}, the barrier {_said(row)}"
            yield Finding(kind, saga.gid, participant, name, since_us, said)


def _step(saga: SagaState, phase: StepPhase, row: Barrier | None) -> Kind | None:
    closed = saga.phase in (Phase.CLOSED, Phase.ENDED)
    says = row.status if row is not None else ""
    match phase, says:
        case (StepPhase.DONE, ""):
            return Kind.STEP_MISSING
        case (StepPhase.DONE, "refused" | "sealed"):
            return Kind.STEP_CONTRADICTED
        case (StepPhase.DONE, "undone") if closed:
            return Kind.STEP_CONTRADICTED
        case (StepPhase.UNDONE, ""):
            return Kind.SEAL_MISSING
        case (StepPhase.UNDONE | StepPhase.REFUSED, "done"):
            return _standing(saga)
        case (StepPhase.WAITING | StepPhase.SKIPPED, "done") if closed:
            return _standing(saga)
        case _:
            return None


def _standing(saga: SagaState) -> Kind:
    aborted = saga.outcome is Outcome.ABORTED
    return Kind.EFFECT_AFTER_ABORT if aborted else Kind.EFFECT_NOT_UNDONE


def _said(row: Barrier | None) -> str:
    return f"says {row.status}" if row is not None else "has no row"
