"""The keeper of all locks in a rehearsal: they are free, or somebody else has them for good."""

from __future__ import annotations

from typing import Final

from wire.messages import (
    LockAnswer,
    LockAsk,
    LockDenied,
    LockGranted,
    LockMessage,
    LockRelease,
    LockReleased,
)

SOMEBODY: Final = "somebody else"


def answer(message: LockMessage, *, held: bool) -> LockAnswer | None:
    """Answer what a saga says to a lock; None while it waits."""
    match message:
        case LockAsk() if not held:
            return LockGranted(gid=message.gid, lock=message.lock)
        case LockAsk(waits=False):
            return LockDenied(gid=message.gid, lock=message.lock, holder=SOMEBODY)
        case LockRelease():
            return LockReleased(gid=message.gid, lock=message.lock)
        case _:
            return None
