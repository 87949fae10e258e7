"""The keeper of all locks in a rehearsal: they are free, or somebody else has them for a while."""

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
FOR_GOOD_US: Final = 1 << 62


def answer(message: LockMessage, now_us: int, held_us: int) -> tuple[int, LockAnswer | None]:
    """Answer what a saga says to a lock, and say when; somebody else has it until ``held_us``."""
    match message:
        case LockAsk(waits=False) if held_us > now_us:
            return now_us, LockDenied(gid=message.gid, lock=message.lock, holder=SOMEBODY)
        case LockAsk() if held_us < FOR_GOOD_US:
            return max(now_us, held_us), LockGranted(gid=message.gid, lock=message.lock)
        case LockRelease():
            return now_us, LockReleased(gid=message.gid, lock=message.lock)
        case _:
            return now_us, None
