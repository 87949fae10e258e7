"""Events and people on real Kafka and Postgres: first, later, and while nobody lives."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from tests.acceptance.company import Company
from tests.acceptance.test_promises import rows, start_all
from wire.kafka import create_topics

TOPIC: Final = "acceptance.payments"
DEFINITION: Final = f"""\
saga: visit-when-paid
version: 1
deadline: 2h
steps:
  enter:
    call: counter-a.add
    with: {{name: paid, by: 1}}
    undo: counter-a.subtract
  paid:
    wait: {{topic: {TOPIC}, match: event.visit == input.id && event.sum > 0}}
  review:
    approve: {{roles: [clerk]}}
  leave:
    call: counter-c.add
    with: {{name: paid, by: "${{ steps.paid.sum }}"}}
    pivot: true
"""


async def begin(company: Company, key: str) -> None:
    """Start one of the visits."""
    given = json.dumps({"id": key})
    said = ("--key", key, "--input", given)
    await asyncio.to_thread(company.cluster.run, "start", "start", "visit-when-paid", *said)


async def pay(company: Company, key: str, amount: int) -> None:
    """Publish what a visit waits for, after something that does not match."""
    events = [{"visit": key, "sum": 0}, {"visit": key, "sum": amount}]
    await company.client.publish(TOPIC, events, key="visit")


async def visits(company: Company, database: str) -> int:
    """Read the counter in one of its databases."""
    connection: Any = await asyncpg.connect(company.stack.postgres.dsn(database))
    try:
        return await connection.fetchval("SELECT value FROM counter WHERE name = 'paid'") or 0
    finally:
        await connection.close()


async def until(company: Company, query: str, count: int) -> None:
    """Wait until so many rows are there."""
    deadline = time.monotonic() + 60
    while len(found := await rows(company, query)) < count:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


async def test_an_event_is_found_whenever_it_comes(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its saga begins; after; and after the owner was killed, while there is no other."""
    cluster, file = company.cluster, tmp_path / "visit-when-paid.yaml"
    file.write_text(DEFINITION)
    monkeypatch.setattr(cluster, "definitions", [*cluster.definitions, file])
    kafka = company.stack.kafka.bootstrap
    await create_topics(kafka, {TOPIC: 2}, replication=1, config={})
    await start_all(company)
    await pay(company, "first", 10)
    await until(company, "SELECT FROM twofold.letter", 2)
    await begin(company, "first")
    await begin(company, "later")
    await begin(company, "orphan")
    await until(company, "SELECT FROM twofold.waiting", 2)
    await pay(company, "later", 100)
    asleep = "SELECT gid FROM twofold.transaction WHERE NOT active AND wake_at IS NOT NULL"
    await until(company, asleep, 3)
    await asyncio.to_thread(cluster.kill, "coordinator-0")
    await pay(company, "orphan", 1000)
    await asyncio.to_thread(cluster.launch_coordinator, "heir")

    await until(company, "SELECT FROM twofold.decision_log WHERE kind = 'wait-began'", 6)
    assert not await rows(company, "SELECT FROM twofold.waiting")
    for [gid] in await rows(company, asleep):
        said = ("--role", "clerk", "--reason", "in order")
        await asyncio.to_thread(cluster.run, "approve", "approve", gid, "review", *said)

    places = [("visit-when-paid", key) for key in ("first", "later", "orphan")]
    assert await company.client.hear(places, seconds=60) == []
    assert {company.client.outcomes[place].outcome for place in places} == {"COMMITTED"}
    assert await visits(company, "counter_a") == 3
    assert await visits(company, "counter_c") == 1110
