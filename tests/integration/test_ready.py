"""Probes of real processes, while their databases go and come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from compose.local.cluster import Cluster
from compose.local.ports import free_port
from compose.local.stack import LocalStack

DEFINITION = """\
atomic: get-ready
version: 1
branches:
  agree: {call: ready-nodder.agree}
"""
MODULE = """\
from participants import Participant
nodder = Participant("ready-nodder", database="ready_nodder")

@nodder.branch("agree")
async def agree(db, call): ...
"""
MODULES = {"participants run": ("ready_nodder_module",)}


class Probed(NamedTuple):
    """A process, where it is asked, and the database that it needs."""

    cluster: Cluster
    ports: dict[str, int]
    databases: dict[str, str]


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory, stack: LocalStack) -> Generator[Probed]:
    """Run a coordinator and a participant, with a log and topics of their own."""
    directory = tmp_path_factory.mktemp("ready")
    (directory / "get-ready.yaml").write_text(DEFINITION)
    (directory / "ready_nodder_module.py").write_text(MODULE)
    databases = {"coordinator": "ready", "nodder": "ready_nodder"}
    for database in databases.values():
        stack.postgres.create_database(database)
    environment = {
        "TWOFOLD_KAFKA__PREFIX": "ready",
        "TWOFOLD_LOG__DSN": stack.postgres.dsn("ready"),
        "TWOFOLD_LOG__SHARDS": "2",
        "TWOFOLD_STARTS__ABSENT_PARTICIPANTS": "hold",  # which is one more part that must work
        "TWOFOLD_RESOLVE_EVERY": "0.5",
        "PYTHONPATH": f"{Path.cwd()}:{directory}",
    }
    ports = {name: free_port() for name in databases}
    listen = {n: {"TWOFOLD_PROBES__LISTEN": f"127.0.0.1:{port}"} for n, port in ports.items()}
    with Cluster(
        stack,
        directory / "cluster",
        definitions=[directory / "get-ready.yaml"],
        participants=["ready_nodder_module"],
        environment=environment,
    ) as cluster:
        cluster.prepare()
        cluster.launch_coordinator("coordinator", environment=listen["coordinator"])
        cluster.launch_participants("nodder", environment=listen["nodder"])
        cluster.await_ready()
        yield Probed(cluster, ports, databases)


def ask(port: int, path: str) -> tuple[int, Any]:
    """Probe once."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


async def until(port: int, status: int) -> Any:
    """Probe until the answer is this one, for a minute."""
    body: Any = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            while True:
                said, body = await asyncio.to_thread(ask, port, "/ready")
                if said == status:
                    return body
                await asyncio.sleep(0.05)
    pytest.fail(f"it did not become {status}; the last answer was {body}")


async def let_in(stack: LocalStack, database: str, *, anybody: bool) -> None:
    """Let a database take connections, or take none and lose those that it has."""
    connect: Any = asyncpg.connect  # asyncpg ships no types
    server = await connect(stack.postgres.dsn("postgres"))
    try:
        await server.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS {anybody}")
        if not anybody:
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
            await server.execute(ended, database)
    finally:
        await server.close()


@pytest.mark.parametrize("who", ["coordinator", "nodder"])
async def test_who_has_lost_its_database_is_not_ready_until_it_is_back(
    probed: Probed, stack: LocalStack, who: str
) -> None:
    """It lives all the time: to kill it would mend nothing."""
    port, database = probed.ports[who], probed.databases[who]
    assert (await until(port, 200))["why"] == []

    await let_in(stack, database, anybody=False)
    try:
        assert (await until(port, 503))["why"]
        assert await asyncio.to_thread(ask, port, "/live") == (200, {"live": True})
    finally:
        await let_in(stack, database, anybody=True)

    assert (await until(port, 200))["why"] == []


@pytest.mark.parametrize("command", ["serve", "participants run"])
def test_a_place_that_is_taken_is_told(probed: Probed, command: str) -> None:
    """In a sentence, by the exit code of what is not ready."""
    taken = f"127.0.0.1:{probed.ports['coordinator']}"
    words = command.split()
    done = subprocess.run(
        [sys.executable, "-m", "coordinator.cli.main", *words, *MODULES.get(command, ())],
        env={**probed.cluster.environment, "TWOFOLD_PROBES__LISTEN": taken},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert f"probes cannot listen at {taken}" in done.stderr
    assert "Traceback" not in done.stderr
