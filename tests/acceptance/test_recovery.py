"""A log that was restored from a backup is brought up to date, and work goes on."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from compose.local.errors import StackError
from tests.acceptance.test_forgotten import SHAPE, ask, copy, said
from tests.chaos import check
from tests.chaos.load import Load
from tests.chaos.services import DATABASES
from tests.chaos.system import System, running

NODES = dict(zip(("node-a", "node-b", "node-c"), DATABASES, strict=True))


@pytest.fixture
def nothing_left_running() -> None:
    """Stand in for the company's: the system here is its own."""


async def recover(system: System, *options: str, without: str = "") -> list[dict[str, Any]]:
    """Run `twofold recover`, and return what it says."""
    dsns = {name: system.data.dsn(place) for name, place in NODES.items() if name != without}
    places = [f"--participant={name}={dsn}" for name, dsn in dsns.items()]
    out = await asyncio.to_thread(
        system.cluster.run, "recover", "recover", "--restored", "-o", "json", *places, *options
    )
    return json.loads(out[out.index("[") :])


async def sealed(system: System) -> set[tuple[int, ...]]:
    """Return what generations each participant's database remembers."""
    found: set[tuple[int, ...]] = set()
    for place in NODES.values():
        connection = await asyncpg.connect(system.data.dsn(place))
        rows = await connection.fetch("SELECT generation FROM twofold.generation ORDER BY shard")
        found.add(tuple(row[0] for row in rows))
        await connection.close()
    return found


async def lose(system: System, load: Load, backup: Path) -> None:
    """Work, take a cold copy, work on, and then lose all that came after it, in the midst.

    One coordinator does not die: it sleeps, and knows nothing of all this.
    """
    asking = asyncio.create_task(load.run("lost"))
    await asyncio.sleep(3)
    await asyncio.to_thread(system.log.kill)
    await copy(system.log.data, backup)
    await asyncio.to_thread(system.log.restart)
    heard = len(load.ear.outcomes)
    while len(load.ear.outcomes) < heard + 60:
        await asyncio.sleep(0.1)
    system.coordinators[0].pause()
    for process in system.coordinators[1:]:
        await process.kill()
    load.stopping.set()
    await asyncio.to_thread(system.log.kill)
    await copy(backup, system.log.data)
    await asyncio.to_thread(system.log.restart)
    await asking


@pytest.mark.timeout(240)
async def test_a_restored_log_is_brought_up_to_date(tmp_path: Path) -> None:
    """Whatever was under way: what was told stands, and everything else ends in one way."""
    async with running(tmp_path, SHAPE) as system:
        load = Load(system.kafka.bootstrap, random.Random("restored"))
        listening = asyncio.create_task(load.ear.run())
        for process in system.processes:
            await process.start()
        await lose(system, load, tmp_path / "backup")
        for process in system.coordinators[1:]:
            await process.start()
        while said(tmp_path, "log_has_forgotten") < 1:
            await asyncio.sleep(0.2)
        with pytest.raises(StackError, match="coordinators run"):
            await recover(system, "--plan", "--patience", "0")
        for process in system.coordinators[1:]:
            await process.stop()
        # What it was sent stays on its topic, and is done afterwards.
        await system.participants[2].kill()
        with pytest.raises(StackError, match="node-c are not given"):
            await recover(system, "--plan", without="node-c")

        records = await ask(system, "SELECT count(*) FROM twofold.decision_log")
        [planned] = await recover(system, "--plan")
        assert await ask(system, "SELECT count(*) FROM twofold.decision_log") == records
        [done] = await recover(system, "--reason", "a test has lost it", "--actor", "test")

        assert done["rebuilt"] == planned["rebuilt"]
        assert done["forgotten"]
        assert [one for one in done["rebuilt"] if one["lost"]]
        assert {one["outcome"] for one in done["rebuilt"]} >= {"COMMITTED", "ABORTED"}
        assert done["unexplained"] == []
        [[generation]] = await ask(system, "SELECT generation FROM twofold.cluster")
        assert generation == done["generation"] == 2
        [row] = await ask(system, "SELECT actor, reason FROM twofold.recovery")
        assert tuple(row) == ("test", "a test has lost it")
        [generations] = await sealed(system)
        assert set(generations) == {2}
        for process in (*system.coordinators[1:], system.participants[2]):
            await process.start()
        while load.unheard:
            await asyncio.sleep(0.1)
        asking = asyncio.create_task(load.run("after"))
        await asyncio.sleep(2)
        system.coordinators[0].resume()
        await asyncio.sleep(1)
        load.stopping.set()
        await asking
        while load.unheard or await check.in_doubt(system):
            await asyncio.sleep(0.1)
        broken = [one for one in await check.findings(system, load) if not one.holds]
        assert broken == []
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await load.close()
