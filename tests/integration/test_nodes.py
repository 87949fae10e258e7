"""`twofold nodes` on real processes: some are killed, some are paused, and their twins are not."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from compose.local.cluster import Cluster
from compose.local.stack import LocalStack
from coordinator.presence import GONE_US

SHARDS = 6
DEFINITION = """\
saga: nod
version: 1
steps:
  nod: {call: nodder.nod, undo: nodder.forget}
"""
MODULE = """\
from participants import Participant
nodder = Participant("nodder", database="nodes_nodder", held=6)

@nodder.step("nod")
async def nod(db, call): ...

@nodder.undo("forget")
async def forget(db, call): ...

@nodder.branch("agree")
async def agree(db, call): ...
"""
COORDINATORS = ("clean-coordinator", "killed-coordinator", "paused-coordinator")
PARTICIPANTS = ("clean-nodder", "killed-nodder", "paused-nodder")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, stack: LocalStack) -> Generator[Cluster]:
    """A log and topics of its own; nothing runs yet."""
    directory = tmp_path_factory.mktemp("nodes")
    (directory / "nod.yaml").write_text(DEFINITION)
    (directory / "nodder.py").write_text(MODULE)
    for database in ("nodes", "nodes_nodder"):
        stack.postgres.create_database(database)
    environment = {
        "TWOFOLD_KAFKA__PREFIX": "nodes",
        "TWOFOLD_LOG__DSN": stack.postgres.dsn("nodes"),
        "TWOFOLD_LOG__SHARDS": str(SHARDS),
        "PYTHONPATH": f"{Path.cwd()}:{directory}",
    }
    with Cluster(
        stack,
        directory / "cluster",
        definitions=[directory / "nod.yaml"],
        participants=["nodder"],
        environment=environment,
    ) as cluster:
        cluster.prepare()
        yield cluster


def twofold(cluster: Cluster, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a command, and return what it left, whatever its exit code is."""
    return subprocess.run(
        [sys.executable, "-m", "coordinator.cli.main", *args],
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def nodes(cluster: Cluster) -> Any:
    """Look once."""
    done = await asyncio.to_thread(twofold, cluster, "nodes", "-o", "json")
    assert done.stderr == ""
    return json.loads(done.stdout)


def states(view: Any, pids: dict[str, int]) -> dict[str, str]:
    """Tell the state of each process by the name that the test gave it."""
    instances = [one for p in view["participants"] for one in p["instances"]]
    told = {one["id"]: one["state"] for one in view["coordinators"]}
    told |= {one["instance"]: one["state"] for one in instances}
    found = {
        name: [s for id_, s in told.items() if f"-{pid}-" in id_] for name, pid in pids.items()
    }
    assert all(len(of_one) <= 1 for of_one in found.values())
    return {name: of_one[0] for name, of_one in found.items() if of_one}


async def until(cluster: Cluster, pids: dict[str, int], wanted: dict[str, str]) -> Any:
    """Look until it is so, and all shards are owned; the test's own time limit is the only one."""
    while True:
        view = await nodes(cluster)
        seen = states(view, pids)
        owned = sum(len(one["shards"]) for one in view["coordinators"])
        if owned == SHARDS and all(seen.get(name) == state for name, state in wanted.items()):
            return view


async def test_without_anybody_that_is_what_it_says(cluster: Cluster) -> None:
    """Nobody has the shards; that is an answer, and the answer is no."""
    done = await asyncio.to_thread(twofold, cluster, "nodes")

    assert done.returncode == 1
    assert "nobody has the shards 0, 1, 2, 3, 4, 5" in done.stderr


async def test_who_is_killed_or_paused_is_seen_and_their_twins_live(cluster: Cluster) -> None:
    """Three seconds after, at the latest: no sign of life is newer than the signal."""
    children = {name: cluster.launch_coordinator(name) for name in COORDINATORS}
    children |= {name: cluster.launch_participants(name) for name in PARTICIPANTS}
    await asyncio.to_thread(cluster.await_ready)
    pids = {name: child.pid for name, child in children.items()}
    view = await until(cluster, pids, dict.fromkeys(children, "alive"))
    [nodder] = view["participants"]
    assert (nodder["name"], nodder["needed"], nodder["behind"]) == ("nodder", True, 0)
    assert {one["held_limit"] for one in nodder["instances"]} == {6}

    for kind in ("coordinator", "nodder"):
        cluster.kill(f"killed-{kind}")
        children[f"paused-{kind}"].send(signal.SIGSTOP)
    await asyncio.sleep(GONE_US / 1_000_000)

    seen = states(await nodes(cluster), pids)
    silent = {name for name, state in seen.items() if state == "gone"}
    assert silent == {
        f"{how}-{who}" for how in ("killed", "paused") for who in ("coordinator", "nodder")
    }

    for kind in ("coordinator", "nodder"):
        children[f"paused-{kind}"].send(signal.SIGCONT)
        await asyncio.to_thread(cluster.stop_one, f"clean-{kind}")
    view = await until(cluster, pids, {"paused-coordinator": "alive", "paused-nodder": "alive"})
    # A clean goodbye is not a failure, and leaves nothing to wonder about.
    assert "clean-coordinator" not in states(view, pids)
    assert states(view, pids).get("clean-nodder", "leaving") == "leaving"
