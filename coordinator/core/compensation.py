"""Sagas going back: each step that was asked for is undone, the last first.

Undoing is asked for also where nobody knows whether the step was done: the
participant's barrier knows, and from then on refuses the step. An undo that
cannot be done parks the saga, so that a person sees what still stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec.structs import replace

from coordinator.core.events import UndoSilent
from coordinator.core.records import Closed, Outcome, Parked, StepUndone, Unanswered, UndoFailed
from coordinator.core.saga_state import Asked, Phase, SagaState, StepPhase, StepState
from coordinator.core.transition import Send, Transition, fraction
from sagas.model import EvaluationFailed, Step
from wire.messages import Compensate, Compensated

Move: TypeAlias = Transition[SagaState]


def undone(saga: SagaState, event: Compensated, now_us: int) -> Move:
    """One effect is gone; those that it was built on may follow."""
    if (old := stale(saga, event.step, event.attempt, any_attempt=True)) is not None:
        return old
    record = StepUndone(step=event.step, attempt=event.attempt, undone=event.undone)
    return close_if_undone(Transition(saga).remember(record, now_us), now_us)


def failed(saga: SagaState, event: Compensated, now_us: int) -> Move:
    """A technical fault: try again, or park."""
    reason = event.reason or str(event.result)
    return _attempt_failed(saga, event, Unanswered.FAILED, reason, now_us)


def silent(saga: SagaState, event: UndoSilent, now_us: int) -> Move:
    """No answer: ask again, since to undo twice is to undo once."""
    return _attempt_failed(saga, event, Unanswered.SILENT, "no answer in time", now_us)


def refused(saga: SagaState, event: Compensated, now_us: int) -> Move:
    """An undo that is refused leaves an effect: a person must see it at once."""
    if (old := stale(saga, event.step, event.attempt)) is not None:
        return old
    record = UndoFailed(
        step=event.step,
        attempt=event.attempt,
        why=Unanswered.FAILED,
        reason=f"refused: {event.reason}",
    )
    return stick(Transition(saga), record, now_us)


def close_if_undone(move: Move, now_us: int) -> Move:
    """Close once nothing is left to undo. If nothing ever was, nothing happened at all.

    What could not be undone is a person's business: at once, or once the rest is undone.
    """
    saga = move.state
    if saga.phase is not Phase.COMPENSATING:
        return move
    phases = {state.phase for state in saga.steps.values()}
    stuck = list(saga.in_phase(StepPhase.STUCK))
    urgent = any(saga.is_in_the_way(step) for step, _ in stuck)
    if phases & {StepPhase.TO_UNDO, StepPhase.UNDOING} and not urgent:
        return move
    if stuck:
        told = (f"{step.name} could not be undone: {state.reason}" for step, state in stuck)
        return move.remember(Parked(reason="; ".join(told)), now_us)
    happened = phases & {StepPhase.UNDONE, StepPhase.STANDING}
    outcome = Outcome.COMPENSATED if happened else Outcome.ABORTED
    return move.remember(Closed(outcome=outcome), now_us)


def ask(move: Move, step: Step, state: StepState, values: Mapping[str, Any], now_us: int) -> Move:
    """Send one compensation."""
    undo = step.undo
    assert undo is not None, f"{step.name} has no undo and is not to be undone"
    assert undo.call is not None, f"{step.name} is undone by nobody"
    try:
        data = (undo.data or step.data)(values)
        key = move.state.gid if step.key is None else str(step.key(values))
    except EvaluationFailed as error:
        return cannot_be_asked(move, step, state, str(error), now_us)
    compensate = Compensate(
        gid=move.state.gid,
        step=step.name,
        attempt=state.attempt,
        command=undo.call.command,
        data=data,
        result=state.data,
    )
    send = Send(undo.call.participant, compensate, key, now_us + undo.timeout_us)
    return asked(move, step, state, send, now_us)


def asked(move: Move, step: Step, state: StepState, send: Send, now_us: int) -> Move:
    """Note that a step's attempt is on its way."""
    sent = Asked((state.phase, state.attempt, state.since_us), now_us)
    note = {**move.state.asked, step.name: sent}
    return replace(move, state=replace(move.state, asked=note), sends=(*move.sends, send))


def cannot_be_asked(move: Move, step: Step, state: StepState, why: str, now_us: int) -> Move:
    """What an undo needs has no value, and never will: what stands is a person's business."""
    record = UndoFailed(step=step.name, attempt=state.attempt, why=Unanswered.FAILED, reason=why)
    return stick(move, record, now_us)


def _attempt_failed(
    saga: SagaState, event: Compensated | UndoSilent, why: Unanswered, reason: str, now_us: int
) -> Move:
    if (old := stale(saga, event.step, event.attempt)) is not None:
        return old
    undo = saga.definition.steps[event.step].undo
    assert undo is not None, f"{event.step} has no undo and is not being undone"
    record = UndoFailed(step=event.step, attempt=event.attempt, why=why, reason=reason)
    tried = event.attempt - saga.steps[event.step].spent
    chance = fraction(saga.gid, event.step, "undo", event.attempt)
    retry_at_us = now_us + undo.retry.pause_us(tried, chance)
    in_time = saga.may_try_again(event.step, undo.retry, retry_at_us)
    if tried >= undo.retry.attempts or not in_time:
        return stick(Transition(saga), record, now_us)
    return Transition(saga).remember(replace(record, retry_at_us=retry_at_us), now_us)


def stick(move: Move, record: UndoFailed, now_us: int) -> Move:
    """No attempt is left: what still stands is a person's business, now or later."""
    return close_if_undone(move.remember(record, now_us), now_us)


def stale(saga: SagaState, step: str, attempt: int, *, any_attempt: bool = False) -> Move | None:
    """Refuse an answer to a compensation that is not being asked for."""
    state = saga.steps.get(step)
    if state is None:
        return Transition(saga, dropped=f"no step {step!r} in {saga.definition.name}")
    if state.phase is not StepPhase.UNDOING:
        return Transition(saga, dropped=f"step {step} is {state.phase}")
    if attempt > state.attempt or (attempt < state.attempt and not any_attempt):
        return Transition(saga, dropped=f"the undo of {step} is at attempt {state.attempt}")
    return None
