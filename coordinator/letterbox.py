"""Events that sagas wait for → the letter box. Stateless, as the triggers are.

A consumer group of its own reads the topics that waits name. An event is put
into the box of each store, under the key that each wait's `match` gives it,
and then whoever waits there is told. The group's offset moves on afterwards:
an event may be put there twice, which its place makes once, and who is told
twice has heard it already.

An event that is older than any saga that could take it is not kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from coordinator.core.arrivals import EARLY_US
from coordinator.core.events import Letter
from coordinator.core.waiting import letter_key
from coordinator.definitions import Definitions
from coordinator.listening import (
    LIMIT,
    WAIT_MS,
    NotAnEvent,
    bury_event,
    event_body,
    listen,
    move_past,
)
from coordinator.log.store import DecisionLog
from sagas.model import AnyDefinition, EvaluationFailed, Saga, Wait
from wire.envelope import Envelope, Record, seal
from wire.kafka import GroupReader, Producer, Received
from wire.messages import Arrived
from wire.topics import Topics

DAY_US: Final = 86_400_000_000
EMPTIED_S: Final = 60.0
THROWN_AT_ONCE: Final = 5_000


Waits = Mapping[str, tuple[Mapping[str, Wait], int]]
"""For each topic: a wait for each way to read a key off an event; and how long letters are kept."""


class Letterbox:
    """Puts events where sagas look for them."""

    def __init__(
        self,
        *,
        bootstrap: str,
        topics: Topics,
        logs: Sequence[DecisionLog],
        definitions: Definitions,
        producer: Producer,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._logs = logs
        self._definitions = definitions
        self._producer = producer
        self._begun = begun
        self._emptied_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Read, put into the box, tell; follow what is published.

        Raises:
            LogUnavailable: a store is away.
            KafkaUnavailable: Kafka is.

        """
        self._begun()
        group = f"{self._topics.prefix}.letters"
        await listen(self._bootstrap, group, self._wanted, self._turn, stop)

    async def _wanted(self) -> frozenset[str]:
        await self._definitions.refresh(self._logs[0])
        return frozenset(waits_of(self._definitions.all_versions()))

    async def _turn(self, reader: GroupReader) -> None:
        received = await reader.poll(wait_ms=WAIT_MS, limit=LIMIT)
        if received:
            # An event may be younger than a definition that waits for it.
            await self._definitions.refresh(self._logs[0])
        waits = waits_of(self._definitions.all_versions())
        found, dead = letters(received, waits, time.time_ns() // 1000)
        buried = [self._bury(event, reason) for event, reason in dead]
        await self._producer.burst([*buried, *await self._deliver(found)])
        await move_past(reader, received)
        await self._empty(waits)

    async def _deliver(self, found: Sequence[Letter]) -> list[Record]:
        """Put letters into the box of each store, and then see who waits for them there."""
        told: list[Record] = []
        for log in self._logs if found else ():
            told += await deliver(log, found, self._topics)
        return told

    async def _empty(self, waits: Waits) -> None:
        """Now and then, throw away what nobody can be waiting for any more."""
        if time.monotonic() - self._emptied_at < EMPTIED_S:
            return
        self._emptied_at = time.monotonic()
        for topic, (_, kept_us) in waits.items():
            before_us = time.time_ns() // 1000 - kept_us
            for log in self._logs:
                await log.throw_away(topic, before_us, THROWN_AT_ONCE)

    def _bury(self, event: Received, reason: str) -> Record:
        why, private = f"waited for: {reason}", self._is_private(event.topic)
        return bury_event(event, why, grave=self._topics.dead_letters, private=private)

    def _is_private(self, topic: str) -> bool:
        """Tell whether any definition that reads a topic has something sensitive."""
        return any(
            topic == d.start.topic or topic in waits_of([d])
            for d in self._definitions.all_versions()
            if d.private is not None
        )


def waits_of(definitions: Iterable[AnyDefinition]) -> Waits:
    """Collect what is waited for, by any version: sagas follow the one they began with."""
    found: dict[str, tuple[dict[str, Wait], int]] = {}
    for definition in definitions:
        if not isinstance(definition, Saga):
            continue
        lasts_us = definition.start.delay_us + definition.deadline_us + EARLY_US + DAY_US
        for step in definition.steps.values():
            if isinstance(step.work, Wait):
                ways, kept_us = found.get(step.work.topic, ({}, 0))
                ways[step.work.about] = step.work
                found[step.work.topic] = (ways, max(kept_us, lasts_us))
    return found


def letters(
    received: Iterable[Received], waits: Waits, now_us: int
) -> tuple[list[Letter], list[tuple[Received, str]]]:
    """Turn events into letters; return those that cannot be read as well, each with the reason.

    An event without what a wait asks of it is not for that wait.
    """
    found: list[Letter] = []
    dead: list[tuple[Received, str]] = []
    for event in received:
        ways, kept_us = waits.get(event.topic, ({}, 0))
        at_us = event.timestamp_ms * 1000
        if at_us > now_us + DAY_US:
            # Its producer has another unit, or another clock: Postgres may know no such time.
            at_us = now_us
        if at_us < now_us - kept_us:
            continue
        try:
            found += _addressed(event, at_us, ways)
        except NotAnEvent as error:
            dead.append((event, str(error)))
    return found, dead


def _addressed(event: Received, at_us: int, ways: Mapping[str, Wait]) -> Iterator[Letter]:
    body = event_body(event)
    for about, wait in ways.items():
        try:
            key = letter_key(about, wait.key_of({"event": body}))
        except EvaluationFailed:
            continue
        yield Letter(event.topic, key, event.partition, event.offset, at_us, body)


async def deliver(log: DecisionLog, found: Sequence[Letter], topics: Topics) -> list[Record]:
    """Put letters into one store's box; return what tells those who wait for them there.

    In this order: who begins to wait afterwards looks into the box.

    Raises:
        LogUnavailable: the store is away.

    """
    await log.deliver(found)
    places = {(one.topic, one.key): one for one in found}
    told: list[Record] = []
    for shard, gid, step, topic, key in await log.waiting(places.keys()):
        letter = places[topic, key]
        place = f"{topic}/{letter.partition}/{letter.offset}"
        arrived = Arrived(gid=gid, step=step, topic=topic, key=key, place=place)
        told.append(
            seal(
                Envelope(arrived),
                topic=topics.replies,
                source=f"/kafka/{topic}",
                key=gid,
                partition=shard,
            )
        )
    return told
