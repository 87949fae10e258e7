"""A command that no topic would take, since it is too large.

Each attempt has a number, and a longer number makes a larger command. So an
earlier attempt may have left, and been done: only of the first is it certain
that nobody was asked. It is not tried again, for it would not become smaller;
but a newer version of the definition may ask with less.

Nothing here awaits, reads a clock, or logs.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from coordinator.core import compensation, saga
from coordinator.core.events import StepUnsent, UndoUnsent
from coordinator.core.records import AttemptFailed, Unanswered, UndoFailed
from coordinator.core.saga_state import SagaState
from coordinator.core.transition import Transition
from sagas.model import OnRefused

Move: TypeAlias = Transition[SagaState]

_MAY_BE: Final = "an earlier attempt may have been done"


def step(state: SagaState, event: StepUnsent, now_us: int) -> Move:
    """The first attempt is a no that nobody has said; after a later one, nobody knows."""
    if (old := saga.stale(state, event.step, event.attempt)) is not None:
        return old
    one, move = state.definition.steps[event.step], Transition(state)
    if event.attempt > 1:
        failed = AttemptFailed(
            step=one.name, attempt=event.attempt, why=Unanswered.SILENT, reason=event.reason
        )
        return saga.give_up(move, failed, _MAY_BE, now_us)
    if one.on_refused is OnRefused.CONTINUE:
        return saga.say_no(move, one, event.attempt, event.reason, now_us)
    return saga.refuse(move, one.name, event.attempt, event.reason, now_us, asked=False)


def undo(state: SagaState, event: UndoUnsent, now_us: int) -> Move:
    """What stands, or may stand, is a person's business."""
    if (old := compensation.stale(state, event.step, event.attempt)) is not None:
        return old
    why = Unanswered.SILENT if event.attempt > 1 else Unanswered.FAILED
    record = UndoFailed(step=event.step, attempt=event.attempt, why=why, reason=event.reason)
    return compensation.stick(Transition(state), record, now_us)
