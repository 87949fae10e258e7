"""Topics that do not hold what the log says is next."""

from __future__ import annotations

import asyncio
import json

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient

from compose.local.stack import Kafka, Postgres
from tests.integration.cli.shell import SHARDS, Shell, lines_until
from wire.kafka import create_topics


async def recreate(kafka: Kafka, topic: str) -> None:
    """Delete a topic with all that is in it, and make it anew."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
        while topic in await admin.list_topics():
            await asyncio.sleep(0.1)
    finally:
        await admin.close()
    await create_topics(kafka.bootstrap, {topic: SHARDS}, replication=1, config={})


async def shards_of(shell: Shell) -> list[int]:
    """Name the shards that somebody has."""
    seen = await shell.json("nodes")
    return sorted(shard for one in seen["coordinators"] for shard in one["shards"])


async def test_a_shard_waits_until_a_person_gives_up_what_is_lost(
    running: Shell, postgres: Postgres, prefix: str
) -> None:
    """The replies of one shard are gone; the other shard is not disturbed."""
    assert (await running.run("offsets")).code == 0
    connection = await asyncpg.connect(postgres.dsn(prefix))
    await connection.execute("UPDATE twofold.shard SET replies_offset = 99999 WHERE id = 1")
    # Ownership changes, and whoever comes next looks at what the topics hold.
    second = await running.start("serve", "--definitions", str(running.directory))
    said = await lines_until(second, "offset_lost")
    assert json.loads(said[-1])["next"] == 99_999
    keys = [f"other-{n}" for n in range(8)]
    ended = await asyncio.gather(*(running.errand(key, "well", "--wait") for key in keys))
    assert 0 in {done.code for done in ended}

    looked = await running.run("offsets", "-o", "json")
    lost = [one for one in json.loads(looked.out) if one["state"] == "lost"]
    assert looked.code == 1
    assert [(one["topic"], one["shard"], one["next"]) for one in lost] == [
        (f"{prefix}.replies", 1, 99_999)
    ]
    assert await shards_of(running) == [0]

    assert (await running.run("offsets", "--reset")).code == 2
    done = await running.run("offsets", "--reset", "--reason", "a test", "--actor", "ann")
    assert done.code == 0, done
    assert "moved to 0" in done.out
    while await shards_of(running) != [0, 1]:
        await asyncio.sleep(0.5)
    for key in keys:
        assert (await running.errand(key, "well", "--wait")).code == 0
    [row] = await connection.fetch("SELECT * FROM twofold.moved_offset")
    assert (row["actor"], row["reason"], row["from_offset"]) == ("ann", "a test", 99_999)
    await connection.close()
    second.terminate()
    assert (await running.end(second)).code == 0


async def test_a_topic_that_was_recreated_stops_its_shards_until_a_person_says(
    ready: Shell, running: Shell, kafka: Kafka, prefix: str
) -> None:
    """All of it is gone; what was begun goes on, and new starts are taken."""
    await running.errand("before", "well", "--wait")
    await running.errand("silent", "silent")
    await recreate(kafka, f"{prefix}.replies")

    while (await running.run("offsets")).code != 1:
        await asyncio.sleep(0.5)
    while (done := await running.run("offsets", "--reset", "--reason", "recreated")).code:
        await asyncio.sleep(0.5)
    assert "moved to 0" in done.out

    while await shards_of(ready) != [0, 1]:
        await asyncio.sleep(0.5)
    assert (await running.errand("after", "well", "--wait")).code == 0
    assert (await running.json("show", "errand", "silent"))["status"] != "ended"
