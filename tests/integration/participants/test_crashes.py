"""A worker that dies by SIGKILL at every point where it matters, and the one after it.

Whatever happens, in the end there is one effect or none, as it was decided;
nothing stays prepared; and every command has been answered.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from compose.local.stack import Kafka
from tests.integration.participants.asker import Asker
from tests.integration.participants.conftest import Database, new_gid
from wire.messages import (
    Command,
    Commit,
    Compensate,
    Compensated,
    End,
    Execute,
    Executed,
    Inquired,
    Prepare,
    Reply,
    Result,
    Rollback,
    Settled,
    Vote,
    Voted,
)

MODULE = """
    from participants import Participant

    shop = Participant("{name}", dsn="{dsn}")

    @shop.step("write")
    @shop.branch("write")
    async def write(db, call):
        await db.execute("INSERT INTO item VALUES ($1, 1)", f"{{call.gid}}/{{call.name}}")
        await db.execute("SELECT pg_sleep($1)", (call.data or {{}}).get("sleep", 0))
        return "written"

    @shop.undo("erase")
    async def erase(db, call):
        await db.execute("DELETE FROM item WHERE name = $1", f"{{call.gid}}/{{call.name}}")
"""


class Processes:
    """Workers as processes of their own."""

    def __init__(self, folder: Path, name: str, asker: Asker) -> None:
        self._folder, self.name, self.asker = folder, name, asker
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, failpoint: str = "", *, group: str = "") -> subprocess.Popen[bytes]:
        """Start one. In another group than the dead it reads all again, and at once."""
        environment = {
            **os.environ,
            "TWOFOLD_KAFKA__BOOTSTRAP": self.asker.bootstrap,
            "TWOFOLD_KAFKA__PREFIX": self.asker.prefix,
            "TWOFOLD_LOG__CLUSTER": "test",
            "TWOFOLD_RESOLVE_EVERY": "0.3",
            "TWOFOLD_RESOLVE_AFTER": "1.5",
            "TWOFOLD_FAILPOINT": failpoint,
            "TWOFOLD_GROUP": group or f"{self.asker.prefix}.{len(self._running)}",
            "PYTHONPATH": str(self._folder),
        }
        code = "from participants.cli import app; app()"
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", code, "run", "service"],
                env=environment,
                cwd=Path(__file__).parents[3],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self._running.append(process)
        return process

    async def died(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until it has killed itself."""
        for _ in range(400):
            if process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        assert process.returncode == -signal.SIGKILL, (self._folder / "log").read_text()[-3000:]

    def stop(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture
async def asker(kafka: Kafka) -> AsyncIterator[Asker]:
    asker = Asker(kafka.bootstrap, [f"crash-{time.time_ns()}"])
    await asker.start()
    yield asker
    await asker.stop()


@pytest.fixture
def processes(tmp_path: Path, asker: Asker, database: Database) -> Iterator[Processes]:
    (name,) = asker.participants
    source = textwrap.dedent(MODULE).format(name=name, dsn=database.dsn)
    (tmp_path / "service.py").write_text(source)
    processes = Processes(tmp_path, name, asker)
    yield processes
    processes.stop()


def prepare(gid: str, data: Any = None, *, alone: bool = False) -> Prepare:
    return Prepare(gid=gid, branch="b", command="write", data=data, one_phase=alone)


async def hear(asker: Asker, kind: type[Reply]) -> Reply:
    """Wait for a reply of this kind, whatever else is said: it may be said twice."""
    while True:
        (reply,) = await asker.hear(1, seconds=30)
        if isinstance(reply, kind):
            return reply


async def decide(asker: Asker, name: str, command: Commit | Rollback) -> End:
    """Tell a decision until it is settled, as a coordinator does."""
    await asker.ask(name, command)
    settled = await hear(asker, Settled)
    assert isinstance(settled, Settled)
    return settled.end


@pytest.mark.parametrize("failpoint", ["P1", "P2", "P3", "P4", "P5"])
@pytest.mark.parametrize("decision", [Commit, Rollback])
async def test_death_around_a_vote(
    processes: Processes, database: Database, failpoint: str, decision: type[Commit | Rollback]
) -> None:
    asker, gid = processes.asker, new_gid()
    group = "the-same" if failpoint == "P5" else ""
    first = processes.start(failpoint, group=group)
    await asker.ask(processes.name, prepare(gid))
    await processes.died(first)
    processes.start(group=group)

    voted = await hear(asker, Voted)
    assert isinstance(voted, Voted)
    assert voted.vote is Vote.COMMIT
    end = await decide(asker, processes.name, decision(gid=gid, branch="b"))

    committed = decision is Commit
    assert end is (End.COMMITTED if committed else End.ROLLED_BACK)
    assert await database.prepared() == set()
    assert await database.items() == ({f"{gid}/b": 1} if committed else {})


@pytest.mark.parametrize(
    ("failpoint", "decision"),
    [("P6", Commit), ("P7", Commit), ("P10", Rollback), ("P8", Rollback)],
)
async def test_death_around_a_decision(
    processes: Processes, database: Database, failpoint: str, decision: type[Commit | Rollback]
) -> None:
    """The decision is read again, and answered as if nothing had been."""
    asker, gid = processes.asker, new_gid()
    first = processes.start(failpoint)
    await asker.ask(processes.name, prepare(gid))
    await hear(asker, Voted)
    await asker.ask(processes.name, decision(gid=gid, branch="b"))
    await processes.died(first)
    processes.start()

    settled = await hear(asker, Settled)

    committed = decision is Commit
    assert isinstance(settled, Settled)
    assert settled.end is (End.COMMITTED if committed else End.ROLLED_BACK)
    assert await database.prepared() == set()
    assert await database.items() == ({f"{gid}/b": 1} if committed else {})
    # The repeated Prepare, if any, has done nothing more.
    assert await asker.silence(seconds=0.5) is not None
    assert await database.prepared() == set()


async def test_death_of_a_rollback_that_meets_a_prepare_at_work(
    processes: Processes, database: Database
) -> None:
    """P9: both are read again, in whatever order, and nothing stays prepared."""
    asker, gid = processes.asker, new_gid()
    first = processes.start("P9")
    await asker.ask(processes.name, prepare(gid, {"sleep": 0.5}))
    await asyncio.sleep(1)
    await asker.ask(processes.name, Rollback(gid=gid, branch="b"))
    await processes.died(first)
    processes.start()

    settled = await hear(asker, Settled)

    assert isinstance(settled, Settled)
    assert settled.end is End.ROLLED_BACK
    await asyncio.sleep(1)
    assert await database.prepared() == set()
    assert await database.items() == {}


async def test_death_after_an_effect_and_before_its_reply(
    processes: Processes, database: Database
) -> None:
    """P12: the barrier remembers what was done, and what is to be told."""
    asker, gid = processes.asker, new_gid()
    step = Execute(gid=gid, step="s", attempt=1, command="write", data=None)
    first = processes.start("P12")
    await asker.ask(processes.name, step)
    await processes.died(first)
    assert await database.items() == {f"{gid}/s": 1}
    processes.start()

    assert await asker.hear(1, seconds=30) == [
        Executed(gid=gid, step="s", attempt=1, result=Result.DONE, data="written")
    ]
    assert await database.items() == {f"{gid}/s": 1}


async def test_death_after_an_undo_and_before_its_reply(
    processes: Processes, database: Database
) -> None:
    asker, gid = processes.asker, new_gid()
    commands: list[Command] = [
        Execute(gid=gid, step="s", attempt=1, command="write", data=None),
        Compensate(gid=gid, step="s", attempt=1, command="erase", data=None),
    ]
    first = processes.start("P12:2")
    await asker.ask(processes.name, commands[0])
    await asker.hear(1)
    await asker.ask(processes.name, commands[1])
    await processes.died(first)
    processes.start()

    assert await hear(asker, Compensated) == Compensated(
        gid=gid, step="s", attempt=1, result=Result.DONE, undone=True
    )
    assert await database.items() == {}


async def test_a_branch_whose_command_nobody_repeats_is_asked_about(
    processes: Processes, database: Database
) -> None:
    """Its offset was committed, the vote is lost to the coordinator: the resolver asks."""
    asker, gid = processes.asker, new_gid()
    async with database.connections.one() as connection:
        await connection.execute(
            "BEGIN; INSERT INTO twofold.branch (gid, branch, status)"
            f" VALUES ('{gid}', 'b', 'committed'); PREPARE TRANSACTION '{gid}.b'"
        )
    processes.start()

    inquired = await hear(asker, Inquired)

    assert inquired == Inquired(gid=gid, branch="b", participant=processes.name)
    assert await decide(asker, processes.name, Commit(gid=gid, branch="b")) is End.COMMITTED
