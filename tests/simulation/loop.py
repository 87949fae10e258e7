"""An event loop in which waiting costs nothing.

It is asyncio's own as seen from outside, with time that jumps to the next
timer whenever nothing is ready. There are no sockets and no threads, so one
run is always the same, and what asyncio does for those is left out: a third
of a run was spent on it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any

RESOLUTION_S = 1e-9
"""What is due within this is due now."""


class Deadlock(Exception):
    """Everything waits, and nothing will ever happen."""


class Call(asyncio.TimerHandle):
    """Something to be called, unless it is cancelled before."""

    __slots__ = ("args", "call", "context", "gone")

    def __init__(  # pyright: ignore[reportMissingSuperCall]  # whose work is what costs
        self, call: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self.call, self.args, self.gone = call, args, False
        self.context = copy_context() if context is None else context

    def cancel(self) -> None:
        """Do not call it any more."""
        self.gone = True

    def cancelled(self) -> bool:
        """Tell whether it will not be called."""
        return self.gone


class VirtualLoop(asyncio.BaseEventLoop):
    """Asyncio's loop on a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._ready: deque[Call] = deque()
        self._timers: list[tuple[float, int, Call]] = []
        self._count = 0
        self.tasks: list[asyncio.Task[Any]] = []
        """All that there were."""
        self.set_exception_handler(_unheard)

    def time(self) -> float:
        """Seconds since the run began."""
        return self._now

    def call_soon(  # what is called says what it takes
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call it after whatever is ready."""
        call = Call(callback, args, context)
        self._ready.append(call)
        return call

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call it then, and what is due at once in the order in which it was asked for."""
        call = Call(callback, args, context)
        self._count += 1
        heappush(self._timers, (when, self._count, call))
        return call

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call it after so many seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_task(
        self,
        coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[Any]:
        """Run a coroutine."""
        del name
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, context=context)
        self.tasks.append(task)
        return task

    def _run_once(self) -> None:
        ready = self._ready
        self._wait()
        for _ in range(len(ready)):
            call = ready.popleft()
            if not call.gone:
                try:
                    call.context.run(call.call, *call.args)
                except Exception as error:  # noqa: BLE001  # whoever calls decides
                    self.call_exception_handler({"message": "call failed", "exception": error})

    def _wait(self) -> None:
        """Make ready what is due; if nothing is, let time pass."""
        timers, ready = self._timers, self._ready
        while timers and timers[0][2].gone:
            heappop(timers)
        if not ready:
            if not timers:
                raise Deadlock
            self._now = max(self._now, timers[0][0])
        due = self._now + RESOLUTION_S
        while timers and timers[0][0] <= due:
            call = heappop(timers)[2]
            if not call.gone:
                ready.append(call)


def _unheard(_loop: asyncio.AbstractEventLoop, _context: object) -> None:
    """Let what a dead process would have heard go unheard."""
