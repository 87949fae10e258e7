"""The log's Postgres dies, and a standby takes its place that lacks the end."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from compose.local.databases import ask as ask_at
from compose.local.standby import LocalStandby
from tests.acceptance.test_forgotten import SHAPE, ask, said
from tests.acceptance.test_recovery import recover
from tests.chaos import check
from tests.chaos.load import Load
from tests.chaos.system import System, running

BEHIND = """
    SELECT count(*) FROM pg_stat_replication
     WHERE state = 'streaming' AND replay_lsn >= pg_current_wal_flush_lsn()
"""
COUNTS = """
    SELECT (SELECT count(*) FROM twofold.decision_log),
           (SELECT count(*) FROM twofold.transaction)
"""


@pytest.fixture
def nothing_left_running() -> None:
    """Stand in for the company's: the system here is its own."""


async def fail_over(system: System, standby: LocalStandby, load: Load) -> None:
    """Let the standby fall behind in the midst of a load, and then take over."""
    while not ask_at(system.log.dsn("postgres"), BEHIND)[0][0]:
        await asyncio.sleep(0.1)
    await asyncio.to_thread(standby.fall_behind)
    heard = len(load.ear.outcomes)
    while len(load.ear.outcomes) < heard + 60:
        await asyncio.sleep(0.1)
    await asyncio.to_thread(system.log.kill)
    await asyncio.to_thread(standby.promote)
    await asyncio.to_thread(standby.take_address)


@pytest.mark.timeout(240)
async def test_what_a_lagging_standby_lacks_is_noticed_and_mended(tmp_path: Path) -> None:
    """Coordinators run all the while, and decide nothing on what is left of the log."""
    async with running(tmp_path, SHAPE) as system:
        for process in system.processes:
            await process.start()
        standby = await asyncio.to_thread(
            LocalStandby.follow, tmp_path / "standby", system.log, synchronous=False
        )
        with standby:
            load = Load(system.kafka.bootstrap, random.Random("lagging"))
            listening = asyncio.create_task(load.ear.run())
            asking = asyncio.create_task(load.run("lagging"))
            await fail_over(system, standby, load)
            load.stopping.set()
            await asking
            while said(tmp_path, "log_has_forgotten") < 8:
                await asyncio.sleep(0.2)

            counts, told = await ask(system, COUNTS), dict(load.ear.outcomes)
            doubts = set(await check.in_doubt(system))
            await asyncio.sleep(4)
            assert await ask(system, COUNTS) == counts
            assert load.ear.outcomes == told
            assert set(await check.in_doubt(system)) == doubts

            for process in system.coordinators:
                await process.stop()
            [done] = await recover(system, "--reason", "its standby lagged")
            assert done["forgotten"]
            assert [one for one in done["rebuilt"] if one["lost"]]
            assert done["unexplained"] == []
            for process in system.coordinators:
                await process.start()
            while load.unheard or await check.in_doubt(system):
                await asyncio.sleep(0.1)
            broken = [one for one in await check.findings(system, load) if not one.holds]
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await load.close()
    assert broken == []
