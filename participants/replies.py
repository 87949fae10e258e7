"""Replies on their way to Kafka, and what may be forgotten once they are there.

What is said while a burst is on its way goes out with the next one, so a busy
worker sends few, large bursts and an idle one sends at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from wire.envelope import Record
from wire.kafka import Producer

IN_FLIGHT: Final = 4
"""Bursts that Kafka has not yet acknowledged, before the next waits."""

Acknowledged = Callable[[], None]


class Replies:
    """Sends records, and calls back for each once Kafka has it."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._pending: list[tuple[Record, Acknowledged]] = []
        self._some = asyncio.Event()
        self._unacknowledged = 0

    def say(self, record: Record, acknowledged: Acknowledged) -> None:
        """Send a record soon."""
        self._pending.append((record, acknowledged))
        self._unacknowledged += 1
        self._some.set()

    @property
    def unacknowledged(self) -> int:
        """How many records were said that Kafka does not have yet."""
        return self._unacknowledged

    async def run(self) -> None:
        """Send until cancelled.

        Raises:
            KafkaUnavailable: a burst was not acknowledged. Nothing of it is
                called back for, so its commands will be read again.

        """
        free = asyncio.Semaphore(IN_FLIGHT)
        async with asyncio.TaskGroup() as bursts:
            while True:
                await self._some.wait()
                await free.acquire()
                self._some.clear()
                burst, self._pending = self._pending, []
                bursts.create_task(self._send(burst, free))

    async def _send(
        self, burst: list[tuple[Record, Acknowledged]], free: asyncio.Semaphore
    ) -> None:
        await self._producer.burst([record for record, _ in burst])
        free.release()
        self._unacknowledged -= len(burst)
        for _, acknowledged in burst:
            acknowledged()
