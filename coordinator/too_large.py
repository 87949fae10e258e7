"""What becomes of a command that no topic would take."""

from __future__ import annotations

from coordinator.core.events import Event, StepUnsent, UndoUnsent
from wire.envelope import MAX_BODY_BYTES
from wire.messages import AnyMessage, Compensate, Execute, Prepare, Vote, Voted


def too_large(message: AnyMessage, size: int) -> Event | None:
    """Tell that a command has not left. To a branch it is a no: of that nothing can be done."""
    reason = f"its command would have {size} bytes, over {MAX_BODY_BYTES}"
    match message:
        case Prepare():
            return Voted(gid=message.gid, branch=message.branch, vote=Vote.ABORT, reason=reason)
        case Execute():
            return StepUnsent(message.step, message.attempt, reason)
        case Compensate():
            return UndoUnsent(message.step, message.attempt, reason)
        case _:
            return None
