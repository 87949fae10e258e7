"""Reads the log and participants' databases, in an order in which health looks healthy.

The log first, at one snapshot; then what is prepared; then the rows of
participants; and the log once more, for names that it did not know. What the
log says had become true in the databases before it was written, and rows
there stay. What participants hold and the log lacks is younger than our
first look, or is a finding.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any, Final, TypeVar

import asyncpg
import msgspec

from audit.facts import (
    Barrier,
    Database,
    Facts,
    LogFacts,
    Marker,
    Prepared,
    Row,
    Transaction,
    Unowned,
)
from coordinator.cli import reach
from coordinator.cli.errors import Trouble
from coordinator.config import Config
from coordinator.core import machine
from coordinator.core.machine import State
from coordinator.core.records import Entry, decode
from coordinator.definitions import family, understood
from coordinator.log.ask import ask
from coordinator.log.store import storable
from coordinator.log.views import RECORDS, definitions
from participants.connections import Connections, DatabaseAway, Limits, describe
from sagas.model import AnyDefinition
from sagas.problems import DefinitionInvalid
from wire import gids

_T = TypeVar("_T")

PAGE: Final = 1_000
"""Transactions that are compared at once."""

CLUSTER: Final = """
    SELECT name, generation, store, stores,
           (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
           greatest(nullif(purged_us, 0),
                    (SELECT (extract(epoch FROM min(oldest.began_at)) * 1000000)::bigint
                       FROM (SELECT DISTINCT name FROM twofold.definition) AS n
                      CROSS JOIN LATERAL (
                            SELECT began_at FROM twofold.transaction t WHERE t.name = n.name
                             ORDER BY began_at LIMIT 1) AS oldest))
      FROM twofold.cluster
"""

ROWS: Final = """
    SELECT gid, shard, definition, status, outcome, active OR wake_at IS NOT NULL,
           (extract(epoch FROM began_at) * 1000000)::bigint,
           (extract(epoch FROM changed_at) * 1000000)::bigint
      FROM twofold.transaction WHERE gid = ANY($1::text[])
"""


# Leases are seen as they were at the snapshot, so they are judged by its time: by the
# clock, all would have expired under whoever takes long to read.
UNOWNED: Final = """
    SELECT t.shard, count(*), coalesce(max(l.owner), ''),
           (extract(epoch FROM coalesce(max(l.until), min(t.changed_at))) * 1000000)::bigint
      FROM twofold.transaction t LEFT JOIN twofold.lease l USING (shard)
     WHERE (t.active OR t.wake_at IS NOT NULL) AND t.status <> 'ended'
     GROUP BY t.shard
    HAVING coalesce(max(l.until), '-infinity') < now()
"""

NEXT_IN_LOG: Final = """
    SELECT gid FROM twofold.transaction
     WHERE gid > $1 AND (began_at >= $2 OR status <> 'ended') ORDER BY gid LIMIT $3
"""

RECORDS_WITHOUT_ROW: Final = """
    SELECT DISTINCT l.gid FROM twofold.decision_log l
     WHERE l.at >= $1
       AND NOT EXISTS (SELECT FROM twofold.transaction t WHERE t.gid = l.gid)
       -- Else its records may only wait for their part to be emptied.
       AND twofold.born_us(l.gid) >= (SELECT purged_us FROM twofold.cluster)
"""

KNOWN: Final = """
    SELECT gid FROM twofold.transaction WHERE gid = ANY($1::text[])
     UNION SELECT gid FROM twofold.decision_log WHERE gid = ANY($1::text[])
"""

PREPARED: Final = """
    SELECT gid, owner::text,
           (extract(epoch FROM clock_timestamp() - prepared) * 1000000)::bigint
      FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared
"""

BARRIERS: Final = """
    SELECT gid, step, status, (extract(epoch FROM clock_timestamp() - at) * 1000000)::bigint,
           reply, reason
      FROM twofold.barrier WHERE gid = ANY($1::text[])
"""

MARKERS: Final = """
    SELECT gid, branch, status, (extract(epoch FROM clock_timestamp() - at) * 1000000)::bigint,
           reply
      FROM twofold.branch WHERE gid = ANY($1::text[])
"""

# The least of each table, so that a page is read from the front of two indexes.
NEXT_HERE: Final = """
    (SELECT DISTINCT gid FROM twofold.barrier WHERE gid > $1 AND at >= $2 ORDER BY gid LIMIT $3)
     UNION
    (SELECT DISTINCT gid FROM twofold.branch WHERE gid > $1 AND at >= $2 ORDER BY gid LIMIT $3)
     ORDER BY gid LIMIT $3
"""


class Library:
    """Definitions by hash, each read once; what cannot be read any more is remembered as that."""

    def __init__(self) -> None:
        self._known: dict[str, AnyDefinition | str] = {}

    async def refresh(self, log: Any) -> None:
        """Read what was published since."""
        for stored in await definitions(log, self._known):
            try:
                definition = understood(stored)
                self._known |= {one.hash: one for one in family(definition)}
            except DefinitionInvalid as error:
                self._known[stored.hash] = f"its definition: {error}"

    def find(self, hash_: str) -> AnyDefinition | str:
        """Return a definition, or why there is none."""
        return self._known.get(hash_, f"no definition {hash_} is published")

    @property
    def all(self) -> list[AnyDefinition]:
        return [found for found in self._known.values() if not isinstance(found, str)]


class Source:
    """The log and the databases, connected."""

    def __init__(
        self,
        stores: Sequence[Any],
        databases: Mapping[tuple[str, ...], Connections],
        grace_us: int,
    ) -> None:
        self._stores, self._databases, self._grace_us = stores, databases, grace_us
        self.library = Library()

    # ── one comparison's facts ───────────────────────────────────────────────

    async def read(self, subjects: Collection[str]) -> Facts:
        """Read all that is known of these transactions, and of strangers of these names."""
        wanted = frozenset(subject for subject in subjects if storable((subject,)))
        log = await self._read_log(wanted)
        prepared = {
            place: [p for p in await self.prepared(place, log) if subject(p, log.cluster) in wanted]
            for place in self._databases
        }
        databases = [
            await self._read_rows(place, prepared[place], wanted, log.now_us)
            for place in self._databases
        ]
        young = await self._known(wanted - log.transactions.keys())
        return Facts(log, [_without(d, young, log.cluster) for d in databases], self._grace_us)

    async def _read_log(self, wanted: Collection[str]) -> LogFacts:
        """Read each store at one snapshot. What is in one store is in no other."""
        parts = [await self._read_store(place, wanted) for place in range(len(self._stores))]
        return LogFacts(
            parts[0].cluster,
            [part.generations[0] for part in parts],
            parts[0].now_us,
            [part.oldest_us[0] for part in parts],
            {gid: found for part in parts for gid, found in part.transactions.items()},
            [shard for part in parts for shard in part.unowned],
        )

    async def _read_store(self, place: int, wanted: Collection[str]) -> LogFacts:
        store = self._stores[place]
        async with store.transaction(isolation="repeatable_read", readonly=True):
            # A part that is emptied meanwhile would look empty, and something was put back.
            await store.execute("LOCK TABLE twofold.decision_log IN ACCESS SHARE MODE")
            cluster, generation, now_us, oldest_us = await self._cluster(place)
            await self.library.refresh(store)
            rows = {row[0]: Row(*row[1:]) for row in await ask(store, ROWS, list(wanted))}
            records = await ask(store, RECORDS, list(wanted), None)
            unowned = [Unowned(*row) for row in await ask(store, UNOWNED)]
        histories = {gid: list(own) for gid, own in groupby(records, lambda record: record[0])}
        transactions = {
            gid: self._transaction(gid, rows.get(gid), histories.get(gid, []))
            for gid in rows.keys() | histories.keys()
        }
        return LogFacts(cluster, [generation], now_us, [oldest_us], transactions, unowned)

    async def _cluster(self, place: int) -> tuple[str, int, int, int | None]:
        rows = await ask(self._stores[place], CLUSTER)
        if not rows:
            raise Trouble("the log names no cluster yet.", "Run `twofold migrate`.")
        name, generation, store, stores, now_us, oldest_us = rows[0]
        if (store, stores) != (place, len(self._stores)):
            what = f"the log's store {place} of {len(self._stores)} is store {store} of {stores}."
            raise Trouble(what, "Mend TWOFOLD_LOG__DSN and TWOFOLD_LOG__MORE: order matters.")
        return name, generation, now_us, oldest_us

    def _transaction(self, gid: str, row: Row | None, records: Sequence[Any]) -> Transaction:
        seqs = [record[1] for record in records]
        entries: list[Entry] = []
        try:
            entries += [Entry(gid, seq, at_us, decode(text)) for _, seq, at_us, text in records]
            state = self._state(gid, entries)
        except (msgspec.DecodeError, AssertionError, KeyError, AttributeError) as error:
            why = f"{type(error).__name__}: {error}"
            return Transaction(gid, row, seqs, entries, None, why)
        if isinstance(state, str):
            return Transaction(gid, row, seqs, entries, None, state)
        return Transaction(gid, row, seqs, entries, state)

    def _state(self, gid: str, entries: Sequence[Entry]) -> State | str:
        if not entries:
            return "there is no record of it"
        versions = [self.library.find(hash_) for hash_ in machine.followed(entries)]
        for unknown in versions:
            if isinstance(unknown, str):
                return unknown
        known = [one for one in versions if not isinstance(one, str)]
        return machine.recover(gid, known[0], entries, known[1:] and known)

    async def _known(self, subjects: Collection[str]) -> frozenset[str]:
        answers = [await ask(store, KNOWN, list(subjects)) for store in self._stores]
        return frozenset(row[0] for rows in answers for row in rows)

    # ── a participant's database ─────────────────────────────────────────────

    async def prepared(self, place: tuple[str, ...], log: LogFacts) -> list[Prepared]:
        """Read all that is prepared in one database."""
        rows = await self._ask(place, PREPARED)
        return [Prepared(name, owner, log.now_us - age) for name, owner, age in rows]

    async def _read_rows(
        self,
        place: tuple[str, ...],
        prepared: Sequence[Prepared],
        wanted: Collection[str],
        now_us: int,
    ) -> Database:
        names = list(wanted)
        barriers = [
            Barrier(gid, step, status, now_us - age, reply, reason)
            for gid, step, status, age, reply, reason in await self._ask(place, BARRIERS, names)
        ]
        markers = [
            Marker(gid, branch, status, now_us - age, reply)
            for gid, branch, status, age, reply in await self._ask(place, MARKERS, names)
        ]
        return Database(
            place,
            prepared,
            {(row.gid, row.step): row for row in barriers},
            {(row.gid, row.branch): row for row in markers},
        )

    @property
    def places(self) -> Collection[tuple[str, ...]]:
        """The databases, each by the participants that it serves."""
        return self._databases.keys()

    async def use(self, place: tuple[str, ...], what: Callable[[Any], Awaitable[_T]]) -> _T:
        """Do something in one database. Raises Trouble if it is away."""
        try:
            async with self._databases[place].one() as connection:
                return await what(connection)
        except DatabaseAway as error:
            raise Trouble(f"a participant's database cannot be read: {error}.", _WHERE) from error

    async def _ask(self, place: tuple[str, ...], sql: str, *arguments: Any) -> list[Any]:
        async def fetch(connection: Any) -> list[Any]:
            return await connection.fetch(sql, *arguments)

        try:
            return await self.use(place, fetch)
        except asyncpg.UndefinedTableError as error:
            raise Trouble(
                f"the database of {', '.join(place)} lacks tables: {describe(error)}.",
                "Run `twofold participants migrate`, or mend --participant.",
            ) from error
        except asyncpg.PostgresError as error:
            what = f"the database of {', '.join(place)} cannot be read: {describe(error)}."
            raise Trouble(what, _WHERE) from error

    # ── what there is to compare ─────────────────────────────────────────────

    async def in_doubt(self) -> list[str]:
        """Name what is prepared anywhere."""
        log = await self._read_log(())
        found = [p for place in self._databases for p in await self.prepared(place, log)]
        return [subject(one, log.cluster) for one in found]

    async def pages(self, since: Any) -> AsyncIterator[list[str]]:
        """Yield names in pages: the log's, then what is prepared, then what the log lacks.

        What has not ended is always there, whenever it began.
        """
        for store in self._stores:
            after = ""
            while page := [r[0] for r in await ask(store, NEXT_IN_LOG, after, since, PAGE)]:
                yield page
                after = page[-1]
            yield [r[0] for r in await ask(store, RECORDS_WITHOUT_ROW, since, within_s=None)]
        yield await self.in_doubt()
        for place in self._databases:
            after = ""
            while page := [r[0] for r in await self._ask(place, NEXT_HERE, after, since, PAGE)]:
                if lacking := sorted(set(page) - await self._known(page)):
                    yield lacking
                after = page[-1]


_WHERE: Final = "--participant NAME=DSN says where it is looked for."


def subject(prepared: Prepared, cluster: str) -> str:
    """Name what a prepared transaction is about: its gid, or the stranger's own name."""
    parsed = gids.parse_prepared(prepared.name)
    ours = parsed is not None and parsed[0].cluster == cluster
    return str(parsed[0]) if parsed is not None and ours else prepared.name


def _without(database: Database, young: Collection[str], cluster: str) -> Database:
    """Leave out transactions that began while we were looking."""
    return replace(
        database,
        prepared=[one for one in database.prepared if subject(one, cluster) not in young],
        barriers={key: row for key, row in database.barriers.items() if key[0] not in young},
        markers={key: row for key, row in database.markers.items() if key[0] not in young},
    )


@asynccontextmanager
async def connected(
    config: Config, participants: Mapping[str, str], grace_us: int
) -> AsyncGenerator[Source]:
    """Connect to the log, and to each database once, whoever shares it."""
    limits = Limits(lock_ms=10_000, statement_ms=120_000)
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(reach.logs(config))
        databases: dict[tuple[str, ...], Connections] = {}
        for dsn, names in _by_dsn(participants).items():
            connections = Connections(dsn, name="+".join(names), limit=1, limits=limits)
            stack.push_async_callback(connections.close)
            databases[names] = connections
        yield Source(stores, databases, grace_us)


def _by_dsn(participants: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    places: dict[str, list[str]] = {}
    for name, dsn in participants.items():
        places.setdefault(dsn, []).append(name)
    return {dsn: tuple(sorted(names)) for dsn, names in places.items()}
