"""The decision log on Postgres.

A batch is one statement, so one round trip and one commit. It runs without a
client timeout on purpose: a commit that is given up on may have happened
(https://www.postgresql.org/docs/current/sql-commit.html says nothing else),
so the only answers to a lost connection are a new epoch and a fresh look.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import CoroutineType
from typing import Any, Final, ParamSpec, TypeVar

import asyncpg

from coordinator.core.records import Decided, Decision, Entry, decode, encode
from coordinator.log.store import (
    Batch,
    Census,
    ClusterFacts,
    KnownStart,
    LogUnavailable,
    Position,
    StoredDefinition,
    VersionTaken,
)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
P = ParamSpec("P")
T = TypeVar("T")

RELEASED: Final = "twofold_shards"
"""The NOTIFY channel on which a released shard is announced."""

# `mine` is the fence: a shard that has a higher epoch by now yields no row,
# and nothing of its share of the batch is written. Rows are taken in order of
# shard, so that two batches cannot wait for each other.
PERSIST = """
    WITH held AS (
        SELECT s.id, v.requests_offset, v.replies_offset
          FROM twofold.shard s
          JOIN unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[])
               AS v(id, epoch, requests_offset, replies_offset) USING (id)
         WHERE s.epoch = v.epoch
         ORDER BY s.id
           FOR NO KEY UPDATE OF s
    ), mine AS (
        UPDATE twofold.shard s
           SET requests_offset = held.requests_offset, replies_offset = held.replies_offset
          FROM held WHERE s.id = held.id
        RETURNING s.id
    ), begun AS (
        INSERT INTO twofold.transaction
               (gid, shard, name, definition, start_key, input_hash,
                status, outcome, active, began_at, changed_at)
        SELECT v.gid, v.shard, v.name, v.definition, v.start_key, v.input_hash,
               v.status, v.outcome, v.active, v.began_at, v.began_at
          FROM unnest($5::text[], $6::int[], $7::text[], $8::text[], $9::text[], $10::text[],
                      $11::text[], $12::text[], $13::bool[], $14::timestamptz[])
               AS v(gid, shard, name, definition, start_key, input_hash,
                    status, outcome, active, began_at)
          JOIN mine ON mine.id = v.shard
    ), appended AS (
        INSERT INTO twofold.decision_log (gid, seq, at, record)
        SELECT v.gid, v.seq, v.at, v.record::json
          FROM unnest($15::int[], $16::text[], $17::int[], $18::timestamptz[], $19::text[])
               AS v(shard, gid, seq, at, record)
          JOIN mine ON mine.id = v.shard
    ), changed AS (
        UPDATE twofold.transaction t
           SET status = v.status, outcome = v.outcome, active = v.active, changed_at = v.at
          FROM unnest($20::text[], $21::int[], $22::text[], $23::text[], $24::bool[],
                      $25::timestamptz[])
               AS v(gid, shard, status, outcome, active, at)
          JOIN mine ON mine.id = v.shard
         WHERE t.gid = v.gid
    )
    SELECT id FROM mine
"""

# A living owner's lease is left alone; one's own is taken anew, with a new epoch.
CLAIM = """
    WITH leased AS (
        INSERT INTO twofold.lease AS l (shard, owner, until)
        SELECT id, $1, now() + $3 * interval '1 microsecond'
          FROM twofold.shard WHERE id = ANY($2::int[]) ORDER BY id
        ON CONFLICT (shard) DO UPDATE SET owner = excluded.owner, until = excluded.until
         WHERE l.until < now() OR l.owner = excluded.owner
        RETURNING shard
    )
    UPDATE twofold.shard s SET epoch = s.epoch + 1
      FROM leased WHERE s.id = leased.shard
    RETURNING s.id, s.epoch, s.requests_offset, s.replies_offset
"""

HEARTBEAT = """
    WITH alive AS (
        INSERT INTO twofold.replica AS r (id) VALUES ($1)
        ON CONFLICT (id) DO UPDATE SET heartbeat = now()
    ), gone AS (
        DELETE FROM twofold.replica WHERE heartbeat < now() - interval '1 hour'
    )
    UPDATE twofold.lease SET until = now() + $2 * interval '1 microsecond'
     WHERE owner = $1 RETURNING shard
