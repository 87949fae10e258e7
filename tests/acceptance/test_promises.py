"""What a user is promised, seen from outside: topics, databases, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path
from typing import Any

import asyncpg

from tests.acceptance.company import Company, order, transfer
from wire.envelope import Record
from wire.kafka import Producer, Received, ShardReader, partition_counts
from wire.topics import Topics

TOPICS = Topics()


async def start_all(company: Company, coordinators: int = 1) -> None:
    """Start the services, and so many coordinators."""
    cluster = company.cluster
    await asyncio.to_thread(cluster.launch_participants, "services")
    for n in range(coordinators):
        await asyncio.to_thread(cluster.launch_coordinator, f"coordinator-{n}")
    await asyncio.to_thread(cluster.await_ready)


async def rows(company: Company, query: str, *args: Any) -> list[Any]:
    """Ask the decision log's database."""
    connection = await asyncpg.connect(company.stack.postgres.dsn("twofold"))
    try:
        return await connection.fetch(query, *args)
    finally:
        await connection.close()


async def test_the_same_key_is_the_same_transaction(company: Company) -> None:
    """Published three times, an order is delivered once."""
    await start_all(company)
    event = order("same", 2)
    for _ in range(3):
        await company.orders.publish(company.client, [event])

    await company.expect_all_well()
    found = await rows(
        company, "SELECT gid FROM twofold.transaction WHERE start_key = $1", event["order_id"]
    )
    assert len(found) == 1


async def test_the_same_key_with_another_input_is_refused_visibly(company: Company) -> None:
    """Whoever asked sees on the outcomes topic that it was refused, and why."""
    await start_all(company)
    event = order("other", 2)
    places = await company.orders.publish(company.client, [event])
    await company.client.hear(places, seconds=30)
    await company.client.publish("orders.placed", [{**event, "quantity": 99}], key="order_id")

    deadline = time.monotonic() + 20
    while not company.client.refusals and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    first, second = company.client.outcomes[places[0]], company.client.refusals.pop()

    assert first.outcome == "COMMITTED"
    assert first.gid in second.reason


async def test_poison_blocks_nobody(company: Company) -> None:
    """What cannot be read is found among the dead letters with its reason; the rest goes on."""
    await start_all(company)
    poison = [
        Record("orders.placed", b"x", b"not json", []),
        Record("orders.placed", b"x", None, []),
        Record("orders.placed", b"x", b"[1]", []),
        Record("orders.placed", b"x", b'{"quantity": "many"}', []),
        *(Record(TOPICS.requests, b"x", b"{}", [], partition) for partition in range(8)),
        *(
            Record(TOPICS.replies, b"x", b"\xff", [("ce_type", b"twofold.voted.v1")], partition)
            for partition in range(8)
        ),
        Record(TOPICS.replies, b"x", b"{}", [("ce_type", b"twofold.surprise.v9")], 0),
        Record("stock.commands", b"x", b"{}", [("ce_type", b"twofold.execute.v1")]),
        Record("bank-a.commands", b"x", b"0" * 900_000, [("ce_type", b"twofold.prepare.v1")]),
    ]
    producer = Producer(company.stack.kafka.bootstrap)
    await producer.start()
    graves = await dead_letters(company)
    before = len(await graves())
    await producer.burst(poison)
    await producer.stop()
    await company.publish("poisoned", 5)

    await company.expect_all_well()
    deadline = time.monotonic() + 20
    while len(letters := await graves()) < before + len(poison) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    reasons = [dict(letter.headers)["twofold-reason"].decode() for letter in letters]
    assert len(letters) - before == len(poison), reasons


async def dead_letters(company: Company) -> Any:
    """Return a function that reads all dead letters there are."""
    bootstrap = company.stack.kafka.bootstrap
    count = (await partition_counts(bootstrap, [TOPICS.dead_letters]))[TOPICS.dead_letters]
    places = [(TOPICS.dead_letters, partition) for partition in range(count)]

    async def read() -> list[Received]:
        reader = ShardReader(bootstrap)
        await reader.start()
        reader.assign(dict.fromkeys(places, 0))
        found: list[Received] = []
        while more := await reader.poll(wait_ms=500, limit=500):
            found += more
        await reader.stop()
        return found

    return read


