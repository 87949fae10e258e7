"""The clock → starts. Stateless, and as many as there are coordinators.

Each process asks its log's clock which times have come since those that were
last asked for, sends a start for each, and once Kafka has them moves the mark.
The key of a start is its time, so what two processes send is one start, and
what a dead one has not sent another one does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import structlog

from coordinator.definitions import Definitions
from coordinator.log.schedules import Timetable
from coordinator.log.store import ClusterFacts, DecisionLog
from coordinator.triggers import seal_start
from sagas.model import AnyDefinition
from sagas.schedule import due, event_of, key_of
from wire import gids
from wire.envelope import Record
from wire.kafka import Producer
from wire.messages import Begin
from wire.topics import Topics

logger = structlog.get_logger(__name__)

PAUSE_S: Final = 0.5
MOST_MISSED: Final = 100
"""How many starts are made up for, if none was made for long."""


class TimetableLog(DecisionLog, Protocol):
    """A log that knows up to when starts by the clock have been asked for."""

    async def timetable(self, hashes: Sequence[str]) -> Timetable:
        """Tell the time, and from when on each definition's times are to come."""
        ...

    async def advance(self, name: str, until_us: int) -> None:
        """Remember that all up to this time have been asked for."""
        ...


class Schedules:
    """Starts what is due, of the definitions whose mark is in this store."""

    def __init__(
        self,
        *,
        facts: ClusterFacts,
        topics: Topics,
        log: TimetableLog,
        definitions: Definitions,
        producer: Producer,
        absent: Callable[[AnyDefinition], Sequence[str]] = lambda _: (),
    ) -> None:
        self._facts = facts
        self._topics = topics
        self._log = log
        self._definitions = definitions
        self._producer = producer
        self._absent = absent
        self._held: Mapping[str, Sequence[str]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Look at the clock again and again, and follow what is published."""
        while not stop.is_set():
            await self._definitions.refresh(self._log)
            await self.turn()
            try:
                await asyncio.wait_for(stop.wait(), PAUSE_S)
            except TimeoutError:
                continue

    async def turn(self) -> None:
        """Start what has become due."""
        ours = {d.name: d for d in self._definitions.all_newest() if self._is_ours(d)}
        if not ours:
            return
        since = [self._since(definition).hash for definition in ours.values()]
        now_us, since_us = await self._log.timetable(since)
        for name in self._ready(ours) & since_us.keys():
            await self._start(ours[name], since_us[name], now_us)

    def _is_ours(self, definition: AnyDefinition) -> bool:
        facts, name = self._facts, definition.name
        store = gids.shard_of_start(name, "", facts.shards) % facts.stores
        return definition.start.every is not None and store == facts.store

    def _since(self, definition: AnyDefinition) -> AnyDefinition:
        """Find the version from which on there were starts by the clock without a break."""
        versions = sorted(
            self._definitions.of_name(definition.name), key=lambda d: d.version, reverse=True
        )
        first = definition
        for version in versions:
            if version.start.every is None:
                break
            first = version
        return first

    def _ready(self, ours: Mapping[str, AnyDefinition]) -> set[str]:
        """Leave out what must wait for a participant; its starts are made up for."""
        absent = {name: self._absent(definition) for name, definition in ours.items()}
        held = {name: missing for name, missing in absent.items() if missing}
        if held != self._held:
            logger.warning("schedules_held" if held else "schedules_go_on", definitions=held)
        self._held = held
        return ours.keys() - held.keys()

    async def _start(self, definition: AnyDefinition, since_us: int, now_us: int) -> None:
        assert definition.start.every is not None
        times, more = due(definition.start.every, since_us, now_us, MOST_MISSED)
        if not times:
            return
        if more:
            first, since = key_of(times[0]), key_of(since_us)
            logger.warning("starts_missed", definition=definition.name, since=since, until=first)
        await self._producer.burst(list(self._starts(definition, times)))
        await self._log.advance(definition.name, times[-1])

    def _starts(self, definition: AnyDefinition, times: Sequence[int]) -> Iterator[Record]:
        for at_us in times:
            begin = Begin(definition=definition.name, key=key_of(at_us), input=event_of(at_us))
            yield seal_start(
                begin,
                topics=self._topics,
                shards=self._facts.shards,
                source="/twofold/schedules",
                traceparent=None,
            )
