"""A log of two stores on two servers: what happens to one does not disturb the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from pathlib import Path

import pytest

from compose.demo.acts import DEFINITIONS, MODULES
from compose.local.cluster import Cluster
from compose.local.command import DATABASES
from compose.local.errors import StackError
from compose.local.postgres import LocalPostgres
from compose.local.stack import LocalStack
from tests.acceptance.company import Company
from tests.acceptance.test_promises import start_all
from wire.gids import shard_of_start

SHARDS = 8
LOAD = 30


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Generator[LocalPostgres]:
    """The server of the second store, which has the odd shards."""
    directory: Path = tmp_path_factory.mktemp("second")
    with LocalPostgres.start(directory, databases=["twofold"]) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, second: LocalPostgres) -> Generator[Cluster]:
    """A stack of its own, whose log is on two servers."""
    directory: Path = tmp_path_factory.mktemp("stores")
    environment = {
        "TWOFOLD_RESOLVE_EVERY": "1",
        "TWOFOLD_RESOLVE_AFTER": "3",
        "TWOFOLD_LOG__SHARDS": str(SHARDS),
        "TWOFOLD_LOG__MORE": json.dumps([second.dsn("twofold")]),
    }
    with (
        LocalStack.start(
            directory / "stack", databases=DATABASES, progress=lambda _: None
        ) as stack,
        Cluster(
            stack,
            directory / "cluster",
            definitions=DEFINITIONS,
            participants=MODULES,
            environment=environment,
        ) as cluster,
    ):
        cluster.prepare()
        yield cluster


@pytest.fixture
async def two_stores(cluster: Cluster) -> Company:
    company = Company(cluster, cluster.stack)
    await company.client.__aenter__()
    return company


async def test_one_store_fails_and_the_other_goes_on(
    two_stores: Company, second: LocalPostgres
) -> None:
    """What belongs to the store that is away waits, and loses nothing."""
    company = two_stores
    await start_all(company, coordinators=2)
    await company.publish("before", LOAD)
    await asyncio.to_thread(second.kill)
    await company.publish("away", LOAD)

    here = [place for place in published(company) if not in_second(place)]
    away = [place for place in published(company) if in_second(place)]
    assert here, "no key belongs to the first store"
    assert away, "no key belongs to the second store"
    assert await company.client.hear(here, seconds=60) == [], "the first store was disturbed"
    assert any(place not in company.client.outcomes for place in away)

    await asyncio.to_thread(second.restart)
    await company.expect_all_well()
    asked = ("list", "-o", "json", "--limit", "1000")
    listed = json.loads(await asyncio.to_thread(company.cluster.run, "list", *asked))
    assert {view["shard"] % 2 for view in listed} == {0, 1}
    nodes = json.loads(await asyncio.to_thread(company.cluster.run, "nodes", "nodes", "-o", "json"))
    assert nodes["unowned_shards"] == []
    held = [shard for one in nodes["coordinators"] for shard in one["shards"]]
    assert sorted(held) == list(range(SHARDS))
    shown = await asyncio.to_thread(company.cluster.run, "show", "show", *away[0])
    assert "COMMITTED" in shown or "ABORTED" in shown or "COMPENSATED" in shown
    await company.client.__aexit__(None, None, None)


def test_stores_in_another_order_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    """The second database is not the first: its shards are others."""
    first, more = cluster.environment["TWOFOLD_LOG__DSN"], cluster.environment["TWOFOLD_LOG__MORE"]
    swapped = {"TWOFOLD_LOG__DSN": json.loads(more)[0], "TWOFOLD_LOG__MORE": json.dumps([first])}
    given = {**cluster.environment, **swapped}
    other = Cluster(cluster.stack, tmp_path, definitions=(), participants=(), environment=given)

    with pytest.raises(StackError):
        other.run("serve", "serve")

    assert "in the order in which they were created" in (tmp_path / "serve.log").read_text()


def published(company: Company) -> list[tuple[str, str]]:
    """Name everything that was ever published here, by definition and key."""
    kinds = (company.orders, company.transfers, company.increments)
    return [(kind.definition, str(event[kind.key])) for kind in kinds for event in kind.events]


def in_second(place: tuple[str, str]) -> bool:
    return shard_of_start(*place, SHARDS) % 2 == 1
