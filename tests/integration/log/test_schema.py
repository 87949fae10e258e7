"""The schema: made once, by whoever comes first; and what the log refuses to open."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from compose.local.postgres import LocalPostgres
from coordinator.log.migrate import ClusterMismatch, migrate, migrations, pending
from coordinator.log.postgres import PostgresLog
from coordinator.log.store import LogUnavailable
from tests.integration.log.conftest import Connection


async def test_many_may_migrate_at_once(empty: str) -> None:
    """Five processes that start together make one schema, and none of them fails."""
    connections = [await asyncpg.connect(empty) for _ in range(5)]

    done = await asyncio.gather(*(migrate(c, cluster="test", shards=8) for c in connections))

    assert sorted(map(len, done)) == [0, 0, 0, 0, len(migrations())]
    assert await connections[0].fetchval("SELECT count(*) FROM twofold.shard") == 8
    for connection in connections:
        await connection.close()


async def test_what_is_pending_is_told(hands: Connection) -> None:
    """All of it on a new database, nothing once it was applied."""
    assert await pending(hands) == migrations()

    assert await migrate(hands, cluster="test", shards=8) == migrations()

    assert await pending(hands) == []
    assert await migrate(hands, cluster="test", shards=8) == []


async def test_no_index_depends_on_a_locale(dsn: str, hands: Connection) -> None:
    """An upgrade of the system's locales would put such an index out of order, unnoticed."""
    del dsn
    locale_bound = await hands.fetch(
        "SELECT a.attrelid::regclass, a.attname"
        "  FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indexrelid"
        " WHERE a.attrelid::regclass::text LIKE 'twofold.%'"
        "   AND a.attcollation NOT IN (0, '\"C\"'::regcollation)"
    )

    assert [tuple(row) for row in locale_bound] == []


@pytest.mark.parametrize(("cluster", "shards"), [("other", 8), ("test", 9)])
async def test_a_log_keeps_its_name_and_shards(
    hands: Connection, cluster: str, shards: int
) -> None:
    """Both are part of every name in it."""
    await migrate(hands, cluster="test", shards=8)

    with pytest.raises(ClusterMismatch, match="'test' with 8 shards"):
        await migrate(hands, cluster=cluster, shards=shards)

    assert await hands.fetchval("SELECT count(*) FROM twofold.shard") == 8


async def test_a_step_that_fails_leaves_nothing(hands: Connection) -> None:
    """A name that the log refuses is refused before anything is there."""
    with pytest.raises(asyncpg.CheckViolationError):
        await migrate(hands, cluster="No Name", shards=8)

    assert await pending(hands) == migrations()


async def test_a_database_without_a_log_is_refused(empty: str) -> None:
    """And says what to run."""
    with pytest.raises(LogUnavailable, match=r"decision_log.*twofold migrate"):
        await PostgresLog.open(empty)


async def test_a_log_that_lacks_a_step_is_refused(dsn: str, hands: Connection) -> None:
    """A new program does not start on an old schema."""
    await hands.execute("DELETE FROM twofold.migration WHERE number = 1")

    with pytest.raises(LogUnavailable, match="lacks 1 "):
        await PostgresLog.open(dsn)


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
async def test_a_server_that_forgets_is_refused(tmp_path: Path, setting: str) -> None:
    """What it acknowledges would not survive a crash."""
    server = LocalPostgres.start(tmp_path, databases=["log"], settings={setting: "off"})
    try:
        with pytest.raises(LogUnavailable, match=f"{setting} is off"):
            await PostgresLog.open(server.dsn("log"))
    finally:
        server.stop()


async def test_a_server_that_only_reads_is_refused(dsn: str, hands: Connection) -> None:
    """A standby, or a former primary."""
    [[name]] = await hands.fetch("SELECT current_database()")
    await hands.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    with pytest.raises(LogUnavailable, match="TargetServerAttributeNotMatched"):
        await PostgresLog.open(dsn)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    """Nobody listens at the port."""
    with pytest.raises(LogUnavailable, match=r"ConnectionRefused|Connect call failed"):
        await PostgresLog.open("postgresql://postgres@127.0.0.1:1/none")
