"""The log's Postgres dies, and its standby takes its place."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from compose.demo.acts import DEFINITIONS, MODULES
from compose.local.cluster import Cluster
from compose.local.command import DATABASES
from compose.local.databases import ask
from compose.local.postgres import LocalPostgres
from compose.local.stack import LocalStack
from compose.local.standby import LocalStandby
from tests.acceptance.company import Company
from tests.acceptance.test_promises import start_all

LOAD = 60


class Split:
    """A Postgres for the participants, and for the log whichever of two is the primary."""

    def __init__(self, data: LocalPostgres, log: LocalPostgres) -> None:
        self._data, self.log = data, log

    def dsn(self, database: str) -> str:
        return (self.log if database == "twofold" else self._data).dsn(database)

    def create_database(self, name: str) -> None:
        self._data.create_database(name)

    def kill(self) -> None:
        self._data.kill()

    def restart(self) -> None:
        self._data.restart()

    def stop(self) -> None:
        self._data.stop()

    def describe(self) -> str:
        return self._data.describe()


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Generator[LocalPostgres]:
    """The server of the log."""
    directory: Path = tmp_path_factory.mktemp("primary")
    with LocalPostgres.start(directory, databases=["twofold"]) as server:
        yield server


@pytest.fixture(scope="module")
def standby(
    tmp_path_factory: pytest.TempPathFactory, primary: LocalPostgres
) -> Generator[LocalStandby]:
    """Who has all that the primary has acknowledged."""
    with LocalStandby.follow(tmp_path_factory.mktemp("standby"), primary) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, primary: LocalPostgres, standby: LocalStandby
) -> Generator[Cluster]:
    """Coordinators that are told of both servers, and use the one that can be written to."""
    directory: Path = tmp_path_factory.mktemp("failover")
    both = f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/twofold"
    with LocalStack.start(
        directory / "stack", databases=DATABASES, progress=lambda _: None
    ) as stack:
        assert isinstance(stack.postgres, LocalPostgres)
        environment: Mapping[str, str] = {
            "TWOFOLD_RESOLVE_EVERY": "1",
            "TWOFOLD_RESOLVE_AFTER": "3",
            "TWOFOLD_LOG__DSN": both,
            "TWOFOLD_PG_DSN": stack.postgres.dsn("postgres"),
        }
        with Cluster(
            LocalStack(stack.kafka, Split(stack.postgres, primary)),
            directory / "cluster",
            definitions=DEFINITIONS,
            participants=MODULES,
            environment=environment,
        ) as cluster:
            cluster.prepare()
            yield cluster


@pytest.mark.timeout(240)
async def test_a_synchronous_standby_loses_no_decision(
    cluster: Cluster, company: Company, primary: LocalPostgres, standby: LocalStandby
) -> None:
    """Killed in the middle of a load; nobody restarts or reconfigures a coordinator."""
    [[state]] = ask(primary.dsn("postgres"), "SELECT sync_state FROM pg_stat_replication")
    assert state == "sync"
    await start_all(company, coordinators=2)
    await company.publish("before", LOAD)
    await company.publish("during", LOAD)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(primary.kill)
    assert isinstance(cluster.stack.postgres, Split)
    cluster.stack.postgres.log = standby
    await asyncio.to_thread(standby.promote)
    await company.publish("after", LOAD)

    await company.expect_all_well()
    [[timeline]] = ask(
        standby.dsn("postgres"), "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
    )
    assert timeline == "00000002"
