"""A coordinator's process: engine and ownership, tenure after tenure.

It is coordinator/service.py over a simulated log and Kafka.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final

from coordinator.clock import LogClock
from coordinator.definitions import Definitions
from coordinator.engine import Engine
from coordinator.holdings import CROWD
from coordinator.log.store import DecisionLog, LogUnavailable
from coordinator.setting import Setting
from coordinator.shards import EngineStalled, Ownership
from coordinator.work import Trail
from sagas.model import AnyDefinition
from tests.simulation.check import Check
from tests.simulation.faults import Faults
from tests.simulation.kafka import Broker, SimProducer, SimReader
from tests.simulation.log import LogClient, SimLog
from tests.simulation.process import Process
from wire.kafka import KafkaUnavailable

PAUSE_S: Final = 0.2

CROWDS: Final = (1, 2, CROWD)
"""How many transactions of a shard may be active before no more are begun there."""


class SimClock(LogClock):
    """A clock between two readings of the log's, a little too fast or too slow."""

    def __init__(self, now_us: Callable[[], int], rate: float) -> None:
        self._now_us, self._rate = now_us, rate
        self._read_us = self._told_us = now_us()

    def now_us(self) -> int:
        return self._told_us + int((self._now_us() - self._read_us) * self._rate)

    def set(self, log_now_us: int) -> None:
        self._read_us, self._told_us = self._now_us(), log_now_us


class Published(Definitions):
    """The definitions that are published, without their text."""

    def __init__(self, published: Sequence[AnyDefinition]) -> None:
        super().__init__()
        self._published = published

    async def refresh(self, log: DecisionLog) -> bool:
        await log.definitions()
        fresh = [d for d in self._published if self.by_hash(d.hash) is None]
        for definition in fresh:
            self.add(definition)
        return bool(fresh)


class NobodyWatches:
    """A watcher that sees everything and says nothing."""

    def watch(self, trails: Sequence[Trail], now_us: int) -> None:
        del trails, now_us


class Coordinator:
    """One life of a coordinator's process."""

    def __init__(
        self,
        process: Process,
        *,
        server: SimLog,
        broker: Broker,
        faults: Faults,
        check: Check,
        published: Sequence[AnyDefinition],
        chance: random.Random,
        now_us: Callable[[], int],
        rate: float,
        make_engine: Callable[..., Engine],
    ) -> None:
        self.process, self.stop, self.bell = process, asyncio.Event(), asyncio.Event()
        self.engine: Engine | None = None
        self.cut_from_log = self.cut_from_kafka = False
        self._server, self._broker, self._faults, self._check = server, broker, faults, check
        self._published, self._chance = published, chance
        self._now_us, self._rate, self._make_engine = now_us, rate, make_engine

    async def live(self) -> None:
        """Coordinate until told to stop."""
        while not self.stop.is_set():
            try:
                await self._tenure()
            except* (LogUnavailable, KafkaUnavailable, EngineStalled) as group:
                self._check.tenure_ended(group)
            except* Exception as group:  # noqa: BLE001  # a bug of the product, or of ours
                self._check.bug(self.process.name, group)
            self.engine = None
            await asyncio.sleep(PAUSE_S)

    async def _tenure(self) -> None:
        process, faults, chance = self.process, self._faults, self._chance
        log = LogClient(self._server, process, faults, chance, lambda: not self.cut_from_log)
        facts = await log.facts()
        clock = SimClock(self._now_us, self._rate)
        producer = SimProducer(
            process, self._broker, faults, self._check.sends, self._reaches_kafka
        )
        reader = SimReader(process, self._broker, faults, chance, self._reaches_kafka)
        definitions = Published(self._published)
        await definitions.refresh(log)
        engine = self.engine = self._make_engine(
            setting=Setting(facts, self._broker.topics, definitions, _never),
            log=log,
            producer=producer,
            reader=reader,
            clock=clock,
            watcher=NobodyWatches(),
            crowd=chance.choice(CROWDS),
        )
        ownership = Ownership(
            replica=process.name,
            log=log,
            engine=engine,
            clock=clock,
            shards=facts.shards,
            bell=self.bell,
        )
        try:
            await ownership.run(self.stop)
        finally:
            reader.forget()

    def _reaches_kafka(self) -> bool:
        return not self.cut_from_kafka


def _never() -> bool:
    return False
