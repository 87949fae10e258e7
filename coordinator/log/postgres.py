"""The decision log on Postgres.

A batch is one statement, so one round trip and one commit. It runs without a
client timeout on purpose: a commit that is given up on may have happened
(https://www.postgresql.org/docs/current/sql-commit.html says nothing else),
so the only answers to a lost connection are a new epoch and a fresh look.

Whoever locks takes shards before leases, and each in order of number: so
nobody here waits for somebody who waits for him.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg

from coordinator.core.events import Letter
from coordinator.core.lock import Claim
from coordinator.core.records import Decided, Decision, Entry, decode
from coordinator.log import box, claims, schedules, views
from coordinator.log.ask import SESSION, TROUBLE, ask, unavailable
from coordinator.log.batches import KEPT_PLAN, at, transposed, write
from coordinator.log.census import HEARTBEAT, LOOK_AROUND
from coordinator.log.migrate import pending
from coordinator.log.parts import DAY_US, born_us, slots_of
from coordinator.log.purge import purge
from coordinator.log.store import (
    Batch,
    Census,
    ClusterFacts,
    KnownStart,
    LogUnavailable,
    Place,
    Position,
    StoredDefinition,
    VersionTaken,
    Waiting,
    check,
    storable,
)
from wire.dsn import servers
from wire.postgres import connect

RELEASED: Final = "twofold_shards"
"""The NOTIFY channel on which a released shard is announced."""

CONNECT_S: Final = 10.0
CLOSE_S: Final = 5.0

GIVEN_UP_S: Final = 10.0
"""How long a server may take to stop what was given up, and to begin or end a transaction. One
that is frozen answers nothing: whoever waits for it never gets to its standby."""

_LIFE: Final = "SELECT pg_postmaster_start_time()"

KEEPALIVE: Final = {
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPINTVL": 2,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 11_000,  # for what was sent, as the others for silence
}

DURABLE: Final = {
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": "2000",
    # Whoever waits for a row wants to see what it is then.
    "default_transaction_isolation": "read committed",
}

# A living owner's lease is left alone; one's own is taken anew, with a new epoch.
# `wanted` waits for whatever is being written for these shards; what waits for
# `wanted` finds the next epoch. Clocks are read after the wait.
CLAIM = """
    WITH wanted AS (
        SELECT id FROM twofold.shard WHERE id = ANY($2::int[]) ORDER BY id FOR NO KEY UPDATE
    ), leased AS (
        INSERT INTO twofold.lease AS l (shard, owner, until)
        SELECT id, $1, clock_timestamp() + $3 * interval '1 microsecond'
          FROM wanted ORDER BY id
        ON CONFLICT (shard) DO UPDATE SET owner = excluded.owner, until = excluded.until
         WHERE l.until < clock_timestamp() OR l.owner = excluded.owner
        RETURNING shard
    )
    UPDATE twofold.shard s SET epoch = s.epoch + 1
      FROM leased WHERE s.id = leased.shard
    RETURNING s.id, s.epoch, s.requests_offset, s.replies_offset
"""

RELEASE = """
    WITH mine AS (
        SELECT shard FROM twofold.lease
         WHERE owner = $1 AND shard = ANY($2::int[]) ORDER BY shard FOR UPDATE
    )
    DELETE FROM twofold.lease l USING mine WHERE l.shard = mine.shard
"""

LEAVE = """
    WITH mine AS (
        SELECT shard FROM twofold.lease WHERE owner = $1 ORDER BY shard FOR UPDATE
    ), released AS (
        DELETE FROM twofold.lease l USING mine WHERE l.shard = mine.shard
    )
    DELETE FROM twofold.replica WHERE id = $1
"""

# "Not ended" is what the index says; whoever is active is not ended.
ACTIVE = """
    SELECT gid FROM twofold.transaction
     WHERE active AND status <> 'ended' AND shard = ANY($1::int[])
"""

# Those of all shards that wake first: few, however many sleep.
WAKING = """
    SELECT gid FROM twofold.transaction
     WHERE shard = ANY($1::int[]) AND wake_at <= $2::timestamptz
     ORDER BY wake_at, gid LIMIT $3
"""

ASLEEP = """
    SELECT gid FROM twofold.transaction WHERE gid = ANY($1::text[]) AND wake_at IS NOT NULL
"""
UNENDED = "SELECT gid FROM twofold.transaction WHERE gid = ANY($1::text[]) AND status <> 'ended'"

FACTS = "SELECT name, shards, generation, store, stores FROM twofold.cluster"


KNOWN_STARTS = """
    SELECT t.name, t.start_key, t.gid, t.input_hash
      FROM unnest($1::text[], $2::text[]) AS v(name, start_key)
      JOIN twofold.transaction t USING (name, start_key)
"""

# At one moment: what is looked for may be forgotten at the next. Records may
# stay a while longer than their transaction, and then say nothing any more.
DECISIONS = """
    SELECT v.gid, t.gid IS NOT NULL, c.purged_us,
           (SELECT l.record FROM twofold.decision_log l
             WHERE l.gid = t.gid AND l.slot = ANY($2::int[]) AND l.kind = 'decided')
      FROM unnest($1::text[]) AS v(gid)
     CROSS JOIN twofold.cluster c
      LEFT JOIN twofold.transaction t USING (gid)
