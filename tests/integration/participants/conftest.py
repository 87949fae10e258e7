"""A database of a participant, and what a branch's and a step's tests need of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from participants.connections import Connection, Connections, Limits
from participants.schema import migrate

SETUP = """
    CREATE TABLE IF NOT EXISTS item (name text PRIMARY KEY, value int NOT NULL);
    CREATE TABLE IF NOT EXISTS owner (name text PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS owned (
        name text PRIMARY KEY REFERENCES owner DEFERRABLE INITIALLY DEFERRED
    );
"""


def new_gid() -> str:
    """A transaction that nobody has heard of, in this run or another on the same server."""
    return f"tf1.test.1.0.{uuid.uuid4().hex}"


class Database:
    """A participant's database, and what a test asks of it directly."""

    def __init__(self, dsn: str, connections: Connections) -> None:
        self.dsn, self.connections = dsn, connections

    def another(self, role: str | None = None, **limits: int) -> Connections:
        """Connections of another process."""
        return Connections(self.dsn, name="another", limit=8, limits=Limits(**limits), role=role)

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        async with self.connections.one() as connection:
            return [tuple(row) for row in await connection.fetch(sql, *arguments)]

    async def execute(self, sql: str, *arguments: Any) -> None:
        async with self.connections.one() as connection:
            await connection.execute(sql, *arguments)

    async def prepared(self) -> set[str]:
        rows = await self.fetch(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        )
        return {row[0] for row in rows}

    async def items(self) -> dict[str, int]:
        return dict(await self.fetch("SELECT name, value FROM item"))


MakeDatabase = Callable[..., Awaitable[Database]]


@pytest.fixture
async def make_database(postgres: Any) -> AsyncIterator[MakeDatabase]:
    """Create databases with the tables of a participant."""
    made: list[tuple[str, Connections]] = []

    async def make(**limits: int) -> Database:
        name = f"participant_{uuid.uuid4().hex[:12]}"
        postgres.create_database(name)
        connections = Connections(postgres.dsn(name), name="test", limit=8, limits=Limits(**limits))
        made.append((name, connections))
        async with connections.one() as connection:
            await migrate(connection, SETUP)
        return Database(postgres.dsn(name), connections)

    yield make
    for name, connections in made:
        async with connections.one() as connection:
            await _end_all(connection)
        await connections.close()
        async with Connections(postgres.dsn("postgres"), name="test", limit=1).one() as connection:
            await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            await connection.close()


async def _end_all(connection: Connection) -> None:
    """Leave nothing prepared: the server's slots are everyone's."""
    for (name,) in await connection.fetch(
        "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
    ):
        await connection.execute(f"ROLLBACK PREPARED '{name}'")


@pytest.fixture
async def database(make_database: MakeDatabase) -> Database:
    """A fresh database."""
    return await make_database(lock_ms=500)
