"""Clients: they ask for transactions, wait a while, and write down what they were told.

A client knows topics and JSON. It asks again when Kafka does not acknowledge,
as any client does, and with the same key. It gives up waiting after a few
seconds: what became of the transaction is then unknown to it, and a later
query must say what the databases say.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tests.chaos.services import ACCOUNTS
from wire.envelope import Envelope, Record, unseal
from wire.kafka import KafkaUnavailable, Place, Producer, ShardReader, partition_counts
from wire.messages import Outcome
from wire.topics import Topics

COUNTER: Final = "visits"
WRITERS: Final = 10
MOVERS: Final = 6
PAYERS: Final = 4
PATIENCE_S: Final = 5.0
MOST_OPEN: Final = 200
"""With so many unanswered nobody asks for more: what is begun must be able to end."""
PAUSE_S: Final = 0.4
ACKNOWLEDGED_S: Final = 20.0

Said = Literal["ok", "failed", "unknown"]


@dataclass
class Start:
    """One transaction, as its client knows it."""

    definition: str
    key: str
    event: dict[str, Any]
    acknowledged: bool = False
    said: Said = "unknown"

    @property
    def place(self) -> tuple[str, str]:
        return (self.definition, self.key)


@dataclass
class Ear:
    """Hears every outcome there is, from the first one on, whatever happens to Kafka."""

    bootstrap: str
    outcomes: dict[tuple[str, str], list[str]] = field(
        default_factory=dict[tuple[str, str], list[str]]
    )
    _generation: int = 1
    _next: dict[Place, int] = field(default_factory=dict[Place, int])

    async def run(self) -> None:
        """Listen, and connect anew when the connection is lost."""
        while True:
            reader = ShardReader(self.bootstrap)
            try:
                with contextlib.suppress(KafkaUnavailable):
                    await self._listen(reader)
            finally:
                await reader.stop()
            await asyncio.sleep(0.3)

    async def _listen(self, reader: ShardReader) -> None:
        if not self._next:
            topic = Topics().outcomes
            count = (await partition_counts(self.bootstrap, [topic]))[topic]
            self._next = {(topic, partition): 0 for partition in range(count)}
        await reader.start()
        reader.assign(self._next)
        while True:
            for record in await reader.poll(wait_ms=100, limit=500):
                self._next[record.topic, record.partition] = record.offset + 1
                self._hear(unseal(record.headers, record.value))

    def _hear(self, envelope: Envelope) -> None:
        """Keep each different word; the same one may come twice.

        What a log says that is no more is void.
        """
        message, generation = envelope.message, envelope.generation or 1
        if isinstance(message, Outcome) and generation >= self._generation:
            self._generation = generation
            words = self.outcomes.setdefault((message.definition, message.key), [])
            if message.outcome not in words:
                words.append(message.outcome)

    async def wait(self, place: tuple[str, str], seconds: float) -> str | None:
        """Wait for an outcome, for so long."""
        deadline = asyncio.get_running_loop().time() + seconds
        while place not in self.outcomes:
            if asyncio.get_running_loop().time() > deadline:
                return None
            await asyncio.sleep(0.03)
        return self.outcomes[place][0]


class Speaker:
    """Publishes, with a new connection whenever the old one fails."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._producer: Producer | None = None
        self._lock = asyncio.Lock()

    async def say(self, records: Sequence[Record]) -> bool:
        """Publish; False if nobody acknowledged it, and it may be there all the same."""
        try:
            producer = await self._connected()
            async with asyncio.timeout(ACKNOWLEDGED_S):
                await producer.burst(records)
        except (KafkaUnavailable, TimeoutError):
            await self.close()
            return False
        return True

    async def _connected(self) -> Producer:
        async with self._lock:
            if self._producer is None:
                producer = Producer(self._bootstrap)
                await producer.start()
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        """Close the connection; the next word opens another."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()


class Load:
    """All clients, and the book of what they asked for and were told."""

    def __init__(self, bootstrap: str, dice: random.Random, movers: int = MOVERS) -> None:
        self._movers = movers
        self.book: list[Start] = []
        self._open: dict[tuple[str, str], Start] = {}
        self.ear = Ear(bootstrap)
        self._speaker = Speaker(bootstrap)
        self._dice = dice
        self.stopping = asyncio.Event()

    @property
    def unheard(self) -> list[Start]:
        """What was taken by Kafka, and has no outcome yet."""
        # Asked by every client all the time, so not of the whole book.
        heard = [place for place in self._open if place in self.ear.outcomes]
        for place in heard:
            del self._open[place]
        return [start for start in self._open.values() if start.acknowledged]

    def said(self) -> Counter[str]:
        """Count what clients were told while they waited."""
        return Counter(start.said for start in self.book)

    async def run(self, tag: str = "") -> None:
        """Let all clients ask until `stopping` is set, and end what they have begun."""
        self.stopping.clear()
        kinds: list[tuple[str, Callable[[str, random.Random], Start]]] = [
            *(("writer", _count) for _ in range(WRITERS)),
            *(("mover", _move) for _ in range(self._movers)),
            *(("payer", _pay) for _ in range(PAYERS)),
        ]
        async with asyncio.TaskGroup() as group:
            for n, (name, make) in enumerate(kinds):
                seed = self._dice.random()
                group.create_task(self._client(f"{tag}{name}-{n}", make, random.Random(seed)))

    async def close(self) -> None:
        """Close the connection."""
        await self._speaker.close()

    async def _client(
        self, name: str, make: Callable[[str, random.Random], Start], dice: random.Random
    ) -> None:
        n = 0
        while not self.stopping.is_set():
            if len(self.unheard) >= MOST_OPEN:
                await asyncio.sleep(0.1)
                continue
            n += 1
            start = make(f"{name}-{n}", dice)
            await self.ask(start)
            if dice.random() < 0.05:
                await self._publish(start)
            word = await self.ear.wait(start.place, PATIENCE_S)
            if word is not None:
                start.said = "ok" if word == "COMMITTED" else "failed"
            await asyncio.sleep(dice.uniform(0, PAUSE_S))

    async def ask(self, start: Start) -> None:
        """Ask for one transaction, and write it down."""
        self.book.append(start)
        self._open[start.place] = start
        await self._publish(start)

    async def _publish(self, start: Start) -> None:
        """Publish until it is acknowledged; at the end of the load, only once more."""
        record = Record(
            f"chaos.{start.definition}", start.key.encode(), json.dumps(start.event).encode(), []
        )
        while not await self._speaker.say([record]):
            if self.stopping.is_set():
                return
            await asyncio.sleep(0.2)
        start.acknowledged = True


def _count(key: str, _: random.Random) -> Start:
    return Start("count", key, {"key": key, "name": COUNTER, "amount": 1})


def _move(key: str, dice: random.Random) -> Start:
    definition = dice.choice(["move-two", "move-three"])
    closed = dice.choice(["from", "to"]) if dice.random() < 0.15 else ""
    return Start(definition, key, _money(key, dice, closed))


def _pay(key: str, dice: random.Random) -> Start:
    closed = dice.choice(["from", "to", "last"]) if dice.random() < 0.3 else ""
    return Start("pay", key, _money(key, dice, closed))


def _money(key: str, dice: random.Random, closed: str) -> dict[str, Any]:
    accounts = {
        word: "nobody" if word == closed else f"acc-{dice.randint(1, ACCOUNTS)}"
        for word in ("from", "to", "last")
    }
    return {"key": key, "amount": dice.randint(1, 50), **accounts}
