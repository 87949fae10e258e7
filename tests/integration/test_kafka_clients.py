"""Clients of Kafka that are closed while nothing answers them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator

import pytest

from compose.local.kafka import LocalKafka
from compose.local.proxy import FaultProxy
from compose.local.stack import Kafka
from wire.envelope import Record
from wire.kafka import GroupReader, Producer, create_topics

ENDS_S = 60.0
AT_WORK = re.compile(r"coro=<(Fetcher._fetch_requests_routine|Sender._sender_routine|GroupCoord)")


@pytest.fixture
async def proxy(kafka: Kafka) -> AsyncIterator[FaultProxy]:
    """Stand between a client and Kafka, which must be one that we have started."""
    assert isinstance(kafka, LocalKafka)
    async with await FaultProxy.start(kafka.ports.proxied, port=kafka.ports.proxy) as proxy:
        yield proxy


def at_work() -> set[asyncio.Task[object]]:
    """Find the tasks that last as long as a client, and read, send, or beat for it."""
    return {task for task in asyncio.all_tasks() if AT_WORK.search(repr(task))}


async def nobody_at_work(but: set[asyncio.Task[object]]) -> None:
    """Wait until nobody works but those who did before."""
    deadline = time.monotonic() + ENDS_S
    while left := at_work() - but:
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.2)


async def test_a_group_reader_is_gone_once_kafka_answers_again(
    kafka: Kafka, proxy: FaultProxy
) -> None:
    """It does not go on reading for nobody."""
    assert isinstance(kafka, LocalKafka)
    await create_topics(kafka.bootstrap, {"closed-reader": 2}, replication=1, config={})
    before = at_work()
    reader = GroupReader(kafka.proxied_bootstrap, ["closed-reader"], group="closed-reader")
    await reader.start()
    await reader.poll(wait_ms=1000, limit=1)
    proxy.drop()
    await reader.stop()
    proxy.reset()
    proxy.heal()

    await nobody_at_work(but=before)


async def test_a_producer_is_gone_once_kafka_answers_again(kafka: Kafka, proxy: FaultProxy) -> None:
    """What it had still to send is sent, and then it ends."""
    assert isinstance(kafka, LocalKafka)
    await create_topics(kafka.bootstrap, {"closed-producer": 1}, replication=1, config={})
    before = at_work()
    producer = Producer(kafka.proxied_bootstrap)
    await producer.start()
    await producer.burst([Record("closed-producer", b"key", b"first", [])])
    proxy.drop()
    sent = await producer.hand_over([Record("closed-producer", b"key", b"second", [])])
    await producer.stop()
    proxy.reset()
    proxy.heal()

    await asyncio.gather(*sent)
    await nobody_at_work(but=before)
