"""What comes for a step that waits: an event, a person's word, or nothing in time.

Nothing here awaits, reads a clock, or logs.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from coordinator.core.events import Letter, Looked, WaitOver
from coordinator.core.orders import obeyed
from coordinator.core.records import AttemptFailed, StepDone, Unanswered, said
from coordinator.core.saga import Move, close_if_done, refuse, scope, turn_back_or_park
from coordinator.core.saga_state import SagaState, StepPhase, StepState
from coordinator.core.transition import Transition
from sagas.hints import length
from sagas.model import Approve, EvaluationFailed, OnTimeout, Step, Wait
from wire.messages import Json, Order

EARLY_US: Final = 300_000_000
"""An event counts if it came after its saga began, or so long before: what starts a saga and
what it waits for may be told by different clocks, and on different topics."""


def looked(saga: SagaState, event: Looked, now_us: int) -> Move:
    """Take the first letter that fits; if none does, wait on."""
    state = _waiting(saga, event.step)
    if state is None:
        return Transition(saga, dropped=f"{event.step} does not wait")
    step = saga.definition.steps[event.step]
    for letter in event.letters:
        if _fits(saga, step, letter):
            return _done(Transition(saga), step, state, letter.event, now_us)
    asked = saga.asked.get(step.name)
    if asked is None or event.told:  # who was told may have been told of an earlier wait
        return Transition(saga, dropped="no letter fits")
    note = {**saga.asked, step.name: asked._replace(looked=True)}
    return Transition(replace(saga, asked=note))


def over(saga: SagaState, event: WaitOver, now_us: int) -> Move:
    """Nothing came in time: go on without, back, or to a person."""
    state = _waiting(saga, event.step)
    if state is None:
        return Transition(saga, dropped=f"{event.step} does not wait")
    step, work = saga.definition.steps[event.step], saga.definition.steps[event.step].work
    assert isinstance(work, Wait | Approve), f"{step.name} does not wait"
    if work.on_timeout is OnTimeout.CONTINUE:
        return _done(Transition(saga), step, state, None, now_us)
    reason = f"{work} has not come within {length(work.timeout_us or 0)}"
    failed = AttemptFailed(
        step=step.name, attempt=state.attempt, why=Unanswered.SILENT, reason=reason
    )
    move: Move = Transition(saga)
    return turn_back_or_park(move.remember(failed, now_us), f"{step.name}: {reason}", now_us)


def signal(saga: SagaState, order: Order, now_us: int) -> Move:
    """Take a person's word for the event."""
    state = _waiting(saga, order.step)
    step = saga.definition.steps.get(order.step)
    if state is None or step is None or not isinstance(step.work, Wait):
        return obeyed(saga, order, now_us, _not_that(saga, order.step, Wait))
    return _done(obeyed(saga, order, now_us), step, state, order.data, now_us)


def approve(saga: SagaState, order: Order, now_us: int) -> Move:
    """A person says yes."""
    step, state, refused = _asked_for(saga, order)
    if step is None or state is None:
        return obeyed(saga, order, now_us, refused)
    word = {
        "actor": order.actor,
        "role": order.role,
        "reason": order.reason,
        "data": order.data,
    }
    return _done(obeyed(saga, order, now_us), step, state, word, now_us)


def say_no(saga: SagaState, order: Order, now_us: int) -> Move:
    """A person says no: as if a participant had refused the step."""
    step, state, refused = _asked_for(saga, order)
    if step is None or state is None:
        return obeyed(saga, order, now_us, refused)
    why = said(order.actor, order.reason)
    return refuse(obeyed(saga, order, now_us), step.name, state.attempt, why, now_us)


def _asked_for(saga: SagaState, order: Order) -> tuple[Step | None, StepState | None, str]:
    """Find the step that a person may decide about, or say why there is none."""
    state, step = _waiting(saga, order.step), saga.definition.steps.get(order.step)
    if state is None or step is None or not isinstance(step.work, Approve):
        return None, None, _not_that(saga, order.step, Approve)
    roles = step.work.roles
    if roles and order.role not in roles:
        who = f"the role {order.role}" if order.role else "nobody's role"
        return None, None, f"{who} may not: it takes {' or '.join(roles)}"
    return step, state, ""


def _not_that(saga: SagaState, step: str, kind: type[Wait | Approve]) -> str:
    what = "for an event" if kind is Wait else "for approval"
    able = [
        one.name
        for one, state in saga.in_phase(StepPhase.RUNNING)
        if isinstance(one.work, kind) and state.waits is not None
    ]
    return f"{step or 'no step'} does not wait {what}; {', '.join(able) or 'none'} does"


def _waiting(saga: SagaState, step: str) -> StepState | None:
    state = saga.steps.get(step)
    waits = state is not None and state.phase is StepPhase.RUNNING and state.waits is not None
    return state if waits else None


def _fits(saga: SagaState, step: Step, letter: Letter) -> bool:
    """Tell whether it is the event that is meant. One without a value is not."""
    work, waits = step.work, saga.steps[step.name].waits
    assert isinstance(work, Wait), f"{step.name} waits for no event"
    assert waits is not None, f"{step.name} does not wait yet"
    if (letter.topic, letter.key) != (waits.topic, waits.key):
        return False
    if letter.at_us < saga.began_us - EARLY_US:
        return False
    try:
        return bool(work.match({**scope(saga), "event": letter.event}))
    except EvaluationFailed:
        return False


def _done(move: Move, step: Step, state: StepState, data: Json, now_us: int) -> Move:
    done = StepDone(step=step.name, attempt=state.attempt, data=data)
    return close_if_done(move.remember(done, now_us), now_us)
