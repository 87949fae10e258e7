"""The clock's starts: none is lost, and what is sent twice is one start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from coordinator.definitions import Definitions
from coordinator.log.schedules import Timetable
from coordinator.log.store import ClusterFacts
from coordinator.schedules import MOST_MISSED, Schedules
from sagas.loader import load
from sagas.model import AnyDefinition
from wire.envelope import Record
from wire.kafka import KafkaUnavailable
from wire.topics import Topics

SECOND = 1_000_000
FACTS = ClusterFacts("test", 8, 1)


def definition(version: int = 1, start: str = "{every: 10s}") -> AnyDefinition:
    return load(
        f"saga: tidy\nversion: {version}\nstart: {start}\n"
        "steps:\n  sweep: {call: rooms.sweep, pivot: true}\n",
        "x.yaml",
    )


@dataclass
class Clock:
    """The log, as far as the clock's starts need it. Each definition has its time of birth."""

    born_us: Mapping[str, int]
    now_us: int = 0
    done_us: dict[str, int] = field(default_factory=dict[str, int])

    async def timetable(self, hashes: Sequence[str]) -> Timetable:
        (birth_us,) = (self.born_us[one] for one in hashes)
        return Timetable(self.now_us, {"tidy": max(birth_us, self.done_us.get("tidy", 0))})

    async def advance(self, name: str, until_us: int) -> None:
        self.done_us[name] = max(self.done_us.get(name, 0), until_us)


@dataclass
class Kafka:
    """Where starts go, unless it is away."""

    away: bool = False
    keys: list[str] = field(default_factory=list[str])

    async def burst(self, records: Iterable[Record]) -> None:
        if self.away:
            raise KafkaUnavailable("away")
        for record in records:
            body = msgspec.json.decode(record.value or b"")
            assert body["input"] == {"due": body["key"]}
            self.keys.append(body["key"][-6:-1])


def schedules(
    clock: Clock, kafka: Kafka, *known: AnyDefinition, absent: Sequence[str] = ()
) -> Schedules:
    definitions = Definitions()
    for one in known:
        definitions.add(one)
    return Schedules(
        facts=FACTS,
        topics=Topics("twofold"),
        log=cast("Any", clock),
        definitions=definitions,
        producer=cast("Any", kafka),
        absent=lambda _: absent,
    )


def born(*known: AnyDefinition) -> Clock:
    """Each was published 15 s after the one before, the first at 5 s."""
    return Clock({one.hash: (5 + 15 * n) * SECOND for n, one in enumerate(known)})


def look(them: Schedules, clock: Clock, at_s: int) -> None:
    clock.now_us = at_s * SECOND
    asyncio.run(them.turn())


def test_each_time_is_started_once_by_one_process() -> None:
    tidy, kafka = definition(), Kafka()
    clock = born(tidy)
    them = schedules(clock, kafka, tidy)
    for at_s in (9, 10, 11, 19, 31):
        look(them, clock, at_s)
    assert kafka.keys == ["00:10", "00:20", "00:30"]


def test_what_was_due_before_it_was_published_is_nobodys() -> None:
    tidy, kafka = definition(), Kafka()
    clock = Clock({tidy.hash: 25 * SECOND})
    look(schedules(clock, kafka, tidy), clock, 31)
    assert kafka.keys == ["00:30"]


def test_what_kafka_has_not_taken_is_sent_again() -> None:
    """By whoever looks next."""
    tidy, kafka = definition(), Kafka(away=True)
    clock = born(tidy)
    with pytest.raises(KafkaUnavailable):
        look(schedules(clock, kafka, tidy), clock, 12)
    kafka.away = False
    look(schedules(clock, kafka, tidy), clock, 21)
    assert kafka.keys == ["00:10", "00:20"]


def test_of_many_that_were_missed_the_last_are_started() -> None:
    tidy, kafka = definition(), Kafka()
    clock = born(tidy)
    look(schedules(clock, kafka, tidy), clock, 86_400)
    assert len(kafka.keys) == MOST_MISSED
    assert kafka.keys[-1] == "00:00"
    look(schedules(clock, kafka, tidy), clock, 86_401)
    assert len(kafka.keys) == MOST_MISSED


def test_a_new_version_goes_on_where_the_old_one_was() -> None:
    """What was due before it was published, and not started, is started by it."""
    old, new, kafka = definition(), definition(2), Kafka()
    clock = born(old, new)
    look(schedules(clock, kafka, old, new), clock, 25)
    assert kafka.keys == ["00:10", "00:20"]


def test_a_break_in_the_schedule_is_not_made_up_for() -> None:
    """The second version had none: the third counts from its own publication, at 35 s."""
    known = (definition(), definition(2, "{}"), definition(3))
    clock, kafka = born(*known), Kafka()
    look(schedules(clock, kafka, *known), clock, 45)
    assert kafka.keys == ["00:40"]


def test_what_lacks_a_participant_waits_and_is_made_up_for() -> None:
    tidy, kafka = definition(), Kafka()
    clock = born(tidy)
    look(schedules(clock, kafka, tidy, absent=["rooms"]), clock, 21)
    assert kafka.keys == []
    look(schedules(clock, kafka, tidy), clock, 22)
    assert kafka.keys == ["00:10", "00:20"]


def test_one_store_alone_keeps_a_definitions_time() -> None:
    """Otherwise each would start it, with a mark of its own."""
    tidy, kafka = definition(), Kafka()
    clock = born(tidy)
    for store in range(3):
        them = schedules(clock, kafka, tidy)
        them._facts = FACTS._replace(store=store, stores=3)  # pyright: ignore[reportPrivateUsage]
        look(them, clock, 10)
        clock.done_us.clear()
    assert kafka.keys == ["00:10"]
