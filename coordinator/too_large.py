"""What becomes of a command that no topic would take."""

from __future__ import annotations

from coordinator.core.events import Event
from wire.envelope import MAX_BODY_BYTES
from wire.messages import (
    AnyMessage,
    Compensate,
    Compensated,
    Execute,
    Executed,
    Prepare,
    Result,
    Vote,
    Voted,
)


def too_large(message: AnyMessage, size: int) -> Event | None:
    """Answer a command that no topic would take, as its participant would.

    An earlier attempt has a shorter number, and may have left, and been done: then this one
    has failed, and nothing is refused.
    """
    reason = f"its command would have {size} bytes, over {MAX_BODY_BYTES}"
    match message:
        case Prepare():
            return Voted(gid=message.gid, branch=message.branch, vote=Vote.ABORT, reason=reason)
        case Execute():
            return Executed(
                gid=message.gid,
                step=message.step,
                attempt=message.attempt,
                result=Result.REFUSED if message.attempt == 1 else Result.FAILED,
                reason=reason,
            )
        case Compensate():
            return Compensated(
                gid=message.gid,
                step=message.step,
                attempt=message.attempt,
                result=Result.REFUSED,
                reason=reason,
            )
        case _:
            return None