async def test_a_vote_timeout_counts_through_a_restart(company: Company) -> None:
    """Nobody votes, the coordinator is killed; its heir aborts at the deadline."""
    cluster = company.cluster
    await asyncio.to_thread(cluster.start_coordinator, "doomed")
    places = await company.transfers.publish(company.client, [transfer("silent", 1)])
    await asyncio.sleep(1)
    await asyncio.to_thread(cluster.kill, "doomed")
    await asyncio.to_thread(cluster.start_coordinator, "heir")

    assert await company.client.hear(places, seconds=20) == []
    outcome = company.client.outcomes[places[0]]
    assert outcome.outcome == "ABORTED"
    assert "no vote in time" in outcome.reason
    # The participants come back, read the old prepare, and must not do it.
    await asyncio.to_thread(cluster.start_participants, "services")
    await company.expect_all_well()


async def test_replicas_share_the_shards_and_hand_them_over(company: Company) -> None:
    """Two replicas own half each; one that is asked to stop gives its shards back at once."""
    await start_all(company, coordinators=2)
    owners = "SELECT owner, count(*) FROM twofold.lease WHERE until > now() GROUP BY owner"

    deadline = time.monotonic() + 20
    while sorted(r[1] for r in await rows(company, owners)) != [4, 4]:
        assert time.monotonic() < deadline, await rows(company, owners)
        await asyncio.sleep(0.2)
    await company.publish("shared", 10)
    began = time.monotonic()
    await asyncio.to_thread(company.cluster.stop_one, "coordinator-0")
    while [r[1] for r in await rows(company, owners)] != [8]:
        assert time.monotonic() < deadline, await rows(company, owners)
        await asyncio.sleep(0.02)
    handover_s = time.monotonic() - began

    await company.expect_all_well()
    # A lease lasts three seconds: it was not waited for.
    assert handover_s < 3


BEGUN_BY_VERSION = """
    SELECT (l.record->>'version')::int AS version, l.record->>'definition' = t.definition AS so,
           t.status = 'ended' AS ended, count(*)
      FROM twofold.transaction t JOIN twofold.decision_log l ON l.gid = t.gid AND l.seq = 0
     WHERE t.name = 'place-order' AND t.start_key LIKE '%rolling-%'
     GROUP BY 1, 2, 3
"""


async def test_a_rolling_upgrade_under_load_loses_nothing(company: Company, tmp_path: Path) -> None:
    """Each replica in turn comes back with a newer version; what runs follows its own to its end.

    Some begin while no service answers: they are open throughout.
    """
    await start_all(company, coordinators=2)
    cluster, stop = company.cluster, asyncio.Event()

    async def load() -> None:
        for n in itertools.takewhile(lambda _: not stop.is_set(), itertools.count()):
            await company.publish(f"rolling-{n}", 5)
            await asyncio.sleep(0.2)

    loading = asyncio.create_task(load())
    await asyncio.sleep(1)
    await asyncio.to_thread(cluster.stop_one, "services")
    await asyncio.sleep(1)
    newer = tmp_path / "place-order.yaml"
    [old] = [path for path in cluster.definitions if path.name == newer.name]
    text = old.read_text(encoding="utf-8")
    newer.write_text(text.replace("version: 1", "version: 2"), encoding="utf-8")
    cluster.definitions = [newer if path is old else path for path in cluster.definitions]
    for name in ("coordinator-0", "coordinator-1"):
        await asyncio.to_thread(cluster.stop_one, name)
        await asyncio.to_thread(cluster.start_coordinator, name)
    await asyncio.to_thread(cluster.start_participants, "services")
    await asyncio.sleep(1)
    stop.set()
    await loading

    await company.expect_all_well()
    found = {(r["version"], r["so"], r["ended"]) for r in await rows(company, BEGUN_BY_VERSION)}
    assert found == {(1, True, True), (2, True, True)}
