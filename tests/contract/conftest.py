"""Each test of the contract runs twice: on the log in memory, and on the one on Postgres."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, NamedTuple

import asyncpg
import pytest

from compose.local.stack import Postgres
from coordinator.log.memory import MemoryLog
from coordinator.log.migrate import migrate
from coordinator.log.postgres import PostgresLog
from coordinator.log.store import ClusterFacts, DecisionLog, Position
from tests.contract.batches import LEASE_US, START_US

FACTS = ClusterFacts("test", 4, 1)

AGE = """
    UPDATE twofold.lease SET until = until - $1 * interval '1 microsecond';
    UPDATE twofold.replica SET heartbeat = heartbeat - $1 * interval '1 microsecond';
"""

_numbers = itertools.count(1)


class World(NamedTuple):
    """A log that is new, and its time."""

    log: DecisionLog
    pass_time: Callable[[int], Awaitable[None]]

    async def claim(self, shard: int = 0, *, owner: str = "ann") -> Position:
        """Take one shard that can be taken."""
        [position] = await self.log.claim(owner, [shard], LEASE_US)
        return position


@pytest.fixture(params=["memory", "postgres"])
async def world(request: pytest.FixtureRequest) -> AsyncGenerator[World]:
    """Make a new log, of one kind and then of the other."""
    if request.param == "memory":
        yield _in_memory()
    else:
        async for world in _on_postgres(request.getfixturevalue("postgres")):
            yield world


def _in_memory() -> World:
    now_us = [START_US]

    async def pass_time(us: int) -> None:
        now_us[0] += us

    return World(MemoryLog(FACTS, lambda: now_us[0]), pass_time)


async def _on_postgres(postgres: Postgres) -> AsyncGenerator[World]:
    name = f"contract_{next(_numbers)}"
    postgres.create_database(name)
    connection: Any = await asyncpg.connect(postgres.dsn(name))
    await migrate(connection, cluster=FACTS.name, shards=FACTS.shards)

    async def pass_time(us: int) -> None:
        for statement in AGE.split(";")[:2]:
            await connection.execute(statement, us)

    log = await PostgresLog.open(postgres.dsn(name))
    yield World(log, pass_time)
    await log.close()
    await connection.close()
