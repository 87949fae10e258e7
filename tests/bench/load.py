"""Load: so many at once (a closed loop), or so many a second (an open one).

A closed loop waits for the slow, and so hides how long others would have
waited; in an open loop a transaction's time runs from when it was due.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self, TypeAlias

import msgspec

from coordinator.triggers import seal_start
from tests.bench.workload import event, key, number
from wire.envelope import Record
from wire.kafka import Place, Producer, Received, ShardReader, partition_counts
from wire.messages import Begin
from wire.topics import Topics

WARM_UP_S: Final = 0.5
PATIENCE_S: Final = 30.0
Events: TypeAlias = Callable[[str, int], dict[str, Any]]
"""Makes the input of the n-th transaction of a definition."""

BURST: Final = 256
"""Starts in one burst of an open loop that has fallen behind."""


class LoadFailed(Exception):
    """Something that was started has not ended."""


@dataclass(slots=True)
class Sample:
    """One run of a loop."""

    seconds: float
    started: list[int] = field(default_factory=list[int])
    committed: list[int] = field(default_factory=list[int])
    others: Counter[str] = field(default_factory=Counter[str])
    latencies: list[float] = field(default_factory=list[float])
    """Seconds, of those that ended after the warm-up and before the end."""

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the latencies, in milliseconds."""
        if not self.latencies:
            return math.nan
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000


class Pace(Protocol):
    """When transactions are started."""

    def due(self, started: int, in_flight: int, elapsed: float) -> int:
        """Say how many are to be started now."""
        ...

    def since(self, index: int, elapsed: float) -> float:
        """Say from when the time of the index-th runs, if it is started now."""
        ...


@dataclass(frozen=True, slots=True)
class InFlight:
    """Keep so many in flight."""

    count: int

    def __str__(self) -> str:
        return str(self.count)

    def due(self, started: int, in_flight: int, elapsed: float) -> int:
        del started, elapsed
        return self.count - in_flight

    def since(self, index: int, elapsed: float) -> float:
        del index
        return elapsed


@dataclass(frozen=True, slots=True)
class PerSecond:
    """Start so many a second, whatever becomes of them."""

    rate: float
    name: str

    def __str__(self) -> str:
        return self.name

    def due(self, started: int, in_flight: int, elapsed: float) -> int:
        del in_flight
        return min(BURST, int(elapsed * self.rate) + 1 - started)

    def since(self, index: int, elapsed: float) -> float:
        del elapsed
        return index / self.rate


class Numbers:
    """Running numbers, so that no transaction of a run has the name of another."""

    def __init__(self) -> None:
        self._next = 0

    def take(self) -> int:
        self._next += 1
        return self._next


async def direct(
    work: Callable[[int], Awaitable[None]], numbers: Numbers, *, in_flight: int, seconds: float
) -> Sample:
    """Do work that takes place in this process, so many at once."""
    sample = Sample(seconds)
    clock = time.perf_counter
    begin = clock() + WARM_UP_S
    end = begin + seconds

    async def one_after_the_other() -> None:
        while (at := clock()) < end:
            n = numbers.take()
            await work(n)
            sample.committed.append(n)
            if begin <= (now := clock()) < end:
                sample.latencies.append(now - at)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(one_after_the_other())
    sample.started = sample.committed
    return sample


class _Heard(msgspec.Struct):
    outcome: str


class Client:
    """Starts transactions on Kafka, and hears how they end. It does little else."""

    def __init__(self, bootstrap: str, numbers: Numbers, events: Events = event) -> None:
        self._bootstrap, self._numbers, self._events = bootstrap, numbers, events
        self._producer, self._reader = Producer(bootstrap), ShardReader(bootstrap)
        self._topics, self._shards = Topics(), 0
        self._decode = msgspec.json.Decoder(_Heard).decode
        self._sent: list[asyncio.Future[Any]] = []

    async def __aenter__(self) -> Self:
        await self._producer.start()
        await self._reader.start()
        names = (self._topics.requests, self._topics.outcomes)
        counts = await partition_counts(self._bootstrap, names)
        self._shards = counts[self._topics.requests]
        places: list[Place] = [
            (self._topics.outcomes, n) for n in range(counts[self._topics.outcomes])
        ]
        self._reader.assign(await self._reader.ends(places))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._reader.stop()
        await self._producer.stop()

    async def run(
        self,
        kind: str,
        pace: Pace,
        *,
        seconds: float,
        patience: float = PATIENCE_S,
    ) -> Sample:
        """Start transactions for a while, and hear the outcome of each.

        Raises:
            LoadFailed: one was not heard in time.

        """
        sample, since = Sample(seconds), dict[int, float]()
        began = time.perf_counter()
        end = WARM_UP_S + seconds
        while (elapsed := time.perf_counter() - began) < end or since:
            if elapsed > end + patience:
                raise LoadFailed(f"{len(since)} of {kind} have no outcome: {list(since)[:3]}")
            due = pace.due(len(sample.started), len(since), elapsed) if elapsed < end else 0
            if due > 0:
                begun = len(sample.started)
                fresh = {self._numbers.take(): pace.since(begun + n, elapsed) for n in range(due)}
                since |= fresh
                sample.started += fresh
                burst = [self._begin(kind, n) for n in fresh]
                self._sent += await self._producer.hand_over(burst)
            for record in await self._reader.poll(wait_ms=1 if due else 2, limit=1_000):
                self._hear(record, time.perf_counter() - began, since, sample)
        await asyncio.gather(*self._sent)
        self._sent.clear()
        return sample

    def _begin(self, kind: str, n: int) -> Record:
        begin = Begin(definition=kind, key=key(n), input=self._events(kind, n))
        return seal_start(
            begin, topics=self._topics, shards=self._shards, source="/bench", traceparent=None
        )

    def _hear(self, record: Received, now: float, since: dict[int, float], sample: Sample) -> None:
        assert record.key is not None
        assert record.value is not None
        n = number(record.key)
        at = since.pop(n, None)
        if at is None:
            return  # told twice, which is allowed
        outcome = self._decode(record.value).outcome
        if outcome == "COMMITTED":
            sample.committed.append(n)
        else:
            sample.others[outcome] += 1
        if WARM_UP_S <= now < WARM_UP_S + sample.seconds:
            sample.latencies.append(now - at)


def median(values: Sequence[float]) -> float:
    """Return the middle one, or nan."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
