"""A participant's database is restored from a copy that was taken in the midst of work."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Collection
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from compose.local.errors import StackError
from tests.acceptance.test_forgotten import SHAPE, ask, copy
from tests.acceptance.test_recovery import NODES
from tests.chaos import check
from tests.chaos.load import Load
from tests.chaos.system import System, running
from wire import gids

GONE = {
    "marker-missing",
    "step-missing",
    "step-contradicted",
    "effect-not-undone",
    "seal-missing",
    "rolled-back-against-commit",
    "parked",
}
"""What an audit may say of effects, marks and undos that are gone."""

DECIDED = "SELECT gid, record ->> 'decision' FROM twofold.decision_log WHERE kind = 'decided'"


@pytest.fixture
def nothing_left_running() -> None:
    """Stand in for the company's: the system here is its own."""


async def copy_with_doubts(system: System, backup: Path) -> list[str]:
    """Copy the participants' databases while something is prepared there; say what."""
    while not await check.in_doubt(system):
        for process in system.coordinators:
            process.resume()
        await asyncio.sleep(0.2)
        for process in system.coordinators:
            process.pause()
        await asyncio.sleep(0.3)
    for process in system.participants:
        process.pause()
    await asyncio.to_thread(system.data.kill)
    await copy(system.data.data, backup)
    await asyncio.to_thread(system.data.restart)
    prepared = await check.in_doubt(system)
    for process in system.processes:
        process.resume()
    return sorted(prepared)


async def restore(system: System, backup: Path) -> list[str]:
    """Put the copy in the place of the databases; say what is prepared before anybody asks."""
    for process in system.participants:
        process.pause()
    await asyncio.to_thread(system.data.kill)
    await copy(backup, system.data.data)
    await asyncio.to_thread(system.data.restart)
    prepared = await check.in_doubt(system)
    for process in system.participants:
        process.resume()
    return sorted(prepared)


async def markers(system: System, names: Collection[str]) -> dict[str, str]:
    """Read how branches have ended, by the names under which they were prepared."""
    found: dict[str, str] = {}
    for place in NODES.values():
        connection = await asyncpg.connect(system.data.dsn(place))
        rows = await connection.fetch("SELECT gid || '.' || branch, status FROM twofold.branch")
        found |= {name: status for name, status in rows if name in names}
        await connection.close()
    return found


def noticed(directory: Path) -> int:
    """Count the processes that have said that their database lacks something."""
    logs = (directory / "processes").glob("participants-[0-9].log")
    return sum("database_has_forgotten" in log.read_text() for log in logs)


async def audit(system: System) -> dict[str, Any]:
    """Run `twofold audit`, and return what it finds."""
    places = [f"--participant={name}={system.data.dsn(place)}" for name, place in NODES.items()]
    arguments = ("audit", "--grace", "5s", "-o", "json", *places)
    with pytest.raises(StackError) as caught:  # by its exit code there are findings
        await asyncio.to_thread(system.cluster.run, "audit", *arguments)
    assert caught.value.log is not None
    text = caught.value.log.read_text()
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


@pytest.mark.timeout(240)
async def test_a_restored_participant_is_noticed_and_nothing_is_presumed(tmp_path: Path) -> None:
    """What is prepared again ends as it was decided; what is gone is found, and told."""
    async with running(tmp_path, SHAPE) as system:
        load = Load(system.kafka.bootstrap, random.Random("restored participant"))
        listening = asyncio.create_task(load.ear.run())
        for process in system.processes:
            await process.start()
        asking = asyncio.create_task(load.run("lost"))
        await asyncio.sleep(3)
        prepared = await copy_with_doubts(system, tmp_path / "backup")
        assert prepared
        heard = len(load.ear.outcomes)
        while len(load.ear.outcomes) < heard + 60:
            await asyncio.sleep(0.1)
        load.stopping.set()
        await asking
        while load.unheard or await check.in_doubt(system):
            await asyncio.sleep(0.1)

        assert await restore(system, tmp_path / "backup") == prepared
        while await check.in_doubt(system):
            await asyncio.sleep(0.1)
        decided = dict(await ask(system, DECIDED))
        ends = {"commit": "committed", "abort": "rolled-back"}
        expected = {name: ends[decided[_gid(name)]] for name in prepared}
        assert await markers(system, prepared) == expected

        while noticed(tmp_path) < len(NODES):
            await asyncio.sleep(0.1)
        found = (await audit(system))["findings"]
        assert {one["kind"] for one in found} >= {"marker-missing", "step-missing"}
        assert {one["kind"] for one in found} <= GONE
        # Another branch of the same transaction may not have been prepared yet, and be gone.
        assert not {f"{one['gid']}.{one['part']}" for one in found} & set(prepared)

        after = Load(system.kafka.bootstrap, random.Random("after"))
        hearing = asyncio.create_task(after.ear.run())
        asking = asyncio.create_task(after.run("after"))
        await asyncio.sleep(2)
        after.stopping.set()
        await asking
        while after.unheard:
            await asyncio.sleep(0.1)
        for task in (listening, hearing):
            task.cancel()
        await asyncio.gather(listening, hearing, return_exceptions=True)
        await load.close()
        await after.close()


def _gid(name: str) -> str:
    parsed = gids.parse_prepared(name)
    assert parsed is not None
    return str(parsed[0])
