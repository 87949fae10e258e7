"""A client of Twofold: publishes events like any service, and hears the outcomes.

It knows topics and JSON, and nothing of the coordinator's insides.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from wire.envelope import Record, unseal
from wire.kafka import Place, Producer, ShardReader, partition_counts
from wire.messages import Outcome
from wire.topics import Topics


class Client:
    """Publishes events; remembers each outcome by definition and key."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._producer = Producer(bootstrap)
        self._reader = ShardReader(bootstrap)
        self._listening: asyncio.Task[None] | None = None
        self.outcomes: dict[tuple[str, str], Outcome] = {}
        self.contradictions: list[tuple[Outcome, Outcome]] = []
        self.refusals: list[Outcome] = []

    async def __aenter__(self) -> Self:
        await self._start()
        self._reader.assign(await self._reader.ends(await self._places()))
        self._listening = asyncio.create_task(self._listen())
        return self

    async def listen_from_the_beginning(self) -> None:
        """Connect, and hear all outcomes that the topic still has."""
        await self._start()
        self._reader.assign(await self._reader.beginnings(await self._places()))
        self._listening = asyncio.create_task(self._listen())

    async def _start(self) -> None:
        await self._producer.start()
        await self._reader.start()

    async def _places(self) -> list[Place]:
        topic = Topics().outcomes
        count = (await partition_counts(self._bootstrap, [topic]))[topic]
        return [(topic, partition) for partition in range(count)]

    async def __aexit__(self, *_: object) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._reader.stop()
        await self._producer.stop()

    async def _listen(self) -> None:
        while True:
            for record in await self._reader.poll(wait_ms=200, limit=500):
                outcome = unseal(record.headers, record.value).message
                if isinstance(outcome, Outcome):
                    self._hear(outcome)

    def _hear(self, outcome: Outcome) -> None:
        """Keep the first word; an outcome may be told twice, but not otherwise.

        A start that is refused because its key has begun another says nothing of that one.
        """
        place = (outcome.definition, outcome.key)
        if outcome.outcome == "REFUSED" and place in self.outcomes:
            self.refusals.append(outcome)
            return
        before = self.outcomes.setdefault(place, outcome)
        if before.outcome != outcome.outcome:
            self.contradictions.append((before, outcome))

    async def publish(
        self,
        topic: str,
        events: Sequence[Mapping[str, Any]],
        *,
        key: str,
        traceparent: str | None = None,
    ) -> None:
        """Publish events, each with a trace of its own if none is given."""
        records = [_record(topic, event, key, traceparent or _new_trace()) for event in events]
        await self._producer.burst(records)

    async def hear(
        self,
        wanted: Sequence[tuple[str, str]],
        *,
        seconds: float,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[tuple[str, str]]:
        """Wait for outcomes; return those that did not come in time."""
        deadline = time.monotonic() + seconds
        while missing := [place for place in wanted if place not in self.outcomes]:
            progress(len(wanted) - len(missing))
            if time.monotonic() > deadline:
                return missing
            await asyncio.sleep(0.05)
        progress(len(wanted))
        return []


def _new_trace() -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def _record(topic: str, event: Mapping[str, Any], key: str, traceparent: str) -> Record:
    headers = [
        ("content-type", b"application/json"),
        ("traceparent", traceparent.encode()),
    ]
    return Record(topic, str(event[key]).encode(), json.dumps(event).encode(), headers)
