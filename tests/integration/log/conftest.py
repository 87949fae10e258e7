"""A database of its own for each test of the log, and a second pair of hands in it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeAlias

import asyncpg
import pytest

from compose.local.stack import Postgres
from coordinator.log.ask import SESSION
from coordinator.log.migrate import migrate
from coordinator.log.postgres import PostgresLog

Connection: TypeAlias = Any
OpenLog: TypeAlias = Callable[[], Awaitable[PostgresLog]]

SHARDS = 400

WAITING = """
    SELECT pid FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'
"""

_numbers = itertools.count(1)


@pytest.fixture
def empty(postgres: Postgres) -> str:
    """The address of a database with nothing in it."""
    name = f"log_{next(_numbers)}"
    postgres.create_database(name)
    return postgres.dsn(name)


@pytest.fixture
async def hands(empty: str) -> AsyncGenerator[Connection]:
    """A connection to it."""
    connection: Connection = await asyncpg.connect(empty, server_settings=SESSION)
    yield connection
    await connection.close()


@pytest.fixture
async def dsn(empty: str, hands: Connection) -> str:
    """The address of a database with a new log in it."""
    await migrate(hands, cluster="test", shards=SHARDS)
    return empty


@pytest.fixture
async def open_log(dsn: str) -> AsyncGenerator[OpenLog]:
    """Open the log once more, as another process would."""
    logs: list[PostgresLog] = []

    async def open_one() -> PostgresLog:
        logs.append(await PostgresLog.open(dsn))
        return logs[-1]

    yield open_one
    for log in logs:
        await log.close()


@pytest.fixture
async def log(open_log: OpenLog) -> PostgresLog:
    """The log, opened."""
    return await open_log()


async def waiting(connection: Connection, count: int) -> list[int]:
    """Wait until so many statements wait for a lock; return their backends."""
    while True:
        found = [row[0] for row in await connection.fetch(WAITING)]
        if len(found) >= count:
            return found
        await asyncio.sleep(0.01)
