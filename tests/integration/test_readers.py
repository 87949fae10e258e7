"""Readers on real Kafka: what is quiet because it should be, and what only seems to be."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer

import wire.kafka
from compose.local.stack import Kafka
from wire.envelope import Record
from wire.kafka import (
    GroupReader,
    KafkaUnavailable,
    Place,
    Producer,
    ShardReader,
    committed,
    create_topics,
)

QUIET_S = 0.2


@pytest.fixture
async def place(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A partition with ten records in it, and readers of little patience."""
    monkeypatch.setattr(wire.kafka, "QUIET_S", QUIET_S)
    topic = f"readers-{time.time_ns()}"
    await create_topics(kafka.bootstrap, {topic: 1}, replication=1, config={})
    await produce(kafka, topic, 10)
    return topic, 0


async def produce(kafka: Kafka, topic: str, count: int) -> None:
    """Write records."""
    producer = Producer(kafka.bootstrap)
    await producer.start()
    await producer.burst([Record(topic, None, b"x", [], 0)] * count)
    await producer.stop()


async def poll_for_ever(reader: ShardReader) -> None:
    """Poll."""
    while True:
        await reader.poll(wait_ms=10, limit=100)


async def test_what_was_left_alone_is_no_sign_of_a_dead_reader(kafka: Kafka, place: Place) -> None:
    """A reader that was told to leave a topic is quiet for as long as it takes."""
    reader = GroupReader(kafka.bootstrap, [place[0]], group=place[0])
    await reader.start()
    try:
        until = time.monotonic() + 6 * QUIET_S
        while time.monotonic() < until:
            reader.leave_topics({place[0]})
            assert await reader.poll(wait_ms=50, limit=100) == []
        reader.leave_topics(set())
        assert len(await reader.poll(wait_ms=20_000, limit=100)) == 10
        await reader.commit({place: 7})
    finally:
        await reader.stop()
    assert await committed(kafka.bootstrap, place[0]) == {place: 7}
    assert await committed(kafka.bootstrap, f"nobody-{place[0]}") == {}


async def test_a_reader_that_gets_nothing_though_there_is_something_says_so(
    kafka: Kafka, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever uses it ends its session and connects anew."""
    reader = ShardReader(kafka.bootstrap)
    await reader.start()

    async def dead(_: object, **__: object) -> dict[object, object]:
        await asyncio.sleep(0.01)
        return {}

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", dead)
    try:
        reader.assign({place: 0})
        with pytest.raises(KafkaUnavailable, match="makes no progress"):
            await poll_for_ever(reader)
    finally:
        await reader.stop()


async def test_a_stretch_of_a_topic_is_read_and_no_more(kafka: Kafka, place: Place) -> None:
    """From an offset, or a time, to an end."""
    reader = ShardReader(kafka.bootstrap)
    await reader.start()
    try:
        assert [r.offset for r in await reader.read({place: 3}, {place: 7})] == [3, 4, 5, 6]
        assert await reader.read({place: 7}, {place: 7}) == []
        [third] = await reader.read({place: 3}, {place: 4})
        later_ms = third.timestamp_ms + 1_000
        while time.time_ns() // 1_000_000 < later_ms:
            await asyncio.sleep(0.05)
        assert await reader.since([place], later_ms) == {place: 10}
        await produce(kafka, place[0], 1)
        assert await reader.since([place], later_ms) == {place: 10}
        assert await reader.since([place], 0) == {place: 0}
        assert [r.offset for r in await reader.read({place: 10}, {place: 11})] == [10]
    finally:
        await reader.stop()


async def test_a_reader_that_is_woken_all_the_time_loses_nothing(
    kafka: Kafka, place: Place
) -> None:
    """Waking ends a poll, and takes no record away."""
    count = 2_000
    reader = ShardReader(kafka.bootstrap)
    await reader.start()
    producing = asyncio.create_task(produce_slowly(kafka, place[0], count))
    found: list[int] = []
    try:
        reader.assign({place: 10})
        while len(found) < count:
            waking = asyncio.create_task(wake_again_and_again(reader))
            found += [r.offset for r in await reader.poll(wait_ms=20_000, limit=3)]
            waking.cancel()
    finally:
        await producing
        await reader.stop()
    assert found == list(range(10, 10 + count))


async def wake_again_and_again(reader: ShardReader) -> None:
    """Wake a reader in every turn of the loop."""
    while True:
        await asyncio.sleep(0)
        reader.wake()


async def produce_slowly(kafka: Kafka, topic: str, count: int) -> None:
    """Write records one after the other."""
    async with Producer(kafka.bootstrap) as producer:
        for _ in range(count):
            await producer.hand_over([Record(topic, None, b"x", [], 0)])
            await asyncio.sleep(0)
