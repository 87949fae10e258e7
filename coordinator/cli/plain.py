"""Records and states in plain words: what happened, and what it waits for.

Everything here is a function of the log and of the time. What the log does
not keep (votes, acknowledgements, when the present owner asked) is not
guessed; the sentences say what is wanted, not what may have come already.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from coordinator.core.machine import State
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
)
from coordinator.core.saga_state import Phase as SagaPhase
from coordinator.core.saga_state import SagaState, StepPhase, StepState
from coordinator.core.two_phase_state import Phase, TwoPhase
from coordinator.core.waiting import over_us as over_at_us
from sagas.model import Call, Step, Undo, Work
from sagas.tcc import PIVOT
from wire.messages import End

SECOND_US: Final = 1_000_000
PARKED: Final = "for a person, and does nothing by itself"
AGAIN: Final = "repeated at growing intervals, up to 5 minutes apart, until it has"


# ── times ────────────────────────────────────────────────────────────────────


def moment(at_us: int) -> str:
    """Write a time, in UTC, to the millisecond."""
    at = datetime.fromtimestamp(at_us // SECOND_US, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_us % SECOND_US // 1000:03}Z"


def clock(at_us: int) -> str:
    """Write a time without its day."""
    return moment(at_us)[11:]


def span(length_us: int) -> str:
    """Write a length of time in the one or two units that matter."""
    if length_us < SECOND_US:
        return f"{length_us // 1000} ms"
    seconds = length_us / SECOND_US
    if seconds < 60:  # noqa: PLR2004  # a minute
        return f"{seconds:.3g} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s"))
    first = next(i for i, (count, _) in enumerate(units) if count)
    return " ".join(f"{count} {unit}" for count, unit in units[first : first + 2] if count)


def until(at_us: int, now_us: int) -> str:
    """Write a time to come, or one that has passed."""
    if at_us >= now_us:
        return f"{clock(at_us)} (in {span(at_us - now_us)})"
    return f"{clock(at_us)} ({span(now_us - at_us)} ago)"


def names(items: Sequence[str]) -> str:
    """Join names as a sentence does."""
    if len(items) < 2:  # noqa: PLR2004
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


# ── what happened ────────────────────────────────────────────────────────────


def sentence(record: AnyRecord, at_us: int) -> str:
    """Tell one record as a sentence."""
    match record:
        case Begun():
            return f"begun: {record.name} version {record.version}, key {record.key}"
        case Decided():
            return _decided(record)
        case Withdrawn() | Hazard():
            return _of_a_branch(record)
        case CompensationBegan():
            return f"turned back: {record.reason}"
        case Parked():
            kind = "" if record.outcome is Outcome.PARKED else f" as {record.outcome}"
            return f"parked for a person{kind}: {record.reason}"
        case Ordered() | Moved():
            return _ordered(record)
        case Closed():
            return f"the outcome stands: {record.outcome}{_because(record.reason)}"
        case Ended() | LetGo():
            stands = "the saga that it is a part of has ended: what is done stands for good"
            return stands if isinstance(record, LetGo) else "ended: the outcome is told"
        case Locking() | Locked():
            return _of_a_lock(record)
        case _:
            return _of_a_step(record, at_us)


def _ordered(order: Ordered | Moved) -> str:
    if isinstance(order, Moved):
        return f"moved to version {order.version}: from here on it goes by that"
    what = what_was_ordered(order)
    said = f"{order.actor} ordered: {what}{_because(order.reason)}"
    return f"{said}; refused: {order.refused}" if order.refused else said


def what_was_ordered(order: Ordered) -> str:
    """Name an order, and what it is about."""
    version = f"to version {order.to}" if order.to else ""
    return " ".join(word for word in (order.action, order.step, version) if word)


def _of_a_lock(record: Locking | Locked) -> str:
    if isinstance(record, Locking):
        needed = names(record.locks)
        return (
            f"needs the lock{'s' * (len(record.locks) > 1)} {needed}" if needed else "needs no lock"
        )
    if record.beside:
        return f"goes on without the lock {record.lock}, which {record.beside} has"
    return f"has the lock {record.lock}"


def _of_a_step(
    record: ChildBegan
    | ChildRevoked
    | ChildEnded
    | StepDone
    | StepSkipped
    | StepSpread
    | StepRefused
    | StepDeferred
    | AttemptFailed
    | WaitBegan
    | StepUndone
    | UndoFailed,
    at_us: int,
) -> str:
    step = record.step
    match record:
        case ChildBegan() | ChildRevoked() | ChildEnded():
            return _of_a_child(record)
        case AttemptFailed() | UndoFailed():
            return _failed(record, at_us)
        case StepDone():
            return _done(record)
        case StepSkipped():
            why = "it was refused" if record.refused else "its condition is false"
            return f"{step} is skipped: {why}"
        case StepSpread():
            return f"{step} is to be done for each of {record.count}"
        case StepRefused():
            return f"{step} was refused{_because(record.reason)}"
        case StepDeferred():
            pause = span(record.retry_at_us - at_us)
            return f"{step} is put off by {pause}, at no cost{_because(record.reason)}"
        case WaitBegan():
            what = f"an event on {record.topic}, {record.key}" if record.topic else "a person"
            return f"{step} waits for {what}"
        case StepUndone():
            return f"{step} is undone" if record.undone else f"{step} had nothing to undo"


def _done(record: StepDone) -> str:
    if record.step == PIVOT:
        return "all that is written is done: from here on there is no way back"
    return f"{record.step} is done" + f", at attempt {record.attempt}" * (record.attempt > 1)


def _of_a_child(record: ChildBegan | ChildRevoked | ChildEnded) -> str:
    if isinstance(record, ChildRevoked):
        return f"{record.step}: {record.child} is to undo itself"
    if isinstance(record, ChildBegan):
        return f"{record.step} is {'undone' if record.undoing else 'done'} by {record.child}"
    return f"{record.step}: {record.child} has ended, {record.outcome}{_because(record.reason)}"


def _failed(record: AttemptFailed | UndoFailed, at_us: int) -> str:
    what = f"undoing {record.step}" if isinstance(record, UndoFailed) else record.step
    failed = "" if record.why is Unanswered.SILENT else " failed"
    tried = f"attempt {record.attempt} of {what}{failed}: {record.reason or 'no reason'}"
    return tried + _next(record.retry_at_us, at_us)


def _next(retry_at_us: int | None, at_us: int) -> str:
    if retry_at_us is None:
        return "; no attempt is left"
    return f"; tried again {span(retry_at_us - at_us)} later"


def _decided(record: Decided) -> str:
    told = f"; {names(record.awaited)} must hear of it" if record.awaited else ""
    return f"decided to {record.decision}{_because(record.reason)}{told}"


def _of_a_branch(record: Withdrawn | Hazard) -> str:
    if isinstance(record, Withdrawn):
        return f"{record.reason}: the lone branch is asked how it ended"
    how = "and nothing tells how" if record.end is End.HAZARD else f"it is {record.end}"
    return f"{record.branch} was ended by somebody else, {how}{_because(record.reason)}"


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


# ── what it waits for ────────────────────────────────────────────────────────


def why(state: State, now_us: int) -> str:
    """Tell what a transaction waits for, and until when; empty if for nothing."""
    if isinstance(state, SagaState):
        return _why_saga(state, now_us)
    return _why_atomic(state, now_us)


def _why_saga(saga: SagaState, now_us: int) -> str:
    match saga.phase:
        case SagaPhase.LOCKING:
            if saga.clock_us > now_us:
                return f"for {until(saga.clock_us, now_us)}, when it has rested"
            waited = span(now_us - saga.lock_since_us)
            lock = saga.locks[saga.passed]
            return f"for the lock {lock}, since {waited}; {_deadline(saga, now_us)}"
        case SagaPhase.RUNNING:
            asking = [_asking(saga, s, at, now_us) for s, at in saga.in_phase(StepPhase.RUNNING)]
            return "; ".join([*asking, _deadline(saga, now_us)])
        case SagaPhase.COMPENSATING:
            undoing = [_asking(saga, s, at, now_us) for s, at in saga.in_phase(StepPhase.UNDOING)]
            return f"{'; '.join(undoing)}; going back has no deadline"
        case SagaPhase.CLOSED if saga.held:
            return f"for {saga.begun.parent} to end, of which it is a part: it may have to go back"
        case SagaPhase.CLOSED:
            locks = f", and its locks to be free: {names(saga.locks)}" if saga.locks else ""
            return f"for Kafka to acknowledge the outcome, {saga.outcome}{locks}"
        case SagaPhase.PARKED:
            return PARKED
        case SagaPhase.ENDED:
            return ""


def _asking(saga: SagaState, step: Step, state: StepState, now_us: int) -> str:
    """Tell what is wanted of one participant."""
    if state.waits is not None and state.phase is StepPhase.RUNNING:
        return _waiting(step, state, state.waits, now_us)
    asked = asked_of(step, state)
    if state.child is not None and state.child.outcome is None:
        what = "undoes" if state.phase is StepPhase.UNDOING else "does"
        return f"for {state.child.gid} to end, which {what} {step.name}"
    undoing = "to undo " if state.phase is StepPhase.UNDOING else ""
    attempt = f"attempt {state.attempt} of {asked.retry.attempts}"
    if asked.retry.budget_us is not None:
        first_us = max(state.first_us, saga.clock_us)
        attempt += f", none after {clock(first_us + asked.retry.budget_us)}"
    last = (
        f"; last time: {state.reason}" if state.reason and saga.phase is SagaPhase.RUNNING else ""
    )
    if state.since_us > now_us:
        when = until(state.since_us, now_us)
        return f"for {when}, when {work_of(asked)} is asked {undoing}again ({attempt}){last}"
    limit = until(state.since_us + asked.timeout_us, now_us)
    past = state.since_us + asked.timeout_us < now_us
    doubt = ", or later if the coordinator was restarted since" if past else ""
    work = work_of(asked)
    whom = work.participant if isinstance(work, Call) else "nobody"
    return f"for {whom} to answer {work} ({attempt}) until {limit}{doubt}{last}"


def _waiting(step: Step, state: StepState, waits: WaitBegan, now_us: int) -> str:
    """Tell for what a step waits, and what ends that if it does not come."""
    what = f"{step.work} with {waits.key}" if waits.topic else str(step.work)
    over_us = over_at_us(step, state, None)
    limit = "" if over_us is None else f" until {until(over_us, now_us)}"
    return f"for {what} ({step.name}){limit}"


def asked_of(step: Step, state: StepState) -> Step | Undo:
    """Return what is being asked for: the step, or its undo."""
    undoing = state.phase in (StepPhase.UNDOING, StepPhase.STUCK)
    return step.undo if undoing and step.undo is not None else step


def work_of(asked: Step | Undo) -> Work:
    """Return what is done then."""
    return asked.work


def _deadline(saga: SagaState, now_us: int) -> str:
    when = until(saga.deadline_us, now_us)
    if saga.past_pivot:
        return f"what is not done by {when} is parked for a person"
    if saga.pivot_is_asked:
        return f"the deadline, {when}, does not interrupt the pivot"
    return f"what is not done by {when} is undone"


def _why_atomic(txn: TwoPhase, now_us: int) -> str:
    wanted = names(txn.waiting_for)
    limit = until(txn.deadline_us, now_us)
    match txn.phase:
        case Phase.PREPARING:
            return f"for the votes of {wanted} until {limit}; a missing vote is a no"
        case Phase.DELEGATED:
            return f"for {wanted} to commit by itself until {limit}; then it is asked how it ended"
        case Phase.WITHDRAWING:
            return (
                f"for {wanted} to say how it ended ({txn.reason}); {AGAIN} answered, without limit"
            )
        case Phase.COMMITTING | Phase.ABORTING:
            return _why_deciding(txn, wanted)
        case Phase.PARKED:
            return PARKED
        case Phase.ENDED:
            return ""


def _why_deciding(txn: TwoPhase, wanted: str) -> str:
    assert txn.decided is not None
    if not wanted:
        return f"for Kafka to acknowledge the outcome, {txn.outcome}"
    what = "commit" if txn.decided.decision is Decision.COMMIT else "rollback"
    return f"for {wanted} to acknowledge the {what}; {AGAIN} answered, without limit"
