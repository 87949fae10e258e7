"""Somebody who asks participants over Kafka, as a coordinator does, and hears the answers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import Any

from wire.envelope import Envelope, Record, seal, unseal
from wire.kafka import GroupReader, Producer, Received, ShardReader, create_topics
from wire.messages import Command, Reply
from wire.topics import Topics

SHARDS = 2
_numbers = itertools.count(1)


class Asker:
    """One cluster's topics, with a prefix of their own."""

    def __init__(self, bootstrap: str, participants: Sequence[str], *, signs: bool = True) -> None:
        self.bootstrap, self.participants, self._signs = bootstrap, participants, signs
        self.prefix = f"t{time.time_ns() // 1000 % 10**9}-{next(_numbers)}"
        self.topics = Topics(self.prefix)
        self._producer = Producer(bootstrap)
        self._reader = GroupReader(
            bootstrap,
            [self.topics.replies, self.topics.dead_letters],
            group=f"{self.prefix}.asker",
        )
        self._heard: list[Received] = []

    async def start(self) -> None:
        counts = {self.topics.replies: SHARDS, self.topics.dead_letters: 1}
        if self._signs:
            counts[self.topics.heartbeats] = 1
        counts |= {Topics.commands(name): 2 for name in self.participants}
        await create_topics(self.bootstrap, counts, replication=1, config={})
        await self._producer.start()
        await self._reader.start()

    async def stop(self) -> None:
        await self._reader.stop()
        await self._producer.stop()

    async def ask(
        self,
        participant: str,
        *commands: Command,
        deadline_us: int | None = None,
        traceparent: str | None = None,
    ) -> None:
        await self._producer.burst(
            [
                seal(
                    Envelope(command, traceparent, deadline_us),
                    topic=Topics.commands(participant),
                    source="/test",
                    key=command.gid,
                )
                for command in commands
            ]
        )

    async def send(self, record: Record) -> None:
        """Send something that need not be a message."""
        await self._producer.burst([record])

    async def hear(self, count: int, *, seconds: float = 20.0) -> list[Reply]:
        """Wait for so many replies, and return them in order of arrival."""
        return [
            unseal(record.headers, record.value).message  # pyright: ignore[reportReturnType]
            for record in await self._take(self.topics.replies, count, seconds)
        ]

    async def hear_records(self, count: int, *, seconds: float = 20.0) -> list[Received]:
        return await self._take(self.topics.replies, count, seconds)

    async def graves(self, count: int, *, seconds: float = 20.0) -> list[Received]:
        """Wait for so many dead letters."""
        return await self._take(self.topics.dead_letters, count, seconds)

    async def heartbeats(self) -> list[Received]:
        """Return all signs of life so far."""
        reader, place = ShardReader(self.bootstrap), (self.topics.heartbeats, 0)
        await reader.start()
        try:
            return await reader.read(await reader.beginnings([place]), await reader.ends([place]))
        finally:
            await reader.stop()

    async def silence(self, *, seconds: float) -> list[Any]:
        """Listen for a while, and return what was said."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._heard += await self._reader.poll(wait_ms=50, limit=500)
        heard, self._heard = self._heard, []
        return heard

    async def _take(self, topic: str, count: int, seconds: float) -> list[Received]:
        taken: list[Received] = []
        until = time.monotonic() + seconds
        while True:
            taken += [r for r in self._heard if r.topic == topic]
            self._heard = [r for r in self._heard if r.topic != topic]
            if len(taken) >= count:
                self._heard += taken[count:]
                return taken[:count]
            if time.monotonic() > until:
                raise AssertionError(f"{len(taken)} of {count} came within {seconds} s: {taken}")
            self._heard += await self._reader.poll(wait_ms=50, limit=500)
            await asyncio.sleep(0)
