"""Kafka, simulated: what is acknowledged is kept, and all else that can go wrong goes wrong.

Losing what was acknowledged is more than Kafka may do; commands and replies
are lost all the same, since everything that depends on one is asked for again.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tests.simulation.faults import Fault, Faults
from tests.simulation.process import Process
from tests.simulation.trace import Trace
from wire.envelope import Record
from wire.kafka import KafkaUnavailable, Place, Producer, Received, ShardReader
from wire.topics import Topics

TRAVEL_S = 0.002
GIVEN_UP_S = 0.3
UNREADABLE = b"{"


class Broker:
    """Topics, their partitions, and who reads them."""

    def __init__(self, *, topics: Topics, shards: int, faults: Faults, trace: Trace) -> None:
        self.topics, self.shards = topics, shards
        self.logs: dict[Place, list[Received]] = defaultdict(list)
        self.committed: dict[Place, int] = defaultdict(int)
        self.readers: dict[Place, list[SimReader]] = defaultdict(list)
        self.on_append: list[Callable[[Received], None]] = []
        self._faults, self._trace = faults, trace
        self._loop = asyncio.get_running_loop()
        self.unreadable = 0
        self._judged = {topics.requests, topics.replies}
        self._lossless = {topics.outcomes, topics.dead_letters}

    def append(self, record: Record) -> None:
        """Keep a record, unless it is one of those that get lost."""
        if record.topic in self._lossless:
            self.keep(record)
            return
        strikes = self._faults.strikes
        if strikes(Fault.MESSAGE_LOST, record.topic):
            return
        if record.topic in self._judged and strikes(Fault.MESSAGE_UNREADABLE, record.topic):
            self.keep(Record(record.topic, b"?", UNREADABLE, record.headers[:2], record.partition))
        if strikes(Fault.MESSAGE_DELAYED, record.topic):
            late = self._faults.between(Fault.MESSAGE_DELAYED, 0.05, 4.0)
            self._loop.call_later(late, self.keep, record)
        else:
            self.keep(record)
        if strikes(Fault.MESSAGE_DOUBLED, record.topic):
            late = 3 * self._faults.between(Fault.MESSAGE_DOUBLED, 0.0, 1.0) ** 4
            self._loop.call_later(late, self.keep, record)
        if strikes(Fault.MESSAGE_REPLAYED, record.topic):
            self._replay_some(record.topic)

    def _replay_some(self, topic: str) -> None:
        old = [r for place, log in self.logs.items() if place[0] == topic for r in log]
        if old:
            which = int(self._faults.between(Fault.MESSAGE_REPLAYED, 0, len(old) - 0.001))
            self.again(old[which])

    def again(self, old: Received) -> None:
        """Append a copy of an old record."""
        self.keep(Record(old.topic, old.key, old.value, list(old.headers), old.partition))

    def keep(self, record: Record) -> None:
        """Append a record, and wake its readers."""
        partition = record.partition
        if partition is None:
            partition = zlib.crc32(record.key or b"") % self.shards
        place = (record.topic, partition)
        log = self.logs[place]
        received = Received(
            record.topic,
            partition,
            len(log),
            record.key,
            record.value,
            record.headers,
            int(self._loop.time() * 1000),
        )
        log.append(received)
        self.unreadable += record.topic in self._judged and record.value == UNREADABLE
        self._trace.message(f"{record.topic}/{partition}", record.headers, record.value)
        for hear in self.on_append:
            hear(received)
        for reader in self.readers[place]:
            reader.wake()


class SimProducer(Producer):
    """What the engine and the participants send with."""

    def __init__(
        self,
        process: Process,
        broker: Broker,
        faults: Faults,
        check: Callable[[Record], None],
        reachable: Callable[[], bool],
    ) -> None:
        self._process, self._broker, self._faults = process, broker, faults
        self._check, self._reachable = check, reachable
        self._loop = asyncio.get_running_loop()

    async def hand_over(self, records: Sequence[Record]) -> list[asyncio.Future[Any]]:
        """Queue records for sending; a crash may come between any two."""
        sent: list[asyncio.Future[Any]] = []
        whole: list[tuple[Record, asyncio.Future[Any]]] = []
        try:
            for record in records:
                await self._process.step()
                self._check(record)
                future: asyncio.Future[Any] = self._loop.create_future()
                sent.append(future)
                if not self._reachable() or self._faults.strikes(Fault.SEND_FAILED, record.topic):
                    self._loop.call_later(GIVEN_UP_S, _fail, future)
                elif self._faults.strikes(Fault.SEND_UNACKNOWLEDGED, record.topic):
                    self._broker.append(record)
                    self._loop.call_later(GIVEN_UP_S, _fail, future)
                else:
                    whole.append((record, future))
        finally:
            if whole:
                self._loop.call_later(TRAVEL_S, self._arrive, whole)
        return sent

    def _arrive(self, whole: Sequence[tuple[Record, asyncio.Future[Any]]]) -> None:
        for record, future in whole:
            self._broker.append(record)
            if not future.done():
                future.set_result(None)


def _fail(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(KafkaUnavailable("not acknowledged in time"))


class SimReader(ShardReader):
    """Reads chosen partitions from chosen offsets."""

    def __init__(
        self,
        process: Process,
        broker: Broker,
        faults: Faults,
        chance: random.Random,
        reachable: Callable[[], bool],
    ) -> None:
        self._process, self._broker, self._faults = process, broker, faults
        self._chance, self._reachable = chance, reachable
        self._loop = asyncio.get_running_loop()
        self._next: dict[Place, int] = {}
        self._waiting: asyncio.Future[None] | None = None

    def assign(self, offsets: Mapping[Place, int]) -> None:
        """Read these partitions from these offsets, and no others."""
        self.forget()
        self._next = dict(offsets)
        for place in offsets:
            self._broker.readers[place].append(self)

    def leave(self, places: Iterable[Place]) -> None:
        """Read no more of these partitions for now, and of all others again."""
        self._left = frozenset(places)

    def forget(self) -> None:
        """Read nothing any more."""
        for place in self._next:
            self._broker.readers[place].remove(self)
        self._next = {}

    async def poll(self, *, wait_ms: int, limit: int) -> list[Received]:
        """Return what has come, at most so much, after at most so long."""
        await self._process.step()
        if not self._reachable() or self._faults.strikes(Fault.READ_FAILED, self._process.name):
            await asyncio.sleep(GIVEN_UP_S)
            raise KafkaUnavailable("cannot be read")
        found = self._take(limit)
        if not found:
            await self._wait(wait_ms / 1000)
            found = self._take(limit)
        await self._process.step()
        return found

    def _take(self, limit: int) -> list[Received]:
        places = [place for place in self._next if place not in self._left]
        if len(places) > 1 and self._faults.strikes(Fault.READ_SHUFFLED):
            self._chance.shuffle(places)
            limit = min(limit, self._chance.randint(1, 4))
        found: list[Received] = []
        for place in places:
            log, start = self._broker.logs[place], self._next[place]
            if start < len(log) and len(found) < limit:
                some = log[start : start + limit - len(found)]
                self._next[place] = start + len(some)
                found += some
        return found

    async def _wait(self, seconds: float) -> None:
        self._waiting = self._loop.create_future()
        timer = self._loop.call_later(seconds, self.wake)
        try:
            await self._waiting
        finally:
            timer.cancel()
            self._waiting = None

    def wake(self) -> None:
        """Look whether something has come, or whether it was enough waiting."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """Tell where each partition ends."""
        await self._process.step()
        if not self._reachable():
            await asyncio.sleep(GIVEN_UP_S)
            raise KafkaUnavailable("cannot be asked")
        return {place: len(self._broker.logs[place]) for place in places}

    async def beginnings(self, places: Iterable[Place]) -> dict[Place, int]:
        """Tell where each partition begins: nothing expires here."""
        await self._process.step()
        return dict.fromkeys(places, 0)
