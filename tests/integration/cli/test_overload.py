"""More starts than a shard may have at once: they wait, nothing is dropped, orders get through."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from compose.local.stack import Kafka, Postgres
from coordinator.triggers import seal_start
from tests.integration.cli.shell import DEFINITION, Shell, lines_until, play_the_clerk
from wire.kafka import Producer
from wire.messages import Begin
from wire.topics import Topics

SHARDS = 2
LIMIT = 20
STARTS = 500
A_TURN = 128


async def test_what_is_too_much_waits_and_a_person_can_still_order(
    tmp_path: Path, kafka: Kafka, postgres: Postgres
) -> None:
    """Whoever is served by the same shards goes on as others end."""
    postgres.create_database("overload")
    (tmp_path / "errand.yaml").write_text(DEFINITION)
    shell = Shell(
        tmp_path,
        {
            "TWOFOLD_KAFKA__BOOTSTRAP": kafka.bootstrap,
            "TWOFOLD_KAFKA__PREFIX": "overload",
            "TWOFOLD_LOG__DSN": postgres.dsn("overload"),
            "TWOFOLD_LOG__SHARDS": str(SHARDS),
            "TWOFOLD_LOG__ACTIVE": str(LIMIT),
        },
    )
    assert (await shell.run("migrate")).code == 0
    assert (await shell.run("topics", "--definitions", str(tmp_path))).code == 0
    coordinator = await shell.start("serve", "--definitions", str(tmp_path))
    clerk = asyncio.create_task(play_the_clerk(kafka.bootstrap, "overload"))
    try:
        await lines_until(coordinator, "shards_taken")
        await start_many(kafka)
        first = await open_ones(shell)
        assert SHARDS * LIMIT <= len(first) <= SHARDS * (LIMIT + A_TURN)
        began = await abort_until_all_have_begun(shell)
        assert len(began) == STARTS
    finally:
        clerk.cancel()
        await asyncio.gather(clerk, return_exceptions=True)
        coordinator.send_signal(signal.SIGTERM)
        await shell.end(coordinator)


async def start_many(kafka: Kafka) -> None:
    producer = Producer(kafka.bootstrap)
    await producer.start()
    begins = [
        Begin(definition="errand", key=f"k-{n}", input={"how": "silent"}) for n in range(STARTS)
    ]
    await producer.burst(
        [
            seal_start(
                begin,
                topics=Topics("overload"),
                shards=SHARDS,
                source="/test",
                traceparent=None,
            )
            for begin in begins
        ]
    )
    await producer.stop()


async def open_ones(shell: Shell) -> list[str]:
    """List what is open, once no more of it begins."""
    before: list[str] = []
    while True:
        listed = await shell.json("list", "--status", "open", "--limit", "1000")
        gids = [view["gid"] for view in listed]
        if gids and gids == before:
            return gids
        before = gids


async def abort_until_all_have_begun(shell: Shell) -> set[str]:
    began: set[str] = set()
    while gids := await open_ones_now(shell):
        began.update(gids)
        done = await shell.run("abort", *gids, "--reason", "too many")
        assert done.code in {0, 1}, done.err  # some have turned back by themselves
    return began


async def open_ones_now(shell: Shell) -> list[str]:
    """List what is open; nothing, once nothing has been so for a while."""
    for _ in range(10):
        listed = await shell.json("list", "--status", "open", "--limit", "1000")
        if listed:
            return [view["gid"] for view in listed]
    return []
