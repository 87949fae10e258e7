"""The schema of the decision log, in numbered steps.

The steps are the files of migrations/, applied in order, each once, all in
one transaction under one advisory lock: several processes may start at once.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, Final, NamedTuple, TypeAlias

Connection: TypeAlias = Any
"""An asyncpg connection; asyncpg ships no types."""

LOCK_KEY: Final = 0x74776F666F6C64  # "twofold"

BOOTSTRAP: Final = """
    CREATE SCHEMA IF NOT EXISTS twofold;
    CREATE TABLE IF NOT EXISTS twofold.migration (
        number     integer PRIMARY KEY,
        name       text        NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    );
"""


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    sql: str


class ClusterMismatch(Exception):
    """The log exists, and is another cluster's or has another number of shards."""


def migrations() -> list[Migration]:
    """Read all steps, in order."""
    folder = resources.files("coordinator.log") / "migrations"
    found: list[Migration] = []
    for file in folder.iterdir():
        number, _, rest = file.name.partition("_")
        if file.name.endswith(".sql"):
            found.append(Migration(int(number), rest.removesuffix(".sql"), file.read_text("utf-8")))
    return sorted(found)


async def pending(connection: Connection) -> list[Migration]:
    """Tell which steps this database lacks."""
    if await connection.fetchval("SELECT to_regclass('twofold.migration')") is None:
        return migrations()
    applied = {r[0] for r in await connection.fetch("SELECT number FROM twofold.migration")}
    return [step for step in migrations() if step.number not in applied]


NAME: Final = """
    INSERT INTO twofold.cluster (name, shards, store, stores) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING
"""

SHARDS: Final = """
    INSERT INTO twofold.shard (id) SELECT generate_series($1::int, $2::int - 1, $3::int)
    ON CONFLICT DO NOTHING
"""


async def migrate(
    connection: Connection, *, cluster: str, shards: int, store: int = 0, stores: int = 1
) -> list[Migration]:
    """Apply what is missing, and name the cluster; return what was applied.

    Raises:
        ClusterMismatch: the log was created with another name or shard count,
            which are part of the name of every transaction in it, or as
            another one of its stores.

    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
        await connection.execute(BOOTSTRAP)
        steps = await pending(connection)
        for step in steps:
            await connection.execute(step.sql)
            await connection.execute(
                "INSERT INTO twofold.migration (number, name) VALUES ($1, $2)",
                step.number,
                step.name,
            )
        wanted = (cluster, shards, store, stores)
        await connection.execute(NAME, *wanted)
        row = await connection.fetchrow("SELECT name, shards, store, stores FROM twofold.cluster")
        if tuple(row) != wanted:
            raise ClusterMismatch(
                f"this log is {named(*row)}, not {named(*wanted)}:"
                " all of it is fixed when a log is created"
            )
        await connection.execute(SHARDS, store, shards, stores)
    return steps


def named(cluster: str, shards: int, store: int, stores: int) -> str:
    """Describe a log by what was fixed when it was created."""
    which = f", store {store + 1} of {stores}" if stores > 1 else ""
    return f"cluster {cluster!r} with {shards} shards{which}"
