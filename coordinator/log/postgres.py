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
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from coordinator.core.events import Letter
from coordinator.core.lock import Claim
from coordinator.core.records import AnyRecord, Decided, Decision, Entry, decode, encode
from coordinator.log import box, claims, schedules, views
from coordinator.log.ask import SESSION, TROUBLE, ask, unavailable
from coordinator.log.census import HEARTBEAT, LOOK_AROUND
from coordinator.log.migrate import pending
from coordinator.log.parts import DAY_US, born_us, slot_of, slots_of
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

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

RELEASED: Final = "twofold_shards"
"""The NOTIFY channel on which a released shard is announced."""

CLOSE_S: Final = 5.0

KEEPALIVE: Final = {
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPINTVL": 2,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 11_000,  # for what was sent, as the others for silence
}

DURABLE: Final = {"synchronous_commit": "on", "idle_in_transaction_session_timeout": "2000"}

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
                status, outcome, active, wake_at, began_at, changed_at, search)
        SELECT v.gid, v.shard, v.name, v.definition, v.start_key, v.input_hash,
               v.status, v.outcome, v.active, v.wake_at, v.began_at, v.began_at,
               string_to_array(v.search, chr(31))
          FROM unnest($5::text[], $6::int[], $7::text[], $8::text[], $9::text[], $10::text[],
                      $11::text[], $12::text[], $13::bool[], $14::timestamptz[],
                      $15::timestamptz[], $30::text[])
               AS v(gid, shard, name, definition, start_key, input_hash,
                    status, outcome, active, wake_at, began_at, search)
          JOIN mine ON mine.id = v.shard
    ), appended AS (
        INSERT INTO twofold.decision_log (slot, gid, seq, at, kind, record)
        SELECT v.slot, v.gid, v.seq, v.at, v.kind, v.record::json
          FROM unnest($16::int[], $17::text[], $18::int[], $19::timestamptz[], $20::text[],
                      $21::text[], $29::int[])
               AS v(shard, gid, seq, at, kind, record, slot)
          JOIN mine ON mine.id = v.shard
    ), changed AS (
        UPDATE twofold.transaction t
           SET status = v.status, outcome = v.outcome, active = v.active,
               wake_at = v.wake_at, changed_at = v.at
          FROM unnest($22::text[], $23::int[], $24::text[], $25::text[], $26::bool[],
                      $27::timestamptz[], $28::timestamptz[])
               AS v(gid, shard, status, outcome, active, wake_at, at)
          JOIN mine ON mine.id = v.shard
         WHERE t.gid = v.gid
    ), waiting AS (
        SELECT v.shard, v.gid, v.step, v.topic, v.key
          FROM unnest($31::int[], $32::text[], $33::text[], $34::text[], $35::text[])
               AS v(shard, gid, step, topic, key)
          JOIN mine ON mine.id = v.shard
    ), waits AS (
        INSERT INTO twofold.waiting (shard, gid, step, topic, key)
        SELECT * FROM waiting WHERE topic <> ''
        ON CONFLICT (gid, step) DO UPDATE SET topic = excluded.topic, key = excluded.key
    ), waits_no_more AS (
        DELETE FROM twofold.waiting w USING waiting v
         WHERE v.topic = '' AND w.gid = v.gid AND w.step = v.step
    )
    SELECT id FROM mine
"""

PERSIST_CLAIMS = claims.with_claims(PERSIST)  # few batches have any

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

    def __init__(self, pool: Any) -> None:  # asyncpg ships no types
        self._pool = pool
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
        try:
            create_pool: Any = asyncpg.create_pool
            pool = await create_pool(
                dsn,
                min_size=2,
                max_size=6,
                timeout=10,
                target_session_attrs="read-write",
                init=_OneServer().check,
                reset=_leave_as_it_is,
                server_settings={**SESSION, **DURABLE},
            )
        except TROUBLE as error:
            raise unavailable(error) from error
        log = cls(pool)
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
                await self._pool.close()
        except TROUBLE:
            self._pool.terminate()

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
        more = (self._slots(batch), _search(batch), *_transposed(batch.waiting, 5))
        if batch.claims:
            more = (*more, *claims.columns(batch.claims, _at))
        sql = PERSIST_CLAIMS if batch.claims else PERSIST
        rows = await ask(self._pool, sql, *_columns(batch), *more, within_s=None)
        return frozenset(row[0] for row in rows)

    def _slots(self, batch: Batch) -> list[int]:
        return [slot_of(entry.gid, self._part_us) for _, entry in batch.entries]

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
        return await self._records_of(WAKING, list(shards), _at(until_us), limit)

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
        rows = await ask(self._pool, KNOWN_STARTS, *_transposed(wanted, 2))
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
    """Lets all connections of a log lead to one server, and to one life of it.

    One that was restarted may have been restored, and one that has taken its
    place may lack the end: whoever goes on as if nothing had happened writes
    what he knows over what is missing. So his tenure ends, and the next one
    compares the log with its marks.
    """

    def __init__(self) -> None:
        self._started: datetime | None = None

    async def check(self, connection: Any) -> None:
        """Look at a connection that was just made. Raises ConnectionError."""
        _notice_silence(connection)
        started = await connection.fetchval("SELECT pg_postmaster_start_time()")
        if self._started is None:
            self._started = started
        elif started != self._started:
            raise ConnectionError("the server was restarted, or is another one")


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


def _kind(record: AnyRecord) -> str:
    return str(type(record).__struct_config__.tag)


def _columns(batch: Batch) -> tuple[list[Any], ...]:
    """Turn a batch's rows into the columns that PERSIST unnests."""
    positions, begun, changes = batch.positions, batch.begun, batch.changes
    entries = [
        (shard, e.gid, e.seq, _at(e.at_us), _kind(e.record), encode(e.record))
        for shard, e in batch.entries
    ]
    return (
        *_transposed(positions, 4),
        *_transposed(begun, 6),
        [row.status for row in begun],
        [row.outcome for row in begun],
        [row.active for row in begun],
        [_at_or_never(row.wake_at_us) for row in begun],
        [_at(row.began_us) for row in begun],
        *_transposed(entries, 6),
        *_transposed(changes, 5),
        [_at_or_never(change.wake_at_us) for change in changes],
        [_at(change.at_us) for change in changes],
    )


def _search(batch: Batch) -> list[str | None]:
    """Write each transaction's words as one text; what cannot be stored cannot be found."""
    words = ([w for w in row.search if storable((w,)) and "\x1f" not in w] for row in batch.begun)
    return ["\x1f".join(each) or None for each in words]


def _transposed(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[i] for row in rows] for i in range(width)]


def _at_or_never(at_us: int | None) -> datetime | None:
    return None if at_us is None else _at(at_us)


def _at(at_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=at_us)
