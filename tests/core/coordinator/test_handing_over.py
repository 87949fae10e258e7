"""Shards change hands: nothing is told twice, and nothing is followed that is not known."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

from coordinator.core import machine
from coordinator.core.records import Entry, decode
from coordinator.definitions import Definitions, publish
from coordinator.engine import Engine
from coordinator.log.memory import MemoryLog
from coordinator.log.store import Batch, ClusterFacts, Position, Row
from coordinator.setting import Setting
from coordinator.telemetry.watcher import Watcher
from sagas.loader import load
from sagas.model import AnyDefinition
from tests.core.coordinator.builders import GID, START_US, Story, executed, saga, step
from tests.core.sagas.definitions import SAGA
from wire.envelope import Record
from wire.kafka import Place, Received
from wire.topics import Topics

FACTS = ClusterFacts("test", 1, 1)


class Still:
    """A clock that stands."""

    def now_us(self) -> int:
        return START_US


class Hesitating:
    """A producer whose records all arrive, and count as arrived when the test says so."""

    def __init__(self) -> None:
        self.sent: list[Record] = []
        self._unacknowledged: list[asyncio.Future[Any]] = []

    async def hand_over(self, records: Sequence[Record]) -> list[asyncio.Future[Any]]:
        self.sent += records
        futures = [asyncio.get_running_loop().create_future() for _ in records]
        self._unacknowledged += futures
        return futures

    async def burst(self, records: Sequence[Record]) -> None:
        assert not records

    def acknowledge(self) -> None:
        """Have everything arrive."""
        for future in self._unacknowledged:
            future.set_result(None)


class Silent:
    """A reader of empty topics."""

    async def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        return dict.fromkeys(places, 0)

    beginnings = ends

    def assign(self, offsets: Mapping[Place, int]) -> None:
        """Read nothing."""

    def leave(self, places: Iterable[Place]) -> None:
        """Read still less."""

    def wake(self) -> None:
        """Go on waiting."""

    async def poll(self, *, wait_ms: int, limit: int) -> list[Received]:
        del limit
        await asyncio.sleep(wait_ms / 1000)
        return []


class Overtaken(MemoryLog):
    """A log in which somebody faster publishes a definition, and begins what follows it.

    That is before the unfinished is read, and after everything that was read earlier.
    """

    faster: AnyDefinition

    async def active(self, shards: Collection[int]) -> Sequence[Entry]:
        await publish(self, self.faster)
        return await super().active(shards)


def engine_of(
    log: MemoryLog, definitions: Definitions, producer: Hesitating, reader: Silent | None = None
) -> Engine:
    """Make an engine, by default one that reads nothing."""
    return Engine(
        setting=Setting(FACTS, Topics("test"), definitions, lambda: False),
        log=log,
        producer=cast("Any", producer),
        reader=cast("Any", reader or Silent()),
        clock=Still(),
        watcher=Watcher(),
    )


async def log_of(
    story: Story, make: type[MemoryLog] = MemoryLog
) -> tuple[MemoryLog, list[Position]]:
    """Return a log that holds the story, and its shard, claimed."""
    log = make(FACTS, lambda: START_US)
    position = list(await log.claim("r", [0], 1_000_000))
    begun, summary = story.state.begun, machine.summary(story.state)
    row = Row(
        GID, 0, begun.name, begun.definition, begun.key, "", START_US, summary.status,
        summary.outcome, summary.active,
    )  # fmt: skip
    entries = [
        (0, Entry(GID, seq, at_us, decode(text))) for seq, (at_us, text) in enumerate(story.log)
    ]
    await log.persist(Batch(position, [row], entries, []))
    return log, position


async def test_what_was_told_just_before_shards_are_given_back_is_noted() -> None:
    """Else the next owner tells it once more, and an audit in between finds it overdue."""
    story = Story.begin(saga(step("reserve")))
    story.hear(executed("reserve"))
    log, position = await log_of(story)
    definitions = Definitions()
    definitions.add(story.definition)
    producer, stop = Hesitating(), asyncio.Event()
    engine = engine_of(log, definitions, producer)
    running = asyncio.create_task(engine.run(stop))
    await engine.take(position)
    while not producer.sent:
        assert not running.done(), running
        await asyncio.sleep(0.001)

    giving = asyncio.create_task(engine.give([0]))
    await asyncio.sleep(0.2)
    assert log.rows[GID].active
    producer.acknowledge()
    await giving

    assert not log.rows[GID].active
    assert [record.topic for record in producer.sent] == ["test.outcomes"]
    stop.set()
    await running


async def test_a_definition_that_is_published_while_shards_are_taken_is_known() -> None:
    """What follows it may be begun meanwhile, by somebody who has the shards by then."""
    definition = load(SAGA, "visit.yaml")
    log, position = await log_of(Story.begin(definition, guest="ada"), Overtaken)
    assert isinstance(log, Overtaken)
    log.faster = definition
    producer, stop = Hesitating(), asyncio.Event()
    engine = engine_of(log, Definitions(), producer)
    running = asyncio.create_task(engine.run(stop))

    await engine.take(position)

    while not producer.sent:
        assert not running.done(), running
        await asyncio.sleep(0.001)
    assert [record.topic for record in producer.sent] == ["seats.commands"]
    producer.acknowledge()
    stop.set()
    await running
