"""Records and states in plain words, for whoever looks at three in the morning. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from coordinator.cli.output import moment, span
from coordinator.core.machine import State
from coordinator.core.records import (
    AnyRecord,
    AttemptFailed,
    Begun,
    Closed,
    CompensationBegan,
    Decided,
    Ended,
    Hazard,
    Parked,
    StepDeferred,
    StepDone,
    StepRefused,
    StepUndone,
    UndoFailed,
    Withdrawn,
)
from coordinator.core.saga_state import Phase as SagaPhase
from coordinator.core.saga_state import SagaState, StepPhase, StepState
from coordinator.core.two_phase_state import Phase, TwoPhase
from sagas.model import Step


class Part(NamedTuple):
    """A step or a branch, as `show` shows it."""

    name: str
    call: str
    state: str
    attempt: int
    reason: str


def sentence(record: AnyRecord) -> str:
    """Say a record."""
    match record:
        case Begun():
            return f"began, as version {record.version} of {record.name}, key {record.key}"
        case Decided():
            decision = f"decided to {record.decision}"
            return decision + (f": {record.reason}" if record.reason else "")
        case Withdrawn():
            return f"{record.reason}: asking how it ended"
        case Hazard():
            return f"branch {record.branch} ended otherwise ({record.end}): {record.reason}"
        case Parked():
            return f"parked: {record.reason}"
        case Closed():
            return f"closed: {record.outcome}" + (f", {record.reason}" if record.reason else "")
        case Ended():
            return "ended: everyone who must know does"
        case _:
            return _step_sentence(record)


def _step_sentence(record: Any) -> str:
    match record:
        case StepDone():
            return f"step {record.step}: done" + _nth(record.attempt)
        case StepRefused():
            return f"step {record.step}: refused: {record.reason or 'no reason given'}"
        case StepDeferred():
            return f"step {record.step}: busy ({record.reason}), {_again(record.retry_at_us)}"
        case AttemptFailed():
            tried = f"step {record.step}: attempt {record.attempt} {record.why}: {record.reason}"
            return f"{tried}, {_again(record.retry_at_us)}"
        case CompensationBegan():
            return f"going back: {record.reason}"
        case StepUndone():
            what = "undone" if record.undone else "there was nothing to undo"
            return f"step {record.step}: {what}" + _nth(record.attempt)
        case UndoFailed():
            tried = f"undo of {record.step}: attempt {record.attempt} {record.why}"
            return f"{tried}: {record.reason}, {_again(record.retry_at_us)}"
        case _:
            return repr(record)


def _nth(attempt: int) -> str:
    return f", at attempt {attempt}" if attempt > 1 else ""


def _again(retry_at_us: int | None) -> str:
    return "and that was the last" if retry_at_us is None else f"again at {moment(retry_at_us)}"


def parts(state: State) -> list[Part]:
    """Return the steps or branches, and where each stands."""
    if isinstance(state, SagaState):
        return [
            Part(
                name,
                str(state.definition.steps[name].call),
                str(step.phase),
                step.attempt,
                step.reason,
            )
            for name, step in state.steps.items()
        ]
    return [
        Part(name, str(branch.call), _branch_state(state, name), 1, "")
        for name, branch in state.definition.branches.items()
    ]


def _branch_state(txn: TwoPhase, name: str) -> str:
    """Say what the log proves: votes are not in it."""
    if name in txn.hazards:
        return f"hazard: {txn.hazards[name]}"
    if txn.phase is Phase.ENDED:
        return "committed" if txn.outcome == "COMMITTED" else "rolled back"
    if txn.decided is None:
        return "asked for its vote"
    if name in txn.decided.awaited:
        return f"told to {txn.decided.decision}"
    return "needs no second phase"


def why_it_waits(state: State, now_us: int) -> str:
    """Say in one sentence what it waits for, and until when."""
    if isinstance(state, SagaState):
        return _why_saga(state, now_us)
    return _why_two_phase(state, now_us)


def _why_two_phase(txn: TwoPhase, now_us: int) -> str:
    waiting = ", ".join(txn.waiting_for) or "nobody"
    match txn.phase:
        case Phase.PREPARING | Phase.DELEGATED:
            until = _until(txn.deadline_us, now_us)
            return f"waits for the vote of {waiting}; {until} silence is a no"
        case Phase.WITHDRAWING:
            return f"asks {waiting} how it ended, again and again: it may have committed"
        case Phase.COMMITTING | Phase.ABORTING:
            if not txn.waiting_for:
                return "waits for its outcome to be on its topic"
            told = "commit" if txn.phase is Phase.COMMITTING else "rollback"
            return f"tells {waiting} to {told}, again and again until it is acknowledged"
        case Phase.PARKED:
            return f"waits for a person: {txn.reason}"
        case Phase.ENDED:
            return "waits for nothing: it has ended"


def _why_saga(state: SagaState, now_us: int) -> str:
    match state.phase:
        case SagaPhase.RUNNING:
            steps = list(state.in_phase(StepPhase.RUNNING))
            until = f"; {_until(state.deadline_us, now_us)} it is too late"
            return _asked(steps, now_us) + until
        case SagaPhase.COMPENSATING:
            steps = list(state.in_phase(StepPhase.UNDOING))
            return f"goes back ({state.reason}): {_asked(steps, now_us)}"
        case SagaPhase.CLOSED:
            return "waits for its outcome to be on its topic"
        case SagaPhase.PARKED:
            return f"waits for a person: {state.reason}"
        case SagaPhase.ENDED:
            return "waits for nothing: it has ended"


def _asked(steps: list[tuple[Step, StepState]], now_us: int) -> str:
    said: list[str] = []
    for step, at in steps:
        undoing = at.phase is StepPhase.UNDOING and step.undo is not None
        call = step.undo.call if undoing and step.undo else step.call
        if at.since_us > now_us:
            said.append(f"{call} is tried again in {span(at.since_us - now_us)} ({at.reason})")
        else:
            said.append(f"waits for {call}, attempt {at.attempt}")
    return ", ".join(said) or "waits for nothing"


def _until(at_us: int, now_us: int) -> str:
    if at_us <= now_us:
        return f"since {moment(at_us)}"
    return f"in {span(at_us - now_us)}"