"""

PUBLISH = """
    INSERT INTO twofold.definition (hash, name, version, source) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING RETURNING hash
"""


class PostgresLog:
    """A DecisionLog on one Postgres database."""

    def __init__(self, pool: Any, writers: Any) -> None:  # asyncpg ships no types
        self._pool, self._writers = pool, writers
        self._part_us = DAY_US
        self._listening: Any = None
        self._ring: Callable[..., None] | None = None

    @property
    def pool(self) -> Any:
        """Its connections, for views."""
        return self._pool

    @classmethod
    async def open(cls, dsn: str) -> PostgresLog:
        """Connect to a primary that keeps what it says it keeps.

        Raises:
            LogUnavailable: it cannot be reached, lacks a part of the schema,
                or would lose acknowledged commits (fsync or full_page_writes off).

        """
        server, pools = _OneServer(dsn), list[Any]()
        try:
            for settings, least, most in ((SESSION, 2, 6), (KEPT_PLAN, 1, 2)):
                pools.append(await _pool(server, settings, least, most))
        except TROUBLE as error:
            for pool in pools:
                pool.terminate()
            raise unavailable(error) from error
        log = cls(*pools)
        try:
            await log._refuse_forgetful()
        except BaseException:
            await log.close()
            raise
        return log

    async def close(self) -> None:
        """Close all connections, also those that nobody answers on."""
        try:
            async with asyncio.timeout(CLOSE_S):
                if self._listening is not None:
                    await self._listening.remove_listener(RELEASED, self._ring)
                    await self._pool.release(self._listening)
                await asyncio.gather(self._pool.close(), self._writers.close())
        except TROUBLE:
            self._pool.terminate()
            self._writers.terminate()

    async def _refuse_forgetful(self) -> None:
        for setting in ("fsync", "full_page_writes"):
            [[value]] = await ask(self._pool, "SELECT current_setting($1)", setting)
            if value != "on":
                raise LogUnavailable(f"{setting} is off: decisions would not survive a crash")
        try:
            missing = await pending(self._pool)
        except TROUBLE as error:
            raise unavailable(error) from error
        if missing:
            names = ", ".join(f"{step.number} ({step.name})" for step in missing)
            raise LogUnavailable(f"this database lacks {names}: run `twofold migrate`")
        for row in await ask(self._pool, "SELECT part_us FROM twofold.cluster"):
            self._part_us = row[0]

    async def ring_on_release(self, bell: asyncio.Event) -> None:
        """Set the event whenever somebody gives shards back. A lost ring costs one beat."""

        def ring(*_: object) -> None:
            bell.set()

        try:
            self._listening = await self._pool.acquire()
            self._ring = ring
            await self._listening.add_listener(RELEASED, ring)
        except TROUBLE as error:
            raise unavailable(error) from error

    async def facts(self) -> ClusterFacts:
        rows = await ask(self._pool, FACTS)
        if not rows:
            raise LogUnavailable("the log names no cluster: run `twofold migrate`")
        return ClusterFacts(*rows[0])

    async def persist(self, batch: Batch) -> frozenset[int]:
        check(batch)
        return await write(self._writers, batch, self._part_us)

    async def census(self, replica: str, lease_us: int) -> Census:
        mine = await ask(self._pool, HEARTBEAT, replica, lease_us)
        [row] = await ask(self._pool, LOOK_AROUND, lease_us)
        return Census(
            row["now_us"],
            tuple(row["replicas"]),
            frozenset(r[0] for r in mine),
            frozenset(row["free"]),
        )

    async def claim(
        self, replica: str, shards: Collection[int], lease_us: int
    ) -> Sequence[Position]:
        rows = await ask(self._pool, CLAIM, replica, list(shards), lease_us)
        return sorted(Position(*row) for row in rows)

    async def release(self, replica: str, shards: Collection[int]) -> None:
        await ask(self._pool, RELEASE, replica, list(shards))
        await ask(self._pool, "SELECT pg_notify($1, '')", RELEASED)

    async def leave(self, replica: str) -> None:
        await ask(self._pool, LEAVE, replica)
        await ask(self._pool, "SELECT pg_notify($1, '')", RELEASED)

    async def active(self, shards: Collection[int]) -> Sequence[Entry]:
        return await self._records_of(ACTIVE, list(shards))

    async def deliver(self, letters: Collection[Letter]) -> None:
        await box.deliver(self._pool, letters)

    async def waiting(self, places: Collection[Place]) -> Sequence[Waiting]:
        return await box.waiting(self._pool, places)

    async def letters(self, places: Collection[Place]) -> Mapping[Place, Sequence[Letter]]:
        return await box.letters(self._pool, places)

    async def throw_away(self, topic: str, before_us: int, limit: int) -> int:
        return await box.throw_away(self._pool, topic, before_us, limit)

    async def asleep(self, gids: Collection[str]) -> Sequence[Entry]:
        return await self._records_of(ASLEEP, [gid for gid in gids if storable((gid,))])

    async def waking(self, shards: Collection[int], until_us: int, limit: int) -> Sequence[Entry]:
        return await self._records_of(WAKING, list(shards), at(until_us), limit)

    async def _records_of(self, sql: str, *arguments: Any) -> Sequence[Entry]:
        return await self.records([gid for (gid,) in await ask(self._pool, sql, *arguments)])

    async def claims(self, shards: Collection[int]) -> Sequence[tuple[int, str, Claim]]:
        rows = await ask(self._pool, claims.READ, list(shards))
        return [(shard, lock, Claim(*claim)) for shard, lock, *claim in rows]

    async def unended(self, gids: Collection[str]) -> frozenset[str]:
        rows = await ask(self._pool, UNENDED, [gid for gid in gids if storable((gid,))])
        return frozenset(row[0] for row in rows)

    async def history(self, gid: str) -> Sequence[Entry]:
        """Return all records of one transaction, for whoever watches."""
        return await self.records([gid])

    async def records(self, gids: Collection[str]) -> Sequence[Entry]:
        return await views.records(self._pool, gids, slots_of(gids, self._part_us))

    async def known_starts(
        self, starts: Collection[tuple[str, str]]
    ) -> Mapping[tuple[str, str], KnownStart]:
        wanted = [start for start in starts if storable(start)]
        rows = await ask(self._pool, KNOWN_STARTS, *transposed(wanted, 2))
        return {(name, key): KnownStart(gid, digest) for name, key, gid, digest in rows}

    async def decisions(self, gids: Collection[str]) -> Mapping[str, Decision | None]:
        asked = [gid for gid in gids if storable((gid,))]
        rows = await ask(self._pool, DECISIONS, asked, slots_of(asked, self._part_us))
        return {
            gid: _decision(text)
            for gid, there, purged_us, text in rows
            if there or born_us(gid) < purged_us
        }

    async def purge(self, keep: Mapping[str, int], now_us: int, limit: int) -> int:
        return await purge(self._pool, keep, now_us, limit, self._part_us)

    async def publish(self, definition: StoredDefinition) -> bool:
        if await ask(self._pool, PUBLISH, *definition):
            return True
        same_version = await ask(
            self._pool,
            "SELECT hash FROM twofold.definition WHERE name = $1 AND version = $2",
            definition.name,
            definition.version,
        )
        if [row[0] for row in same_version] != [definition.hash]:
            raise VersionTaken(definition.name, definition.version)
        return False

    async def timetable(self, hashes: Sequence[str]) -> schedules.Timetable:
        return await schedules.timetable(self._pool, hashes)

    async def advance(self, name: str, until_us: int) -> None:
        await schedules.advance(self._pool, name, until_us)

    async def definitions(self, known: Collection[str] = ()) -> Sequence[StoredDefinition]:
        return await views.definitions(self._pool, known)


async def _leave_as_it_is(_: Any) -> None:
    """No statement here changes its session, so none pays a round trip to mend it."""


class _OneServer:
    """Lets all connections of a log lead to one server of its DSN, and to one life of it.

    One that was restarted may have been restored, and one that has taken its
    place may lack the end: whoever goes on as if nothing had happened writes
    what he knows over what is missing. So his tenure ends, and the next one
    compares the log with its marks.
    """

    def __init__(self, dsn: str) -> None:
        self._dsns = servers(dsn)
        self._started: datetime | None = None

    async def connect(self, **options: Any) -> Any:
        """Make a connection for a pool. Raises what asyncpg does, or ConnectionError."""
        connection, dsn = await connect(self._dsns, within_s=CONNECT_S, **options)
        try:
            await self._check(connection)
        except BaseException:
            connection.terminate()
            raise
        self._dsns = [dsn]
        return connection

    async def _check(self, connection: Any) -> None:
        _notice_silence(connection)
        started = await connection.fetchval(_LIFE, timeout=CONNECT_S)
        if self._started is None:
            self._started = started
        elif started != self._started:
            raise ConnectionError("the server was restarted, or is another one")


async def _pool(server: _OneServer, settings: Mapping[str, str], least: int, most: int) -> Any:
    async def one(_dsn: None, **options: Any) -> Any:
        return await server.connect(**options)

    create_pool: Any = asyncpg.create_pool
    return await create_pool(
        min_size=least,
        max_size=most,
        target_session_attrs="read-write",
        command_timeout=GIVEN_UP_S,
        connect=one,
        reset=_leave_as_it_is,
        server_settings={**settings, **DURABLE},
    )


def _notice_silence(connection: Any) -> None:
    """Let the kernel find out that the server's machine is gone: a batch has no timeout."""
    sock = connection._transport.get_extra_info("socket")  # noqa: SLF001  # there is no other way
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        option = getattr(socket, name, None)  # not every system has them all
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _decision(text: str | None) -> Decision | None:
    if text is None:
        return None
    record = decode(text)
    assert isinstance(record, Decided)
    return record.decision
