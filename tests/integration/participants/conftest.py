"""A database of a participant, and what a branch's and a step's tests need of it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from compose.local.stack import Kafka
from participants import Call, Participant, ReadOnly, Refused
from participants.connections import Connection, Connections, Limits
from participants.resolver import Patience
from participants.schema import migrate
from participants.settings import Settings
from participants.worker import Worker
from tests.integration.participants.asker import Asker
from tests.integration.participants.serving import Serve

SETUP = """
    CREATE TABLE IF NOT EXISTS item (name text PRIMARY KEY, value int NOT NULL);
    CREATE TABLE IF NOT EXISTS owner (name text PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS owned (
        name text PRIMARY KEY REFERENCES owner DEFERRABLE INITIALLY DEFERRED
    );
"""


ENDING = ["COMMIT", "COMMIT AND CHAIN", "ROLLBACK", "ROLLBACK AND CHAIN", "ROLLBACK; BEGIN"]
"""What a handler must not say."""


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


# ── a worker, and who asks it ────────────────────────────────────────────────


@pytest.fixture
async def shop(database: Database) -> Participant:
    """A participant with a name of its own, so that its topic is empty."""
    name = f"shop-{time.time_ns()}"
    shop = Participant(name, dsn=database.dsn, setup_sql=SETUP, held=8, limits=Limits(lock_ms=500))

    @shop.step("write")
    @shop.branch("write")
    async def write(db: Connection, call: Call) -> Any:  # pyright: ignore[reportUnusedFunction]
        if call.data == "no":
            raise Refused("no")
        await db.execute("INSERT INTO item VALUES ($1, 1)", f"{call.gid}/{call.name}")
        return call.data

    @shop.undo("erase")
    async def erase(db: Connection, call: Call) -> None:  # pyright: ignore[reportUnusedFunction]
        await db.execute("DELETE FROM item WHERE name = $1", f"{call.gid}/{call.name}")

    @shop.branch("read")
    async def read(_db: Connection, call: Call) -> ReadOnly:  # pyright: ignore[reportUnusedFunction]
        return ReadOnly(call.data)

    return shop


@pytest.fixture
async def asker(kafka: Kafka, shop: Participant) -> AsyncIterator[Asker]:
    asker = Asker(kafka.bootstrap, [shop.name])
    await asker.start()
    yield asker
    await asker.stop()


@pytest.fixture
def serve(asker: Asker, shop: Participant) -> Serve:
    """Run a worker for as long as a block lasts."""

    @asynccontextmanager
    async def serving(
        *, bootstrap: str | None = None, patience: Patience | None = None
    ) -> AsyncGenerator[None]:
        settings = Settings(
            bootstrap=bootstrap or asker.bootstrap,
            prefix=asker.prefix,
            cluster="test",
            patience=patience or Patience(),
        )
        stop = asyncio.Event()
        running = asyncio.create_task(Worker([shop], settings).run(stop))
        try:
            yield
        finally:
            stop.set()
            await running

    return serving
