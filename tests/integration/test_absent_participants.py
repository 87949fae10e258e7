"""Starts that need somebody who is not there: begun, held or refused, as the settings say."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from compose.local.cluster import Cluster
from compose.local.stack import LocalStack
from wire.envelope import Record
from wire.kafka import Producer, committed

DEFINITION = """\
saga: wave
version: 1
start: {topic: WHO.waves, key: event.id}
deadline: 2m
steps:
  wave:
    call: WHO.wave
    undo: WHO.stop
    timeout: 60s
    with: {slow: "${ has(input.slow) }"}
"""
MODULE = """\
import asyncio
from participants import Participant
who = Participant("WHO", database="DATABASE")

@who.step("wave")
async def wave(db, call):
    await asyncio.sleep(5 * call.data["slow"])

@who.undo("stop")
async def stop(db, call): ...
"""

MakeCluster = Callable[[str], Cluster]
_numbers = itertools.count(1)


@pytest.fixture
def make_cluster(tmp_path: Path, stack: LocalStack) -> Generator[MakeCluster]:
    """Make a cluster with a policy; its only participant is called as its prefix."""
    made: list[Cluster] = []

    def make(policy: str) -> Cluster:
        who = f"waver-{next(_numbers)}"
        module = who.replace("-", "_")
        database = f"absent_{module}"
        (tmp_path / "wave.yaml").write_text(DEFINITION.replace("WHO", who))
        (tmp_path / f"{module}.py").write_text(
            MODULE.replace("WHO", who).replace("DATABASE", database)
        )
        stack.postgres.create_database(database)
        cluster = Cluster(
            stack,
            tmp_path / "cluster",
            definitions=[tmp_path / "wave.yaml"],
            participants=[module],
            environment={
                "TWOFOLD_KAFKA__PREFIX": who,
                "TWOFOLD_LOG__DSN": stack.postgres.dsn(database),
                "TWOFOLD_LOG__SHARDS": "2",
                "TWOFOLD_STARTS__ABSENT_PARTICIPANTS": policy,
                "PYTHONPATH": f"{Path.cwd()}:{tmp_path}",
            },
        )
        made.append(cluster)
        cluster.prepare()
        return cluster

    yield make
    for cluster in made:
        cluster.stop()


async def twofold(cluster: Cluster, *args: str) -> tuple[int, Any]:
    """Run a command, and return its exit code and what it told."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "coordinator.cli.main", *args, "-o", "json"],
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout)


async def begun(cluster: Cluster) -> dict[str, str]:
    """Tell how each transaction stands, by key."""
    _, told = await twofold(cluster, "list")
    return {one["key"]: one["outcome"] or one["status"] for one in told}


async def publish(cluster: Cluster, *ids: str) -> None:
    """Publish events that start something."""
    who = cluster.environment["TWOFOLD_KAFKA__PREFIX"]
    producer = Producer(cluster.environment["TWOFOLD_KAFKA__BOOTSTRAP"])
    await producer.start()
    values = [json.dumps({"id": id_}).encode() for id_ in ids]
    await producer.burst([Record(f"{who}.waves", None, value, []) for value in values])
    await producer.stop()


async def until_begun(cluster: Cluster, wanted: dict[str, str]) -> None:
    """Wait; the test's own limit is the only one."""
    while await begun(cluster) != wanted:
        await asyncio.sleep(0.1)


async def test_by_default_it_begins_and_its_deadlines_do_the_rest(
    make_cluster: MakeCluster,
) -> None:
    """Who comes in time finds its command."""
    cluster = make_cluster("ignore")
    await asyncio.to_thread(cluster.start_coordinator, "coordinator")
    await publish(cluster, "early")
    await until_begun(cluster, {"early": "open"})

    await asyncio.to_thread(cluster.start_participants, "participant")
    await until_begun(cluster, {"early": "COMMITTED"})


async def test_it_is_refused_with_the_reason_and_what_has_begun_goes_on(
    make_cluster: MakeCluster,
) -> None:
    """A refusal is of this moment: the same start is accepted when somebody is there."""
    cluster = make_cluster("refuse")
    await asyncio.to_thread(cluster.start_coordinator, "coordinator")
    await asyncio.to_thread(cluster.start_participants, "participant")
    wave = ("start", "wave", "--input", "{}", "--key")
    assert (await twofold(cluster, *wave, "before", "--wait"))[0] == 0
    during = ("start", "wave", "--input", '{"slow": 1}', "--key", "during")
    assert (await twofold(cluster, *during))[0] == 0
    await asyncio.to_thread(cluster.kill, "participant")

    attempts = itertools.count(1)
    while (told := await twofold(cluster, *wave, f"after-{next(attempts)}"))[0] == 0:
        pass
    _, refusal = told
    who = cluster.environment["TWOFOLD_KAFKA__PREFIX"]
    assert refusal["outcome"] == "REFUSED"
    assert refusal["reason"] == f"no instance of {who} lives, and it needs one"
    # A repetition of a start that was accepted is not a new one.
    assert (await twofold(cluster, *during))[0] == 0
    assert refusal["key"] not in await begun(cluster)

    await asyncio.to_thread(cluster.start_participants, "heir")
    while (await twofold(cluster, *wave, refusal["key"], "--wait"))[0] != 0:
        pass
    states = await begun(cluster)
    while set(states.values()) != {"COMMITTED"}:
        states = await begun(cluster)
    assert {"before", "during", refusal["key"]} <= states.keys()


async def test_its_event_is_held_and_not_lost(make_cluster: MakeCluster) -> None:
    """It stays unread, also through a restart of the coordinator; a direct start begins."""
    cluster = make_cluster("hold")
    who = cluster.environment["TWOFOLD_KAFKA__PREFIX"]
    log = await asyncio.to_thread(cluster.start_coordinator, "coordinator")
    await publish(cluster, "a", "b", "c")
    while "starts_held" not in log.log_text():
        await asyncio.sleep(0.1)
    assert (await twofold(cluster, "start", "wave", "--key", "direct", "--input", "{}"))[0] == 0
    await asyncio.to_thread(cluster.kill, "coordinator")
    heir = await asyncio.to_thread(cluster.start_coordinator, "heir")
    while "starts_held" not in heir.log_text():
        await asyncio.sleep(0.1)
    await asyncio.sleep(4)
    assert await begun(cluster) == {"direct": "open"}
    assert await committed(cluster.environment["TWOFOLD_KAFKA__BOOTSTRAP"], f"{who}.triggers") == {}

    await asyncio.to_thread(cluster.start_participants, "participant")
    await until_begun(cluster, dict.fromkeys(["direct", "a", "b", "c"], "COMMITTED"))
    assert "starts_go_on" in heir.log_text()
