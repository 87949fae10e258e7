"""How a participant's tables come to be, and what a server must allow."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from compose.local.postgres import LocalPostgres
from participants import Call, Participant
from participants.connections import Connection, Connections
from participants.schema import is_present, migrate
from participants.worker import Bound, NotReady

GUARDS = "SELECT count(*) FROM pg_trigger WHERE tgname = 'guard'"
SETUP = "CREATE TABLE IF NOT EXISTS item (name text PRIMARY KEY)"


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    """A server that holds two transactions prepared, and no more."""
    settings = {"max_prepared_transactions": "2"}
    server = LocalPostgres.start(tmp_path_factory.mktemp("tight"), settings=settings)
    yield server
    server.stop()


async def test_many_processes_may_migrate_at_once(postgres: Any) -> None:
    """IF NOT EXISTS alone would let some of them fail."""
    name = f"participant_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name)
    connections = Connections(postgres.dsn(name), name="test", limit=8)

    async def once() -> None:
        async with connections.one() as connection:
            await migrate(connection, SETUP)

    await asyncio.gather(*(once() for _ in range(8)))
    await once()

    async with connections.one() as connection:
        assert await is_present(connection)
    await connections.close()


async def test_tables_of_an_older_version_are_guarded_as_well(postgres: Any) -> None:
    """They keep what is in them, and a worker says what to do until they are."""
    name = f"participant_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name)
    bound = Bound(Participant("shop", dsn=postgres.dsn(name)), "")
    await bound.migrate()
    async with bound.connections.one() as connection:
        await connection.execute("DROP FUNCTION twofold.guard CASCADE")
        await connection.execute("DROP FUNCTION twofold.handlers_are_done")
        await connection.execute("INSERT INTO twofold.barrier VALUES ('g', 's', 'done')")
    with pytest.raises(NotReady, match="twofold participants migrate"):
        await bound.check()

    await bound.migrate()

    await bound.check()
    async with bound.connections.one() as connection:
        assert await connection.fetchval("SELECT count(*) FROM twofold.barrier") == 1
        assert await connection.fetchval(GUARDS) == 2
    await bound.connections.close()


async def write(db: Connection, call: Call) -> None:
    await db.execute("INSERT INTO item VALUES ($1)", call.gid)


async def test_a_participant_holds_less_than_the_server_s_slots(tight: LocalPostgres) -> None:
    tight.create_database("bound")
    bank = Participant("bank", dsn=tight.dsn("bound"), held=24)
    bank.branch("write")(write)
    bound = Bound(bank, "")
    await bound.migrate()

    await bound.check()

    assert bound.held_limit == 1
    await bound.connections.close()


async def test_a_server_without_slots_is_refused_with_the_remedy(
    tmp_path_factory: pytest.TempPathFactory, tight: LocalPostgres
) -> None:
    """It is how Postgres is installed; a participant with steps only does not mind."""
    del tight  # skips where no server can be started
    settings = {"max_prepared_transactions": "0"}
    folder = tmp_path_factory.mktemp("none")
    with LocalPostgres.start(folder, databases=["none"], settings=settings) as server:
        bank = Participant("bank", dsn=server.dsn("none"))
        bound = Bound(bank, "")
        await bound.migrate()
        await bound.check()
        bank.branch("write")(write)
        with pytest.raises(NotReady, match="set max_prepared_transactions"):
            await bound.check()
        await bound.connections.close()


async def test_a_database_that_is_not_there_is_named(postgres: Any) -> None:
    bound = Bound(Participant("bank", database="no_such_database"), postgres.dsn("postgres"))
    with pytest.raises(NotReady, match='bank: database "no_such_database" does not exist'):
        await bound.check()
