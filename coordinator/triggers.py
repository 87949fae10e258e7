"""Your topics → starts. Stateless, and as many as there are coordinators.

An ordinary consumer group reads the topics that definitions name; an event
that `when` accepts becomes a Begin on the partition of its key. The group's
offset moves on once Kafka has the Begin: an event may start twice, and the
key makes it one. What cannot be read goes to the dead-letter topic.

Where starts are held, a topic stays unread while a definition that it starts
needs a participant of which no instance lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import structlog

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
from sagas.model import AnyDefinition, EvaluationFailed
from wire import gids
from wire.envelope import Envelope, Record, seal
from wire.kafka import GroupReader, Producer, Received
from wire.messages import Begin
from wire.topics import Topics

logger = structlog.get_logger(__name__)


class Triggers:
    """Turns events into starts."""

    def __init__(
        self,
        *,
        bootstrap: str,
        topics: Topics,
        shards: int,
        log: DecisionLog,
        definitions: Definitions,
        producer: Producer,
        absent: Callable[[AnyDefinition], Sequence[str]] = lambda _: (),
    ) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._shards = shards
        self._log = log
        self._definitions = definitions
        self._producer = producer
        self._absent = absent
        self._held: dict[str, Sequence[str]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Read, start, move on; follow what is published."""
        group = f"{self._topics.prefix}.triggers"
        await listen(self._bootstrap, group, self._wanted, self._turn, stop)

    async def _wanted(self) -> frozenset[str]:
        await self._definitions.refresh(self._log)
        newest = self._definitions.all_newest()
        return frozenset(d.start.topic for d in newest if d.start.topic is not None)

    async def _turn(self, reader: GroupReader) -> None:
        self._hold()
        reader.leave_topics(self._held.keys())
        received = await reader.poll(wait_ms=WAIT_MS, limit=LIMIT)
        records = [record for event in received for record in self.starts(event)]
        await self._producer.burst(records)
        await move_past(reader, received)

    def _hold(self) -> None:
        """Find the topics whose events must wait, and for whom."""
        held: dict[str, Sequence[str]] = {}
        for definition in self._definitions.all_newest():
            missing = self._absent(definition)
            if missing and definition.start.topic is not None:
                held[definition.start.topic] = missing
        if held != self._held:
            log = logger.warning if held else logger.info
            log("starts_held" if held else "starts_go_on", topics=held)
        self._held = held

    def starts(self, event: Received) -> Iterator[Record]:
        """Turn one event into the starts it means, or into a dead letter for each refusal."""
        for definition in self._definitions.all_newest():
            if definition.start.topic != event.topic:
                continue
            try:
                begin = self._begin(definition, event)
            except NotAnEvent as error:
                yield self._bury(event, f"{definition.name}: {error}")
                continue
            if begin is not None:
                yield self._seal(begin, event)

    def _begin(self, definition: AnyDefinition, event: Received) -> Begin | None:
        body = event_body(event)
        start = definition.start
        try:
            if start.when is not None and start.when({"event": body}) is not True:
                return None
            key = f"{event.topic}-{event.partition}-{event.offset}"
            if start.key is not None:
                key = str(start.key({"event": body}))
        except EvaluationFailed as error:
            private = definition.private is not None
            raise NotAnEvent("an expression has no value" if private else str(error)) from error
        if not gids.is_start_key(key):
            raise NotAnEvent(gids.KEY_RULE)
        return Begin(definition=definition.name, key=key, input=body)

    def _seal(self, begin: Begin, event: Received) -> Record:
        traceparent = dict(event.headers).get("traceparent")
        return seal_start(
            begin,
            topics=self._topics,
            shards=self._shards,
            source=f"/kafka/{event.topic}",
            traceparent=traceparent.decode("ascii", "replace") if traceparent else None,
        )

    def _bury(self, event: Received, reason: str) -> Record:
        private = self._is_private(event.topic)
        return bury_event(event, reason, grave=self._topics.dead_letters, private=private)

    def _is_private(self, topic: str) -> bool:
        """Tell whether any definition finds something sensitive in the events of a topic."""
        newest = self._definitions.all_newest()
        return any(d.private is not None for d in newest if d.start.topic == topic)


def seal_start(
    begin: Begin, *, topics: Topics, shards: int, source: str, traceparent: str | None
) -> Record:
    """Write a start to the partition of the shard that its key belongs to."""
    return seal(
        Envelope(begin, traceparent),
        topic=topics.requests,
        source=source,
        key=begin.key,
        partition=gids.shard_of_start(begin.definition, begin.key, shards),
    )
