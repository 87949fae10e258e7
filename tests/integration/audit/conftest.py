"""A company on a real stack, and the audit as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from compose.demo.acts import DEFINITIONS, MODULES
from compose.local.cluster import Cluster
from compose.local.command import DATABASES
from compose.local.stack import LocalStack
from tests.acceptance.company import Company
from wire import gids

PLACES = {
    "bank-a": "bank_a",
    "bank-b": "bank_b",
    "stock": "shop_stock",
    "payments": "shop_payments",
    "shipping": "shop_shipping",
    "counter-a": "counter_a",
    "counter-b": "counter_b",
    "counter-c": "counter_c",
}
SECOND = "twofold_odd"
"""The log's second store, which has the odd shards."""

# The command line as it is once the package is installed.
RUN = """
from audit import command
from coordinator.cli import main
main.app.command("audit")(command.audit)
main.app.add_typer(command.indoubt, name="indoubt")
main.main()
"""


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)

    @property
    def found(self) -> set[tuple[str, str, str, str]]:
        """The identities of an audit's findings."""
        names = ("kind", "gid", "participant", "part")
        return {tuple(one[name] for name in names) for one in self.json["findings"]}


class Auditor:
    """Runs the commands against one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def run(self, command: str, *args: str, places: Mapping[str, str] = PLACES) -> Done:
        """Run `twofold audit` or `twofold indoubt` to its end."""
        given = " ".join(f"{name}={database}" for name, database in places.items())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            RUN,
            command,
            *args,
            env={**os.environ, **self._cluster.environment, "TWOFOLD_PARTICIPANTS": given},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 120)
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())


async def start_all(company: Company) -> None:
    """Start the services, and two coordinators."""
    cluster = company.cluster
    await asyncio.to_thread(cluster.launch_participants, "services")
    for n in range(2):
        await asyncio.to_thread(cluster.launch_coordinator, f"coordinator-{n}")
    await asyncio.to_thread(cluster.await_ready)


def fresh_gid(*, generation: int = 1, age_s: float = 0) -> str:
    """Name a transaction that never was."""
    now_us = int((time.time() - age_s) * 1e6)
    return str(gids.Gid("main", generation, 3, gids.uuid7(now_us, secrets.randbits(80))))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """The stack and the schema. Nobody asks about branches in doubt, unless the audit does."""
    directory: Path = tmp_path_factory.mktemp("audited")
    with LocalStack.start(
        directory / "stack", databases=(*DATABASES, SECOND), progress=lambda _: None
    ) as stack:
        environment = {
            "TWOFOLD_RESOLVE_AFTER": "3600",
            "TWOFOLD_LOG__MORE": json.dumps([stack.postgres.dsn(SECOND)]),
        }
        with Cluster(
            stack,
            directory / "cluster",
            definitions=DEFINITIONS,
            participants=MODULES,
            environment=environment,
        ) as cluster:
            cluster.prepare()
            yield cluster


@pytest.fixture(scope="module")
def auditor(cluster: Cluster) -> Auditor:
    """The commands, in the cluster's environment."""
    return Auditor(cluster)


@pytest.fixture(scope="module")
async def company(cluster: Cluster) -> AsyncGenerator[Company]:
    """Whoever publishes and hears."""
    company = Company(cluster, cluster.stack)
    await company.client.__aenter__()
    yield company
    await company.client.__aexit__(None, None, None)


@pytest.fixture(autouse=True)
async def nothing_left_running(cluster: Cluster) -> AsyncGenerator[None]:
    """Each test begins without processes, and ends so."""
    yield
    await asyncio.to_thread(cluster.stop)


class Books:
    """Direct hands on the databases."""

    def __init__(self, cluster: Cluster) -> None:
        self._dsn = cluster.stack.postgres.dsn

    async def ask(self, database: str, sql: str, *args: Any) -> list[Any]:
        """Run a statement, and return its rows."""
        connection = await asyncpg.connect(self._dsn(database))
        try:
            return await connection.fetch(sql, *args)
        finally:
            await connection.close()

    async def log(self, sql: str, *args: Any) -> list[Any]:
        """Run a statement on both stores of the log."""
        rows = await self.ask("twofold", sql, *args)
        return rows + await self.ask(SECOND, sql, *args)

    async def prepare(self, database: str, name: str, sql: str) -> None:
        """Leave a transaction prepared."""
        connection = await asyncpg.connect(self._dsn(database))
        try:
            await connection.execute(f"BEGIN; {sql}")
            assert await connection.execute(f"PREPARE TRANSACTION '{name}'") == (
                "PREPARE TRANSACTION"
            )
        finally:
            await connection.close()

    async def roll_back_all(self) -> None:
        """Leave nothing prepared."""
        rows = await self.ask("twofold", "SELECT gid, database FROM pg_prepared_xacts")
        for name, database in rows:
            await self.ask(database, f"ROLLBACK PREPARED '{name}'")


@pytest.fixture
async def books(cluster: Cluster) -> AsyncGenerator[Books]:
    """Direct hands on the databases; nothing stays prepared."""
    books = Books(cluster)
    yield books
    await books.roll_back_all()
