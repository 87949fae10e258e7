"""Transactions that wait for long leave memory, and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from msgspec import structs

from coordinator.core.events import Letter
from coordinator.core.machine import SLEEP_US
from coordinator.core.records import AnyRecord, Entry, Outcome, StepDone
from coordinator.definitions import Definitions
from coordinator.engine import AHEAD_US, LOOK_US, Engine
from coordinator.letterbox import deliver
from coordinator.log.memory import MemoryLog
from coordinator.log.store import ClusterFacts, LogUnavailable, Place
from coordinator.setting import Setting
from coordinator.telemetry.watcher import Watcher
from sagas.model import AnyDefinition, Retry
from tests.core.coordinator.builders import (
    NO_START,
    SECOND,
    START_US,
    compensated,
    executed,
    saga,
    step,
    waiting,
)
from wire.envelope import Envelope, Record, seal, unseal
from wire.kafka import Place as Partition
from wire.kafka import Received
from wire.messages import (
    Action,
    AnyMessage,
    Arrived,
    Begin,
    Compensated,
    Execute,
    Executed,
    Json,
    Order,
    Result,
)
from wire.topics import Topics

FACTS, TOPICS = ClusterFacts("test", 1, 1), Topics("test")
HOUR_S = 3600
REST = replace(NO_START, delay_us=HOUR_S * SECOND)
LATER = replace(saga(step("a"), deadline_s=9), start=REST)


@dataclass
class Time:
    """A clock that moves when told to."""

    us: int = START_US

    def now_us(self) -> int:
        return self.us


@dataclass
class Kafka:
    """A producer and a reader, of which nothing is lost."""

    sent: list[Record] = field(default_factory=list[Record])
    coming: list[Received] = field(default_factory=list[Received])
    read: dict[str, int] = field(default_factory=dict[str, int])

    def say(self, message: AnyMessage, topic: str = TOPICS.replies) -> None:
        """Let a message come."""
        sealed = seal(Envelope(message), topic=topic, source="/test", key="k")
        offset = self.read[topic] = self.read.get(topic, -1) + 1
        self.coming.append(Received(topic, 0, offset, sealed.key, sealed.value, sealed.headers, 0))

    async def burst(self, records: list[Record]) -> None:
        self.sent += records

    async def hand_over(self, records: list[Record]) -> list[asyncio.Future[Any]]:
        self.sent += records
        done: list[asyncio.Future[Any]] = []
        for _ in records:
            done.append(asyncio.get_running_loop().create_future())
            done[-1].set_result(None)
        return done

    async def ends(self, places: Any) -> dict[Partition, int]:
        return {place: self.read.get(place[0], -1) + 1 for place in places}

    async def beginnings(self, places: Any) -> dict[Partition, int]:
        return dict.fromkeys(places, 0)

    def assign(self, offsets: dict[Partition, int]) -> None:
        del offsets

    def leave(self, places: Any) -> None:
        assert not list(places)

    def wake(self) -> None: ...

    async def poll(self, *, wait_ms: int, limit: int) -> list[Received]:
        del wait_ms, limit
        await asyncio.sleep(0)
        came, self.coming = self.coming, []
        return came

    @property
    def messages(self) -> list[AnyMessage]:
        return [unseal(one.headers, one.value).message for one in self.sent]


@dataclass
class World:
    """A log, a clock, and one engine after the other."""

    definition: AnyDefinition
    time: Time = field(default_factory=Time)
    kafka: Kafka = field(default_factory=Kafka)

    def __post_init__(self) -> None:
        self.log = MemoryLog(FACTS, self.time.now_us)
        self.definitions = Definitions()
        self.definitions.add(self.definition)

    @asynccontextmanager
    async def owner(self) -> AsyncGenerator[Engine]:
        """Own the shard for a while."""
        engine = Engine(
            setting=Setting(FACTS, TOPICS, self.definitions, lambda: False),
            log=self.log,
            producer=cast("Any", self.kafka),
            reader=cast("Any", self.kafka),
            clock=cast("Any", self.time),
            watcher=Watcher(),
        )
        stop = asyncio.Event()
        running = asyncio.create_task(engine.run(stop))
        await engine.take(await self.log.claim("r", [0], 1))
        yield engine
        stop.set()
        await running

    async def settle(self, engine: Engine) -> None:
        """Let it do whatever it now has to do."""
        for _ in range(12):
            turns = engine.turns
            while engine.turns == turns:
                await asyncio.sleep(0)

    async def deliver(self, letter: Letter) -> None:
        """Put a letter into the box, and tell who waits for it."""
        for record in await deliver(self.log, [letter], TOPICS):
            self.kafka.say(unseal(record.headers, record.value).message)

    def records(self, gid: str) -> list[AnyRecord]:
        """Return what the log has of one."""
        return [entry.record for entry in self.log.entries(gid)]

    async def begin(self, engine: Engine, **given: Json) -> str:
        """Start one."""
        begin = Begin(definition=self.definition.name, key="k", input=given)
        self.kafka.say(begin, TOPICS.requests)
        await self.settle(engine)
        return next(iter(self.log.rows))


def of(gid: str, reply: Executed | Compensated) -> AnyMessage:
    """Say it of this transaction."""
    return structs.replace(reply, gid=gid)


async def test_who_rests_for_long_is_in_nobodys_memory_until_its_time_is_near() -> None:
    """Not in that of the next owner either; then it does as if it had been there all the time."""
    world = World(LATER)
    async with world.owner() as engine:
        gid = await world.begin(engine)
        assert engine.active == 0
        row = world.log.rows[gid]
        assert (row.active, row.wake_at_us) == (False, START_US + HOUR_S * SECOND)
    async with world.owner() as engine:
        await world.settle(engine)
        assert engine.active == 0
        world.time.us = START_US + HOUR_S * SECOND - AHEAD_US
        await world.settle(engine)
        assert engine.active == 1
        assert world.log.rows[gid].active
        assert not world.kafka.sent
        world.time.us = START_US + HOUR_S * SECOND
        await world.settle(engine)
        assert [type(one) for one in world.kafka.messages] == [Execute]


async def test_a_start_that_comes_again_while_it_sleeps_begins_nothing() -> None:
    world = World(LATER)
    async with world.owner() as engine:
        await world.begin(engine)
        begin = Begin(definition=LATER.name, key="k", input={})
        world.kafka.say(begin, TOPICS.requests)
        world.kafka.say(begin, TOPICS.requests)
        await world.settle(engine)

        assert len(world.log.rows) == 1
        assert not world.kafka.sent


async def test_an_order_wakes_it() -> None:
    """What a person ends is told, which it would not be if it were taken for told."""
    world = World(LATER)
    async with world.owner() as engine:
        gid = await world.begin(engine)
        order = Order(gid=gid, id="o-1", action=Action.ABORT, actor="ann", reason="not wanted")
        world.kafka.say(order)
        await world.settle(engine)
        assert engine.active == 1

        world.kafka.say(of(gid, compensated("a")))
        await world.settle(engine)

    assert world.log.rows[gid].outcome is Outcome.COMPENSATED
    assert any(one.topic == TOPICS.outcomes for one in world.kafka.sent)


async def test_a_late_answer_wakes_it() -> None:
    """It was to be asked again in an hour; what its participant says now counts all the same."""
    retry = Retry(attempts=5, first_us=HOUR_S * SECOND, factor=1, max_us=HOUR_S * SECOND)
    once = replace(step("a"), retry=retry)
    world = World(replace(saga(once), deadline_us=99 * HOUR_S * SECOND))
    async with world.owner() as engine:
        gid = await world.begin(engine)
        assert engine.active == 1
        world.kafka.say(of(gid, executed("a", Result.FAILED)))
        await world.settle(engine)
        pause_us = (world.log.rows[gid].wake_at_us or 0) - START_US
        assert pause_us > SLEEP_US
        assert engine.active == 0

        world.kafka.say(of(gid, executed("a")))
        await world.settle(engine)

    assert StepDone(step="a", attempt=1) in [entry.record for entry in world.log.entries(gid)]
    assert world.log.rows[gid].outcome is Outcome.COMMITTED


async def test_who_is_woken_for_nothing_sleeps_on() -> None:
    """An answer that means nothing changes nothing, and costs no memory."""
    world = World(LATER)
    async with world.owner() as engine:
        gid = await world.begin(engine)
        before = world.log.rows[gid]
        world.kafka.say(of(gid, executed("nobody")))
        await world.settle(engine)

        assert engine.active == 0
        assert world.log.rows[gid] == before


async def test_it_looks_now_and_then_only() -> None:
    """A question to the log for each turn would be many."""
    asked: list[int] = []

    class Counting(MemoryLog):
        async def waking(
            self, shards: Collection[int], until_us: int, limit: int
        ) -> Sequence[Entry]:
            asked.append(until_us)
            return await super().waking(shards, until_us, limit)

    world = World(LATER)
    world.log = Counting(FACTS, world.time.now_us)
    async with world.owner() as engine:
        await world.settle(engine)
        assert len(asked) == 1
        world.time.us += LOOK_US
        await world.settle(engine)
        assert len(asked) == 2


async def _begin_and_die(world: World, log: MemoryLog) -> None:
    async with world.owner():
        begin = Begin(definition=PAID.name, key="k", input={"id": "7"})
        world.kafka.say(begin, TOPICS.requests)
        while not log.rows:
            await asyncio.sleep(0)


# ── who waits for an event ───────────────────────────────────────────────────

PAID = saga(waiting("paid"), step("ship", "paid"))
LETTER = Letter("news", 'event.of = "7"', 0, 0, START_US, {"sum": 3})


async def test_who_waits_sleeps_until_a_letter_is_there() -> None:
    world = World(PAID)
    async with world.owner() as engine:
        gid = await world.begin(engine, id="7")
        assert engine.active == 0

        await world.deliver(LETTER)
        await world.settle(engine)

    assert [type(one) for one in world.kafka.messages] == [Execute]
    assert StepDone(step="paid", attempt=1, data={"sum": 3}) in world.records(gid)
    assert not await world.log.waiting([(LETTER.topic, LETTER.key)])


async def test_a_letter_that_was_there_first_is_found() -> None:
    world = World(PAID)
    await world.deliver(LETTER)
    async with world.owner() as engine:
        await world.begin(engine, id="7")

    assert [type(one) for one in world.kafka.messages] == [Execute]


async def test_a_letter_that_comes_between_wait_and_sleep_is_found() -> None:
    """Whoever was to look died after the wait was written: nobody is told by the letter box."""

    class Deaf(MemoryLog):
        """A store that is lost whenever somebody looks into its box, as long as it is deaf."""

        deaf = True

        async def letters(self, places: Collection[Place]) -> Mapping[Place, Sequence[Letter]]:
            if self.deaf:
                raise LogUnavailable("by a test")
            return await super().letters(places)

    world, log = World(PAID), Deaf(FACTS, lambda: START_US)
    world.log = log
    with pytest.raises(LogUnavailable):
        await _begin_and_die(world, log)
    [row] = log.rows.values()
    assert row.active
    await world.deliver(LETTER)
    world.kafka.coming.clear()  # nobody was told, as if the letter had come before the wait
    log.deaf = False
    async with world.owner() as engine:
        await world.settle(engine)

    assert [type(one) for one in world.kafka.messages] == [Execute]


async def test_a_letter_for_another_wakes_nobody_for_long() -> None:
    world = World(PAID)
    async with world.owner() as engine:
        gid = await world.begin(engine, id="7")
        knock = Arrived(gid=gid, step="paid", topic="news", key="event.of = 8", place="news/0/1")
        world.kafka.say(knock)
        await world.settle(engine)

        assert engine.active == 0
    assert not world.kafka.sent
