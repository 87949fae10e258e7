"""Real Kafka and Postgres, and processes that may die."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from compose.demo.acts import DEFINITIONS, MODULES
from compose.local.cluster import Cluster
from compose.local.command import DATABASES
from compose.local.stack import LocalStack
from tests.acceptance.company import Company


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """The stack and the schema; no coordinator and no participant runs yet."""
    directory: Path = tmp_path_factory.mktemp("company")
    with LocalStack.start(
        directory / "stack", databases=DATABASES, progress=lambda _: None
    ) as stack:
        environment = {"TWOFOLD_RESOLVE_EVERY": "1", "TWOFOLD_RESOLVE_AFTER": "3"}
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
async def company(cluster: Cluster) -> AsyncGenerator[Company]:
    """Nothing but the memory of what was published: each test starts its own processes."""
    company = Company(cluster, cluster.stack)
    await company.client.__aenter__()
    yield company
    await company.client.__aexit__(None, None, None)


@pytest.fixture(autouse=True)
async def nothing_left_running(cluster: Cluster) -> AsyncGenerator[None]:
    """Each test begins without processes, and ends so."""
    yield
    await asyncio.to_thread(cluster.stop)
