"""A log that was restored from a backup, and so has lost what it had acknowledged."""

from __future__ import annotations

import asyncio
import random
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.chaos.load import Load
from tests.chaos.system import Shape, System, running

SHAPE = Shape(coordinators=2, participants=(("node_a",), ("node_b",), ("node_c",)))

OWNERS = "SELECT DISTINCT owner FROM twofold.lease WHERE until > now()"


@pytest.fixture
def nothing_left_running() -> None:
    """Stand in for the company's: the system here is its own."""


async def work(system: System, tag: str) -> None:
    """Let clients ask for some seconds, and hear of all that they have asked for."""
    load = Load(system.kafka.bootstrap, random.Random(tag))
    listening = asyncio.create_task(load.ear.run())
    asking = asyncio.create_task(load.run(tag))
    await asyncio.sleep(3)
    load.stopping.set()
    await asking
    while load.unheard:
        await asyncio.sleep(0.1)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await load.close()
    assert load.ear.outcomes


async def ask(system: System, sql: str) -> list[Any]:
    """Ask the log's database."""
    connection = await asyncpg.connect(system.log.dsn("twofold"))
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


async def copy(source: Path, target: Path) -> None:
    """Copy a server's data, with its owner."""
    await asyncio.to_thread(subprocess.run, ["rm", "-rf", str(target)], check=True)
    await asyncio.to_thread(subprocess.run, ["cp", "-a", str(source), str(target)], check=True)


def said(directory: Path, word: str) -> int:
    """Count how often coordinators have logged a word."""
    logs = (directory / "processes").glob("coordinator-*.log")
    return sum(log.read_text().count(word) for log in logs)


@pytest.mark.timeout(180)
async def test_nothing_is_decided_by_a_log_that_has_forgotten(tmp_path: Path) -> None:
    """A cold copy, whose server, timeline and names are all the same; then the real one again."""
    old, real = tmp_path / "old", tmp_path / "real"
    async with running(tmp_path, SHAPE) as system:
        data = system.log.data
        for process in system.processes:
            await process.start()
        await work(system, "before")
        await asyncio.to_thread(system.log.kill)
        await copy(data, old)
        await asyncio.to_thread(system.log.restart)
        await work(system, "after")
        await asyncio.sleep(1.5)
        assert said(tmp_path, "log_has_forgotten") == 0
        await asyncio.to_thread(system.log.kill)
        await copy(data, real)

        await copy(old, data)
        await asyncio.to_thread(system.log.restart)
        while said(tmp_path, "log_has_forgotten") < 8:
            await asyncio.sleep(0.2)
        records = await ask(system, "SELECT count(*) FROM twofold.decision_log")
        await asyncio.sleep(4)
        assert await ask(system, "SELECT count(*) FROM twofold.decision_log") == records
        # Each coordinator looks again every ten seconds, and has leases for that moment.
        for owner in await ask(system, OWNERS):
            while owner in await ask(system, OWNERS):
                await asyncio.sleep(0.1)

        await asyncio.to_thread(system.log.kill)
        await copy(real, data)
        await asyncio.to_thread(system.log.restart)
        await work(system, "again")