"""

LOOK_AROUND = """
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us,
           ARRAY(SELECT id FROM twofold.replica
                  WHERE heartbeat > now() - $1 * interval '1 microsecond' ORDER BY id) AS replicas,
           ARRAY(SELECT s.id FROM twofold.shard s LEFT JOIN twofold.lease l ON l.shard = s.id
                  WHERE l.shard IS NULL OR l.until < now() ORDER BY s.id) AS free
"""

RELEASE = "DELETE FROM twofold.lease WHERE owner = $1 AND shard = ANY($2::int[])"

LEAVE = """
    WITH released AS (DELETE FROM twofold.lease WHERE owner = $1)
    DELETE FROM twofold.replica WHERE id = $1
"""

ACTIVE = """
    SELECT l.gid, l.seq, (extract(epoch FROM l.at) * 1000000)::bigint AS at_us, l.record
      FROM twofold.transaction t JOIN twofold.decision_log l USING (gid)
     WHERE t.active AND t.shard = ANY($1::int[])
     ORDER BY l.gid, l.seq
"""

KNOWN_STARTS = """
    SELECT t.name, t.start_key, t.gid, t.input_hash
      FROM unnest($1::text[], $2::text[]) AS v(name, start_key)
      JOIN twofold.transaction t USING (name, start_key)
"""

DECISIONS = """
    SELECT t.gid,
           (SELECT l.record FROM twofold.decision_log l
             WHERE l.gid = t.gid AND l.record->>'kind' = 'decided') AS decided
      FROM twofold.transaction t WHERE t.gid = ANY($1::text[])
"""

PUBLISH = """
    INSERT INTO twofold.definition (hash, name, version, source) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING
