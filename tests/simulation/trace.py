"""What happened in a run: always as a hash, and as text where somebody wants to read it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from wire.envelope import Unreadable, subject, unseal
from wire.messages import Begin, Heartbeat, Mark, Outcome


class Trace:
    """The events of one run."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, telling: bool) -> None:
        self._loop, self._telling = loop, telling
        self._hash = hashlib.blake2b(digest_size=16)
        self.lines: list[str] = []

    @property
    def digest(self) -> str:
        """A name for the whole run: equal runs have equal names."""
        return self._hash.hexdigest()

    def note(self, who: str, what: str) -> None:
        """Add an event."""
        self._hash.update(f"{self._loop.time():.9f}{who}{what}".encode())
        if self._telling:
            self.lines.append(f"{self._loop.time():9.4f}  {who:<16} {what}")

    def message(
        self, place: str, headers: Sequence[tuple[str, bytes]], value: bytes | None
    ) -> None:
        """Add a message that has reached its topic."""
        self._hash.update(value or b"")
        self._hash.update(f"{self._loop.time():.9f}{place}".encode())
        if self._telling:
            self.lines.append(f"{self._loop.time():9.4f}  {place:<16} {_told(headers, value)}")


def short(gid: str) -> str:
    """Name a transaction by its shard and the end of its name."""
    parts = gid.split(".")
    return f"{parts[3]}.{parts[4][-4:]}" if len(parts) > 4 else gid


def _told(headers: Sequence[tuple[str, bytes]], value: bytes | None) -> str:
    try:
        message = unseal(headers, value).message
    except Unreadable as error:
        return str(error)
    kind = type(message).__name__
    if isinstance(message, Begin):
        return f"{kind} {message.definition} {message.key} {message.input}"
    about = [
        str(getattr(message, name))
        for name in ("branch", "step", "attempt", "vote", "end", "result", "undone")
        if hasattr(message, name)
    ]
    if isinstance(message, Heartbeat | Mark):
        return f"{kind} {subject(message)}"
    if isinstance(message, Outcome):
        about = [message.key, message.outcome, message.reason]
    return " ".join([kind, short(message.gid), *about])


def leaf(error: BaseException) -> BaseException:
    """Return the exception that a group of them is about."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return error  # pyright: ignore[reportUnknownVariableType]
