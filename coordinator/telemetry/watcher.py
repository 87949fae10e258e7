"""Whoever wants to see what has happened, once it is durable.

A trace that a client has begun is kept if the client keeps it. Of those that
begin here, so many a second are kept; a newcomer sees all, and a busy system
pays a bounded price. What ends badly is always shown: its spans are made
from the log afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from coordinator.core import machine
from coordinator.core.records import AnyRecord, Closed, Decided, Entry, Outcome, Parked
from coordinator.telemetry import identity
from coordinator.telemetry.export import Exporter, is_wanted
from coordinator.telemetry.spans import resumed, spans, spans_of_log
from coordinator.work import Trail
from sagas.model import AnyDefinition

logger = structlog.get_logger(__name__)

LATE_LIMIT: Final = 1_000
"""Bad ends that wait to be shown; the oldest are given up first."""

History = Callable[[str], Awaitable[Sequence[Entry]]]


class Watcher:
    """Sees nothing; the base of those that do."""

    history: History | None = None
    """Reads a transaction's log; set by whoever has one."""

    def sample(self) -> bool:
        """Say whether the next trace that nobody else has begun is kept."""
        return False

    def watch(self, trails: Sequence[Trail], now_us: int) -> None:
        """See one turn's transitions."""

    async def run(self) -> None:
        """Do what takes its time."""

    def close(self) -> None:
        """Let go of what has not been shown yet, in bounded time."""


class Tracing(Watcher):
    """Shows transactions as traces."""

    def __init__(self, exporter: Exporter, per_second: float) -> None:
        self._exporter = exporter
        self._per_second = per_second
        self._allowance, self._filled_at = per_second, time.monotonic()
        self._late: deque[tuple[str, Sequence[AnyDefinition]]] = deque(maxlen=LATE_LIMIT)
        self._bell = asyncio.Event()

    def sample(self) -> bool:
        now = time.monotonic()
        gained = (now - self._filled_at) * self._per_second
        self._allowance = min(max(1.0, self._per_second), self._allowance + gained)
        self._filled_at = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def watch(self, trails: Sequence[Trail], now_us: int) -> None:
        for trail in trails:
            traceparent = trail.live.state.begun.traceparent
            if identity.is_kept(traceparent):
                self._show(trail, now_us)
            elif traceparent and any(is_bad(entry.record) for entry in trail.entries):
                state = trail.live.state
                self._late.append((state.gid, (state.definition, *machine.versions(state))))
                self._bell.set()

    def _show(self, trail: Trail, now_us: int) -> None:
        for facts in spans(trail.before, trail.live.state, trail.entries):
            self._exporter.export(facts)
        if trail.resumed:
            self._exporter.export(resumed(trail.live.state, now_us, trail.epoch))

    async def run(self) -> None:
        """Show what ended badly and was not kept, from the log."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._late and self.history is not None:
                gid, (definition, *versions) = self._late.popleft()
                try:
                    log = await self.history(gid)
                except Exception as error:  # noqa: BLE001  # a trace is an addition
                    logger.warning("trace_not_shown", gid=gid, reason=str(error))
                    continue
                for facts in spans_of_log(gid, definition, log, versions):
                    self._exporter.export(facts)

    def close(self) -> None:
        self._exporter.close()


def is_bad(record: AnyRecord) -> bool:
    """Tell whether a record is the end of something that did not go through."""
    match record:
        case Closed():
            return record.outcome is not Outcome.COMMITTED
        case Decided():
            return record.decision == "abort"
        case Parked():
            return True
        case _:
            return False


def make_watcher(per_second: float, instance: str) -> Watcher:
    """Return a watcher that shows traces, if anybody has said where to."""
    return Tracing(Exporter(instance), per_second) if is_wanted() else Watcher()
