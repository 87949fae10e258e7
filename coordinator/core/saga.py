"""Sagas going forward, and the table of both directions.

A step runs once everything it needs is done. What a participant answers
becomes a fact; what is sent follows from the facts. Before the pivot a saga
that cannot go on goes back; after it, it goes forward or waits for a person.

After Garcia-Molina, Salem: Sagas (1987). Nothing here awaits, reads a clock,
or logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

from msgspec.structs import replace

from coordinator.core import children, compensation, locking, waiting
from coordinator.core.events import (
    DeadlinePassed,
    Event,
    Published,
    StepSilent,
    UndoSilent,
    WaitOver,
)
from coordinator.core.records import (
    AttemptFailed,
    Closed,
    CompensationBegan,
    Outcome,
    Parked,
    StepDeferred,
    StepDone,
    StepRefused,
    StepSkipped,
    StepSpread,
    Unanswered,
)
from coordinator.core.saga_state import OVER, Phase, SagaState, StepPhase, StepState
from coordinator.core.transition import (
    OPEN,
    Send,
    Status,
    Summary,
    Transition,
    fraction,
)
from sagas.each import MOST
from sagas.hints import length
from sagas.model import (
    Approve,
    Call,
    EvaluationFailed,
    Gate,
    Group,
    OnDeadline,
    OnRefused,
    OnUnknown,
    Scope,
    Step,
    SubSaga,
    Wait,
)
from wire.messages import Execute, Executed, Json
from wire.messages import Outcome as OutcomeMessage

Move: TypeAlias = Transition[SagaState]

RESEND_TOLD_US: Final = 30_000_000
_NO_TIME: Final = "no time is left for another attempt"


# ── answers to a step ────────────────────────────────────────────────────────


def step_done(saga: SagaState, event: Executed, now_us: int) -> Move:
    """Keep the result."""
    if (old := stale(saga, event.step, event.attempt, any_attempt=True)) is not None:
        return old
    done = StepDone(step=event.step, attempt=event.attempt, data=event.data)
    return close_if_done(Transition(saga).remember(done, now_us), now_us)


def close_if_done(move: Move, now_us: int) -> Move:
    """Close once all steps are done, or were not wanted."""
    if any(state.phase not in OVER for state in move.state.steps.values()):
        return move
    output, complaint = _output(move.state)
    closed = Closed(outcome=Outcome.COMMITTED, output=output, reason=complaint)
    return move.remember(closed, now_us)


def step_refused(saga: SagaState, event: Executed, now_us: int) -> Move:
    """A business no: the step has no effect. It is gone without, or those before it are undone."""
    if (old := stale(saga, event.step, event.attempt, any_attempt=True)) is not None:
        return old
    step = saga.definition.steps[event.step]
    return say_no(Transition(saga), step, event.attempt, event.reason, now_us)


def say_no(move: Move, step: Step, attempt: int, reason: str, now_us: int) -> Move:
    """Go on without a step where the definition says so, or turn."""
    if step.on_refused is OnRefused.CONTINUE:
        refused = StepRefused(step=step.name, attempt=attempt, reason=reason)
        return skip(move.remember(refused, now_us), step.name, now_us, refused=True)
    return refuse(move, step.name, attempt, reason, now_us)


def step_busy(saga: SagaState, event: Executed, now_us: int) -> Move:
    """Not now. The attempt does not count, but the deadline stands."""
    if (old := stale(saga, event.step, event.attempt)) is not None:
        return old
    step, state = saga.definition.steps[event.step], saga.steps[event.step]
    if state.since_us > now_us:
        return Transition(saga, dropped=f"step {step.name} is to be asked again already")
    if step.pivot and saga.deadline_us <= now_us:
        late = f"{step.name} is the pivot, and busy past the saga's deadline"
        return Transition(saga).remember(Parked(reason=late), now_us)
    chance = fraction(saga.gid, event.step, state.deferrals)
    pause = step.retry.pause_us(state.deferrals + 1, (1 + chance) / 2)
    reason = event.reason or "busy"
    if not saga.may_try_again(step.name, step.retry, now_us + pause):
        failed = AttemptFailed(
            step=step.name, attempt=event.attempt, why=Unanswered.FAILED, reason=reason
        )
        return give_up(Transition(saga), failed, _NO_TIME, now_us)
    record = StepDeferred(
        step=event.step, attempt=event.attempt, reason=reason, retry_at_us=now_us + pause
    )
    return Transition(saga).remember(record, now_us)


def step_failed(saga: SagaState, event: Executed, now_us: int) -> Move:
    """A technical fault: try again, or go back."""
    return _attempt_failed(saga, event, Unanswered.FAILED, event.reason or "failed", now_us)


def step_silent(saga: SagaState, event: StepSilent, now_us: int) -> Move:
    """No answer: unknown. Attempts share one effect, so trying again is safe."""
    timeout_s = saga.definition.steps[event.step].timeout_us / 1e6
    reason = f"no answer within {timeout_s:g} s"
    return _attempt_failed(saga, event, Unanswered.SILENT, reason, now_us)


def deadline_passed(saga: SagaState, _event: DeadlinePassed, now_us: int) -> Move:
    """Too late to go on: back before the pivot, to a person after it."""
    reason = f"not done within its deadline of {length(saga.definition.deadline_us)}"
    if saga.phase is Phase.LOCKING:
        # Parked, it would keep its place in the queue, with nothing done to look at.
        waited = f"{reason}: it waited for the lock {saga.locks[saga.passed]}"
        return turn_back_or_park(Transition(saga), waited, now_us)
    if saga.definition.on_deadline is OnDeadline.PARK and not saga.past_pivot:
        return Transition(saga).remember(Parked(reason=reason), now_us)
    return turn_back_or_park(Transition(saga), reason, now_us)


def _attempt_failed(
    saga: SagaState, event: Executed | StepSilent, why: Unanswered, reason: str, now_us: int
) -> Move:
    if (old := stale(saga, event.step, event.attempt)) is not None:
        return old
    step = saga.definition.steps[event.step]
    failed = AttemptFailed(step=step.name, attempt=event.attempt, why=why, reason=reason)
    tried = event.attempt - saga.steps[step.name].spent
    unknown = step.on_unknown if why is Unanswered.SILENT else OnUnknown.RETRY
    over = _NO_TIME
    if unknown is not OnUnknown.RETRY:
        over = "it is not to be asked again"
    elif tried >= step.retry.attempts:
        over = f"no attempt is left of {step.retry.attempts}"
    else:
        pause = step.retry.pause_us(tried, fraction(saga.gid, step.name, event.attempt))
        if saga.may_try_again(step.name, step.retry, now_us + pause):
            retried = replace(failed, retry_at_us=now_us + pause)
            return Transition(saga).remember(retried, now_us)
    return give_up(Transition(saga), failed, over, now_us)


def give_up(move: Move, failed: AttemptFailed, over: str, now_us: int) -> Move:
    """Stop asking, and go where that leads."""
    step = move.state.definition.steps[failed.step]
    move = move.remember(failed, now_us)
    told = f"{step.name}: {failed.reason}, and {over}"
    if failed.why is Unanswered.SILENT and step.on_unknown is OnUnknown.PARK:
        return move.remember(Parked(reason=told), now_us)
    if step.pivot:
        # It has no undo, and nobody knows whether it was done: never guess.
        return move.remember(Parked(reason=f"{told}; it is the pivot"), now_us)
    return turn_back_or_park(move, told, now_us)


def refuse(
    move: Move, step: str, attempt: int, reason: str, now_us: int, *, asked: bool = True
) -> Move:
    """Record a business no, or that it cannot be asked for, and turn."""
    refused = StepRefused(step=step, attempt=attempt, reason=reason, asked=asked)
    move = move.remember(refused, now_us)
    return turn_back_or_park(move, f"{step}: {reason or 'refused'}", now_us)


def turn_back_or_park(move: Move, reason: str, now_us: int) -> Move:
    """Go back, or leave it to a person past the pivot."""
    if move.state.past_pivot:
        parked = Parked(reason=f"{reason}; past the pivot there is no way back")
        return move.remember(parked, now_us)
    move = move.remember(CompensationBegan(reason=reason), now_us)
    return compensation.close_if_undone(move, now_us)


def stale(saga: SagaState, step: str, attempt: int, *, any_attempt: bool = False) -> Move | None:
    """Refuse an answer to what is not being asked.

    An attempt's answer is final if it is final for all of them, since they
    share one effect; otherwise only the present attempt counts.
    """
    state = saga.steps.get(step)
    if state is None:
        return Transition(saga, dropped=f"no step {step!r} in {saga.definition.name}")
    if state.phase is not StepPhase.RUNNING:
        return Transition(saga, dropped=f"step {step} is {state.phase} already")
    if attempt > state.attempt or (attempt < state.attempt and not any_attempt):
        return Transition(saga, dropped=f"step {step} is at attempt {state.attempt}")
    return None


# ── the end ──────────────────────────────────────────────────────────────────


def outcome_told(saga: SagaState, _event: Published, now_us: int) -> Move:
    """The outcome is on its topic: nothing is left to do but to give back locks."""
    return locking.end_if_over(Transition(replace(saga, told=True)), now_us)


def parking_told(saga: SagaState, _event: Published, _now_us: int) -> Move:
    """Everyone knows that it waits for a person."""
    return Transition(replace(saga, told=True))


# ── what must be sent, and when to look again ────────────────────────────────


def begin(saga: SagaState, now_us: int) -> Move:
    """Ask for what needs nothing. What cannot be asked for is refused when it is its turn."""
    locks = saga.phase is Phase.LOCKING
    move = locking.begin(saga, scope(saga), now_us) if locks else Transition(saga)
    return dispatch(move, now_us)


def dispatch(move: Move, now_us: int) -> Move:
    """Add the messages that the state calls for and that are due."""
    while (back := next(children.returned(move.state), None)) is not None:
        move = _conclude(move, *back, now_us)
    while not move.is_full and (ready := tuple(_unasked(move.state, now_us))):
        values, known = scope(move.state), len(move.records)
        for step, state in ready:
            move = _asker(step, state)(move, step, state, values, now_us)
            if len(move.records) > known or move.is_full:
                break  # a new fact: others may be ready now, or none of these any more
    saga = move.state
    if saga.outcome is not None and _telling(saga) and saga.tell_at_us <= now_us:
        move = replace(
            move,
            state=replace(saga, tell_at_us=now_us + RESEND_TOLD_US),
            sends=(*move.sends, _outcome(saga, saga.outcome)),
        )
    move = locking.dispatch(move, now_us) if saga.definition.lock is not None else move
    return locking.end_if_over(move, now_us) if saga.begun.parent else move


def _asker(step: Step, state: StepState) -> Callable[..., Move]:
    if state.phase is not StepPhase.UNDOING:
        return _ask
    return children.take_back if children.waited_for(step, state) else compensation.ask


def _conclude(move: Move, step: Step, state: StepState, now_us: int) -> Move:
    """Take up what a child has brought."""
    child = state.child
    assert child is not None, f"{step.name} has no child"
    if state.phase is StepPhase.UNDOING:
        return children.taken_back(move, step, state, now_us)
    if child.outcome is Outcome.COMMITTED:
        done = StepDone(step=step.name, attempt=state.attempt, data=child.data)
        return close_if_done(move.remember(done, now_us), now_us)
    return say_no(move, step, state.attempt, child.reason, now_us)


def _telling(saga: SagaState) -> bool:
    """Whether somebody may not yet know the outcome."""
    if saga.begun.parent and saga.phase is not Phase.PARKED:
        return False
    return saga.outcome is not None and saga.phase is not Phase.ENDED and not saga.told


def _unasked(saga: SagaState, now_us: int) -> Iterator[tuple[Step, StepState]]:
    for step, state in _asking(saga):
        if state.since_us <= now_us and not _is_asked(saga, step, state):
            yield step, state


def _asking(saga: SagaState) -> Iterator[tuple[Step, StepState]]:
    """Yield the steps of which an answer is wanted."""
    if saga.phase is Phase.RUNNING:
        yield from saga.in_phase(StepPhase.RUNNING)
    elif saga.phase is Phase.COMPENSATING:
        yield from saga.in_phase(StepPhase.UNDOING)


def _is_asked(saga: SagaState, step: Step, state: StepState) -> bool:
    asked = saga.asked.get(step.name)
    return asked is not None and asked.attempt == (state.phase, state.attempt, state.since_us)


def _ask(move: Move, step: Step, state: StepState, values: Scope, now_us: int) -> Move:
    try:
        if not wanted(move.state, step, values):
            return skip(move, step.name, now_us)
        if isinstance(step.work, Wait | Approve):
            return waiting.begin(move, step, state, values, now_us)
        if step.each is not None:
            return spread_out(move, step.name, step.each.elements(values), now_us)
        data = step.data(values)
        key = move.state.gid if step.key is None else str(step.key(values))
    except EvaluationFailed as error:
        never = state.attempt == 1  # what it names does not change
        return refuse(move, step.name, state.attempt, str(error), now_us, asked=not never)
    match step.work:
        case Gate():
            done = StepDone(step=step.name, attempt=state.attempt)
            return close_if_done(move.remember(done, now_us), now_us)
        case Group() | SubSaga():
            return children.ask(move, step, state, data, now_us)
        case Call(participant, command):
            execute = Execute(
                gid=move.state.gid,
                step=step.name,
                attempt=state.attempt,
                command=command,
                data=data,
                result=move.state.steps[step.confirms].data if step.confirms else None,
            )
            send = Send(participant, execute, key, now_us + step.timeout_us)
            return compensation.asked(move, step, state, send, now_us)


def spread_out(move: Move, step: str, elements: Json, now_us: int) -> Move:
    """Let a step be many, one for each element.

    Raises:
        EvaluationFailed: these are no elements, or too many.

    """
    if not isinstance(elements, list):
        raise EvaluationFailed("each: its value is no list")
    count = len(cast("list[Json]", elements))
    if count > MOST:
        raise EvaluationFailed(f"each: the list has {count} elements, over {MOST}")
    return move.remember(StepSpread(step=step, count=count), now_us)


def wanted(saga: SagaState, step: Step, values: Mapping[str, Any]) -> bool:
    """Tell whether a step's condition holds. What it can name does not change any more.

    Of a try that was gone without, there is nothing to confirm.

    Raises:
        EvaluationFailed: it has no value.

    """
    if step.confirms is not None and saga.steps[step.confirms].phase is StepPhase.SKIPPED:
        return False
    return step.condition is None or bool(step.condition(values))


def skip(move: Move, step: str, now_us: int, *, refused: bool = False) -> Move:
    """Go past a step that is not wanted, or that is gone without since it was refused."""
    return close_if_done(move.remember(StepSkipped(step=step, refused=refused), now_us), now_us)


def wake_at_us(saga: SagaState) -> int | None:
    """Tell when time alone will next change something."""
    asking = [
        next_at_us(saga, step, state)
        for step, state in _asking(saga)
        if not (_is_asked(saga, step, state) and children.waited_for(step, state))
    ]
    times = [at_us for at_us in asking if at_us is not None]
    if _deadline_counts(saga):
        times.append(saga.deadline_us)
    if _telling(saga):
        times.append(saga.tell_at_us)
    if (at_us := locking.talks_at_us(saga)) is not None:
        times.append(at_us)
    return min(times, default=None)


def expects_answers(saga: SagaState) -> bool:
    """Tell whether somebody was asked, or told, and has not answered yet."""
    return (
        _telling(saga)
        or locking.expects_answers(saga)
        or children.open_children(saga)
        or any(
            _is_asked(saga, step, state) and not saga.asked[step.name].looked
            for step, state in _asking(saga)
        )
    )


def next_at_us(saga: SagaState, step: Step, state: StepState) -> int | None:
    """Tell when a step is to be asked, or its answer is no longer waited for, if ever.

    An answer has its whole timeout from when this owner asked: after an hour
    without any coordinator, nobody is to blame for an hour of silence.
    """
    if _is_waiting(state):
        return waiting.over_us(step, state, saga.asked.get(step.name))
    if not _is_asked(saga, step, state):
        return state.since_us
    undoing = state.phase is StepPhase.UNDOING and step.undo is not None
    timeout_us = step.undo.timeout_us if undoing and step.undo else step.timeout_us
    return saga.asked[step.name].sent_us + timeout_us


def due(saga: SagaState, now_us: int) -> Iterator[Event]:
    """Tell what time has brought."""
    if _deadline_counts(saga) and saga.deadline_us <= now_us:
        yield DeadlinePassed()
    for step, state in _asking(saga):
        if children.waited_for(step, state):
            continue
        at_us = next_at_us(saga, step, state)
        if not _is_asked(saga, step, state) or at_us is None or at_us > now_us:
            continue
        if not _is_waiting(state):
            silent = UndoSilent if state.phase is StepPhase.UNDOING else StepSilent
            yield silent(step.name, state.attempt)
        elif saga.asked[step.name].looked:
            yield WaitOver(step.name)


def _is_waiting(state: StepState) -> bool:
    return state.waits is not None and state.phase is StepPhase.RUNNING


def _deadline_counts(saga: SagaState) -> bool:
    """The deadline does not interrupt a pivot, whose outcome decides the direction."""
    if saga.phase is Phase.LOCKING:
        return True
    return saga.phase is Phase.RUNNING and not saga.pivot_is_asked


def summary(saga: SagaState) -> Summary:
    """Tell what the transaction's row shows."""
    match saga.phase:
        case Phase.ENDED:
            return Summary(Status.ENDED, saga.outcome, active=False)
        case Phase.PARKED:
            waits = not saga.told or children.open_children(saga) or bool(saga.begun.parent)
            return Summary(Status.PARKED, saga.outcome, active=waits)
        case _:
            return OPEN


def scope(saga: SagaState) -> Mapping[str, Any]:
    """What this saga's expressions may name."""
    return {
        "input": saga.begun.input,
        "steps": {name: state.data for name, state in saga.steps.items()},
        "txn": {
            "gid": saga.gid,
            "key": saga.begun.key,
            "definition": saga.begun.name,
            "version": saga.begun.version,
        },
    }


def _outcome(saga: SagaState, outcome: Outcome) -> Send:
    message = OutcomeMessage(
        gid=saga.gid,
        definition=saga.begun.name,
        version=saga.begun.version,
        key=saga.begun.key,
        outcome=outcome,
        output=saga.output,
        reason=saga.reason,
    )
    return Send(None, message, saga.begun.key)


def _output(saga: SagaState) -> tuple[Json, str]:
    """Evaluate the output; the steps are done whether or not it has a value."""
    if saga.definition.output is None:
        return None, ""
    try:
        return saga.definition.output(scope(saga)), ""
    except EvaluationFailed as error:
        return None, f"output: {error}"
