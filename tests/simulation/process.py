"""A process that can be killed or paused wherever it touches the world outside.

A call travels to a server, is executed there at one moment, and its answer
travels back. Killed on the way, a process learns nothing, and what it has
sent may be executed all the same. Paused, it hears the answer much later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.simulation.faults import Fault, Faults
from tests.simulation.trace import Trace

T = TypeVar("T")


class Process:
    """One life of a process: it is never revived, another takes its place."""

    def __init__(self, name: str, *, faults: Faults, trace: Trace, crash_at_io: Fault) -> None:
        self.name = name
        self.alive = True
        self.drowsy = False
        """Whether it falls asleep once it has decided something, before anybody is told."""
        self.failed: BaseException | None = None
        self.on_death: list[Callable[[], None]] = []
        self.asleep = False
        self._faults, self._trace, self._crash_at_io = faults, trace, crash_at_io
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._resumed: asyncio.Future[None] | None = None

    def run(self, life: Coroutine[Any, Any, None]) -> None:
        """Live, until killed or done."""
        self._trace.note(self.name, "starts")
        self._task = self._loop.create_task(life)

    @property
    def done(self) -> bool:
        """Whether nothing of it runs any more."""
        return self._task is None or self._task.done()

    def kill(self) -> None:
        """Die, as by SIGKILL: nothing that it holds in memory is of any effect from now on."""
        if not self.alive:
            return
        self.alive = False
        self._trace.note(self.name, "dies")
        for callback in self.on_death:
            callback()
        if self._task is not None:
            self._loop.call_soon(self._task.cancel)
        self.resume()

    @property
    def paused(self) -> bool:
        return self._resumed is not None

    def pause(self) -> None:
        """Stop, as by SIGSTOP. Its clock and its leases go on."""
        if self._resumed is None and self.alive:
            self._resumed = self._loop.create_future()
            self._trace.note(self.name, "is paused")

    def sleep(self) -> None:
        """Be paused until woken, whoever else lets go on what was paused."""
        self.asleep = True
        self.pause()

    def wake(self) -> None:
        """End a sleep."""
        self.asleep = False
        self.resume()

    def resume(self) -> None:
        """Go on as if nothing had happened."""
        if self._resumed is not None and not (self.asleep and self.alive):
            self._resumed.set_result(None)
            self._resumed = None
            self._trace.note(self.name, "goes on")

    async def step(self) -> None:
        """Pass from one call to the next, or do not."""
        if not self.alive:
            raise asyncio.CancelledError
        if self._faults.strikes(self._crash_at_io, self.name):
            self.kill()
            raise asyncio.CancelledError
        while self._resumed is not None:
            await asyncio.shield(self._resumed)
        if not self.alive:
            raise asyncio.CancelledError

    async def call(self, execute: Callable[[], T], there_s: float, back_s: float = 0) -> T:
        """Let a server execute something, and hear what came of it."""
        await self.step()
        heard: asyncio.Future[T] = self._loop.create_future()

        def serve() -> None:
            try:
                answer = execute()
            except Exception as error:  # noqa: BLE001  # the caller's to judge
                if not heard.done():
                    heard.set_exception(error)
            else:
                if not heard.done():
                    heard.set_result(answer)

        self._loop.call_later(there_s, serve)
        answer = await heard
        if back_s:
            await asyncio.sleep(back_s)
        await self.step()
        return answer
