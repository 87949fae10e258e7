"""A saga that is a part of another: it is told to go back, or that what it did stands for good.

Until then it is kept when it is done, with its locks, so that it can undo
itself. Its outcome is told to nobody but the saga that it is a part of; that
it is parked is told to all, since somebody must come.

Nothing here awaits, reads a clock, or logs.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from coordinator.core import compensation
from coordinator.core.events import Dismissed, Revoked
from coordinator.core.records import CompensationBegan, LetGo
from coordinator.core.saga_state import SagaState
from coordinator.core.transition import Transition

Move: TypeAlias = Transition[SagaState]

_REVOKED: Final = "the saga that it is a part of goes back"


def revoked(saga: SagaState, _event: Revoked, now_us: int) -> Move:
    """Go back, also if all is done; but not past the pivot."""
    if saga.past_pivot or saga.pivot_is_asked or saga.let_go:
        return Transition(saga, dropped="it is past its pivot: how it ends will tell")
    move = Transition(saga).remember(CompensationBegan(reason=_REVOKED), now_us)
    return compensation.close_if_undone(move, now_us)


def let_go(saga: SagaState, _event: Dismissed, now_us: int) -> Move:
    """Nobody will take it back any more."""
    if saga.let_go:
        return Transition(saga, dropped="it knows")
    return Transition(saga).remember(LetGo(), now_us)