"""


def _unguessed(
    method: Callable[P, CoroutineType[Any, Any, T]],
) -> Callable[P, CoroutineType[Any, Any, T]]:
    """Turn whatever a lost connection can raise into LogUnavailable."""

    @functools.wraps(method)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise LogUnavailable(f"{type(error).__name__}: {error}") from error

    return guarded


class PostgresLog:
    """A DecisionLog on one Postgres database."""

    def __init__(self, pool: Any) -> None:  # asyncpg ships no types
        self._pool = pool
        self._listening: Any = None
        self._ring: Callable[..., None] | None = None

    @classmethod
    async def open(cls, dsn: str) -> PostgresLog:
        """Connect to a primary that keeps what it says it keeps.

        Raises:
            LogUnavailable: it cannot be reached, has no schema, or would lose
                acknowledged commits (fsync or full_page_writes off).

        """
        try:
            create_pool: Any = asyncpg.create_pool
            pool = await create_pool(
                dsn,
                min_size=2,
                max_size=6,
                timeout=10,
                target_session_attrs="read-write",
                server_settings={
                    "application_name": "twofold",
                    "synchronous_commit": "on",
                    "idle_in_transaction_session_timeout": "2000",
                },
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise LogUnavailable(f"{type(error).__name__}: {error}") from error
        log = cls(pool)
        await log._refuse_forgetful()
        return log

    async def close(self) -> None:
        """Close all connections."""
        if self._listening is not None:
            await self._listening.remove_listener(RELEASED, self._ring)
            await self._pool.release(self._listening)
        await self._pool.close()

    @_unguessed
    async def _refuse_forgetful(self) -> None:
        for setting in ("fsync", "full_page_writes"):
            if await self._pool.fetchval("SELECT current_setting($1)", setting) != "on":
                raise LogUnavailable(f"{setting} is off: decisions would not survive a crash")
        if await self._pool.fetchval("SELECT to_regclass('twofold.decision_log')") is None:
            raise LogUnavailable("this database has no decision log: run `twofold migrate`")

    @_unguessed
    async def ring_on_release(self, bell: asyncio.Event) -> None:
        """Set the event whenever somebody gives shards back. A lost ring costs one beat."""
        connection = self._listening = await self._pool.acquire()

        def ring(*_: object) -> None:
            bell.set()

        self._ring = ring
        await connection.add_listener(RELEASED, ring)

    @_unguessed
    async def facts(self) -> ClusterFacts:
        row = await self._pool.fetchrow("SELECT name, shards, generation FROM twofold.cluster")
        if row is None:
            raise LogUnavailable("the log names no cluster: run `twofold migrate`")
        return ClusterFacts(*row)

    @_unguessed
    async def persist(self, batch: Batch) -> frozenset[int]:
        rows = await self._pool.fetch(PERSIST, *_columns(batch))
        return frozenset(row[0] for row in rows)

    @_unguessed
    async def census(self, replica: str, lease_us: int) -> Census:
        mine = await self._pool.fetch(HEARTBEAT, replica, lease_us)
        row = await self._pool.fetchrow(LOOK_AROUND, lease_us)
        return Census(
            row["now_us"],
            tuple(row["replicas"]),
            frozenset(r[0] for r in mine),
            frozenset(row["free"]),
        )

    @_unguessed
    async def claim(
        self, replica: str, shards: Collection[int], lease_us: int
    ) -> Sequence[Position]:
        rows = await self._pool.fetch(CLAIM, replica, list(shards), lease_us)
        return [Position(*row) for row in rows]

    @_unguessed
    async def release(self, replica: str, shards: Collection[int]) -> None:
        await self._pool.execute(RELEASE, replica, list(shards))
        await self._pool.execute("SELECT pg_notify($1, '')", RELEASED)

    @_unguessed
    async def leave(self, replica: str) -> None:
        await self._pool.execute(LEAVE, replica)
        await self._pool.execute("SELECT pg_notify($1, '')", RELEASED)

    @_unguessed
    async def active(self, shards: Collection[int]) -> Sequence[Entry]:
        rows = await self._pool.fetch(ACTIVE, list(shards))
        return [Entry(gid, seq, at_us, decode(text)) for gid, seq, at_us, text in rows]

    @_unguessed
    async def known_starts(
        self, starts: Collection[tuple[str, str]]
    ) -> Mapping[tuple[str, str], KnownStart]:
        names, keys = [name for name, _ in starts], [key for _, key in starts]
        rows = await self._pool.fetch(KNOWN_STARTS, names, keys)
        return {(name, key): KnownStart(gid, digest) for name, key, gid, digest in rows}

    @_unguessed
    async def decisions(self, gids: Collection[str]) -> Mapping[str, Decision | None]:
        rows = await self._pool.fetch(DECISIONS, list(gids))
        return {gid: _decision(text) for gid, text in rows}

    @_unguessed
    async def publish(self, definition: StoredDefinition) -> bool:
        done = await self._pool.execute(PUBLISH, *definition)
        if done == "INSERT 0 1":
            return True
        taken = await self._pool.fetchval(
            "SELECT hash FROM twofold.definition WHERE name = $1 AND version = $2",
            definition.name,
            definition.version,
        )
        if taken != definition.hash:
            raise VersionTaken(
                f"{definition.name} version {definition.version} is published with another text: "
                "give the new text a new version"
            )
        return False

    @_unguessed
    async def definitions(self) -> Sequence[StoredDefinition]:
        rows = await self._pool.fetch("SELECT hash, name, version, source FROM twofold.definition")
        return [StoredDefinition(*row) for row in rows]


def _decision(text: str | None) -> Decision | None:
    if text is None:
        return None
    record = decode(text)
    assert isinstance(record, Decided)
    return record.decision


def _columns(batch: Batch) -> tuple[list[Any], ...]:
    """Turn a batch's rows into the columns that PERSIST unnests."""
    positions, begun, changes = batch.positions, batch.begun, batch.changes
    entries = [(shard, e.gid, e.seq, _at(e.at_us), encode(e.record)) for shard, e in batch.entries]
    return (
        *_transposed(positions, 4),
        *_transposed(begun, 6),
        [row.status for row in begun],
        [row.outcome for row in begun],
        [row.active for row in begun],
        [_at(row.began_us) for row in begun],
        *_transposed(entries, 5),
        *_transposed(changes, 5),
        [_at(change.at_us) for change in changes],
    )


def _transposed(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[i] for row in rows] for i in range(width)]


def _at(at_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=at_us)
