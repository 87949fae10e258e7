"""A hop: from when one process hands a record to Kafka until another could read it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Self

from wire.envelope import Record
from wire.kafka import Producer, ShardReader, create_topics

TOPIC: Final = "bench.hops"
VALUE: Final = b"x" * 400
"""As long as a command is."""


class Hops:
    """Sends to itself, with the clients that everything here uses."""

    def __init__(self, producer: Producer, reader: ShardReader) -> None:
        self._producer, self._reader = producer, reader

    @classmethod
    @asynccontextmanager
    async def between(cls, bootstrap: str) -> AsyncGenerator[Self]:
        """Make the topic, unless it is there, and read it from its end."""
        await create_topics(bootstrap, {TOPIC: 1}, replication=1, config={})
        async with Producer(bootstrap) as producer, ShardReader(bootstrap) as reader:
            reader.assign(await reader.ends([(TOPIC, 0)]))
            yield cls(producer, reader)

    async def one(self, n: int) -> None:
        """Send a record, and wait until it is there."""
        key = str(n).encode()
        await self._producer.hand_over([Record(TOPIC, key, VALUE, [], 0)])
        while not await self._reader.poll(wait_ms=100, limit=1):
            pass
