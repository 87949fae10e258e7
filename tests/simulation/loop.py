"""An event loop in which waiting costs nothing.

It is asyncio's own, with time that jumps to the next timer whenever nothing
is ready. There are no sockets and no threads, so one run is always the same.
"""

from __future__ import annotations

import asyncio


class Deadlock(Exception):
    """Everything waits, and nothing will ever happen."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Asyncio's loop on a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self  # asked by BaseEventLoop how long to wait
        self._clock_resolution = 1e-9
        self.set_exception_handler(_unheard)

    def time(self) -> float:
        """Seconds since the run began."""
        return self._now

    def select(self, timeout: float | None) -> tuple[()]:
        """Wait for the next timer, which takes no time."""
        if timeout is None:
            raise Deadlock
        self._now += timeout
        return ()

    def _process_events(self, _event_list: object) -> None:
        return

    def _write_to_self(self) -> None:
        return


def _unheard(_loop: asyncio.AbstractEventLoop, _context: object) -> None:
    """Let what a dead process would have heard go unheard."""
