"""What people ask of the log: list, find, show; and who writes it.

Each function takes an asyncpg connection or pool, such as a PostgresLog's
own; one that lives long should be made with ask.SESSION. An answer is a few index
lookups, however many transactions have ended: those of one name stand in
order of time, those that have not ended are few, and a key is unique.

What an open transaction is waiting for is not in its row: replay its entries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from coordinator.core.machine import followed
from coordinator.core.records import (
    Closed,
    CompensationBegan,
    Decided,
    Entry,
    Ordered,
    Outcome,
    Parked,
    Withdrawn,
    decode,
)
from coordinator.core.transition import Status
from coordinator.log.ask import ask
from coordinator.log.store import StoredDefinition, storable
from wire.messages import Action

BREATH: Final = 1_000
"""Records that are read before somebody else of this process may do something."""

MOST: Final = 1_000
"""Transactions in one answer; `before` goes on from the last."""


class TransactionView(NamedTuple):
    """A transaction as `list` shows it."""

    gid: str
    name: str
    version: int
    key: str
    shard: int
    status: Status
    outcome: Outcome | None
    reason: str
    began_us: int
    ended_us: int | None


class CoordinatorView(NamedTuple):
    """A coordinator, as the log's database has heard of it."""

    id: str
    silent_us: int
    up_us: int
    shards: tuple[int, ...]
    """Those that are leased to it."""
    active: int
    """Transactions of these shards that need an owner."""


class TransactionDetail(NamedTuple):
    """A transaction as `show` shows it."""

    view: TransactionView
    definition: StoredDefinition
    entries: Sequence[Entry]
    followed: str
    """The hash of what it follows: of the definition, or of a part of it."""
    versions: Sequence[StoredDefinition] = ()
    """All by which it has gone, if it was moved."""


_COLUMNS = """
    t.gid, t.name, d.version, t.start_key, t.shard, t.status, t.outcome,
    (extract(epoch FROM t.began_at) * 1000000)::bigint AS began_us,
    (extract(epoch FROM t.changed_at) * 1000000)::bigint AS changed_us
"""

_BY_STATUS = "t.status = {}"
_BY_KEY = "t.start_key = {}"
_BY_NAME = "t.name = {}"
_BY_WORDS = "t.search @> {}::text[]"
_BEFORE = """(t.began_at, t.gid)
    < ((SELECT b.began_at FROM twofold.transaction b WHERE b.gid = {0}), {0})"""

# Names are few: the newest of all are among the newest of each.
_OF_EACH_NAME = """
    SELECT {columns}
      FROM (SELECT DISTINCT name FROM twofold.definition) AS n
     CROSS JOIN LATERAL (
           SELECT * FROM twofold.transaction t WHERE t.name = n.name AND {conditions}
            ORDER BY t.began_at DESC, t.gid DESC LIMIT $1) AS t
      JOIN twofold.definition d ON d.hash = split_part(t.definition, '#', 1)
     ORDER BY t.began_at DESC, t.gid DESC LIMIT $1
"""

# So are those that have not ended, and the newest of them may be old.
_UNENDED = """
    WITH t AS MATERIALIZED (
         SELECT * FROM twofold.transaction WHERE status <> 'ended')
    SELECT {columns}
      FROM t JOIN twofold.definition d ON d.hash = split_part(t.definition, '#', 1)
     WHERE {conditions}
     ORDER BY t.began_at DESC, t.gid DESC LIMIT $1
"""

# Whoever names a value wants few.
_FOUND = """
    WITH t AS MATERIALIZED (SELECT * FROM twofold.transaction t WHERE {found})
    SELECT {columns}
      FROM t JOIN twofold.definition d ON d.hash = split_part(t.definition, '#', 1)
     WHERE {conditions}
     ORDER BY t.began_at DESC, t.gid DESC LIMIT $1
"""

_ONE = """
    SELECT {columns}, d.hash, d.source, t.definition
      FROM twofold.transaction t
      JOIN twofold.definition d ON d.hash = split_part(t.definition, '#', 1)
     WHERE t.gid = $1
"""

_REASONS = """
    SELECT gid, record FROM twofold.decision_log
     WHERE gid = ANY($1::text[])
       AND kind IN ('withdrawn', 'decided', 'compensation-began', 'closed', 'parked', 'ordered')
     ORDER BY gid, seq
"""


# Records may stay a while longer than their transaction, until their part is emptied.
RECORDS: Final = """
    SELECT l.gid, l.seq, (extract(epoch FROM l.at) * 1000000)::bigint, l.record
      FROM twofold.decision_log l
     WHERE l.gid = ANY($1::text[]) AND ($2::int[] IS NULL OR l.slot = ANY($2))
       AND (twofold.born_us(l.gid) >= (SELECT purged_us FROM twofold.cluster)
            OR EXISTS (SELECT FROM twofold.transaction t WHERE t.gid = l.gid))
     ORDER BY l.gid, l.seq
"""


async def records(
    source: Any, gids: Collection[str], slots: Collection[int] | None = None
) -> list[Entry]:
    """Return all records of these transactions, in order of gid and seq.

    Where ``slots`` are known (coordinator/log/parts.py), no other is looked at.

    Raises:
        LogUnavailable: the log could not be asked.

    """
    rows = await ask(source, RECORDS, [gid for gid in gids if storable((gid,))], slots)
    found: list[Entry] = []
    for number, (gid, seq, at_us, text) in enumerate(rows):
        if number % BREATH == 0:
            await asyncio.sleep(0)
        found.append(Entry(gid, seq, at_us, decode(text)))
    return found


_DEFINITIONS = """
    SELECT hash, name, version, source FROM twofold.definition
     WHERE hash <> ALL($1::text[]) ORDER BY name, version
"""

_THESE = "SELECT hash, name, version, source FROM twofold.definition WHERE hash = ANY($1::text[])"


async def definitions(source: Any, known: Collection[str] = ()) -> list[StoredDefinition]:
    """Return all definitions ever published, but for these hashes.

    Raises:
        LogUnavailable: the log could not be asked.

    """
    return [StoredDefinition(*row) for row in await ask(source, _DEFINITIONS, list(known))]


_PUBLISHED = """
    SELECT hash, name, version, source FROM twofold.definition WHERE name = $1 ORDER BY version
"""


async def published(source: Any, name: str) -> list[StoredDefinition]:
    """Return all versions of a definition, the oldest first. Raises LogUnavailable."""
    return [StoredDefinition(*row) for row in await ask(source, _PUBLISHED, name)]


_ORDERS = """
    SELECT gid, seq, (extract(epoch FROM at) * 1000000)::bigint, record
      FROM twofold.decision_log WHERE kind = 'ordered' AND ($2::text IS NULL OR gid = $2)
     ORDER BY at DESC, gid, seq DESC LIMIT $1
"""


async def list_orders(source: Any, *, gid: str | None = None, limit: int = 50) -> list[Entry]:
    """Return what people have ordered, the newest first."""
    if gid is not None and not storable((gid,)):
        return []
    rows = await ask(source, _ORDERS, max(0, min(limit, MOST)), gid)
    return [Entry(found, seq, at_us, decode(text)) for found, seq, at_us, text in rows]


_COORDINATORS = """
    WITH leased AS (
         SELECT owner, shard FROM twofold.lease WHERE until > clock_timestamp())
    SELECT id,
           (extract(epoch FROM clock_timestamp() - heartbeat) * 1000000)::bigint,
           (extract(epoch FROM clock_timestamp() - started) * 1000000)::bigint,
           ARRAY(SELECT shard FROM leased WHERE owner = id ORDER BY shard),
           (SELECT count(*) FROM twofold.transaction t JOIN leased l USING (shard)
             WHERE l.owner = id AND t.active AND t.status <> 'ended')
      FROM twofold.replica ORDER BY id
"""

_UNOWNED = """
    SELECT s.id FROM twofold.shard s
     WHERE NOT EXISTS (SELECT FROM twofold.lease l
                        WHERE l.shard = s.id AND l.until > clock_timestamp())
     ORDER BY s.id
"""


async def list_coordinators(source: Any) -> list[CoordinatorView]:
    """Return all coordinators of the last hour; one that was stopped cleanly has gone from it.

    Raises:
        LogUnavailable: the log could not be asked.

    """
    rows = await ask(source, _COORDINATORS)
    return [
        CoordinatorView(id_, silent_us, up_us, tuple(shards), active)
        for id_, silent_us, up_us, shards, active in rows
    ]


async def unowned_shards(source: Any) -> list[int]:
    """Return the shards that nobody has."""
    return [row[0] for row in await ask(source, _UNOWNED)]


async def list_transactions(
    source: Any,
    *,
    status: Status | None = None,
    name: str | None = None,
    key: str | None = None,
    words: Collection[str] = (),
    limit: int = 50,
    before: str | None = None,
) -> list[TransactionView]:
    """Return transactions, the newest first; ``before`` is the gid of the last one seen.

    ``words`` are as sagas/search.py makes them: all of them must be there.

    Raises:
        LogUnavailable: the log could not be asked.

    """
    asked = [(_BY_STATUS, status), (_BY_NAME, name), (_BY_KEY, key), (_BEFORE, before)]
    given: list[tuple[str, Any]] = [(text, value) for text, value in asked if value is not None]
    if not storable([*(value for _, value in given), *words]):
        return []
    # Each condition that is there, and no other: so each has the plan that it needs.
    conditions = [text.format(f"${number}") for number, (text, _) in enumerate(given, start=2)]
    found = _BY_WORDS.format(f"${len(given) + 2}")
    unended = status is not None and status is not Status.ENDED
    sql = (_FOUND if words else _UNENDED if unended else _OF_EACH_NAME).format(
        columns=_COLUMNS, conditions=" AND ".join(conditions) or "true", found=found
    )
    values = [*(value for _, value in given), *([list(words)] if words else [])]
    rows = await ask(source, sql, max(0, min(limit, MOST)), *values)
    reasons = await _reasons(source, [row["gid"] for row in rows])
    return [_view(row, reasons.get(row["gid"], "")) for row in rows]


async def find_by_key(source: Any, name: str, key: str) -> TransactionView | None:
    """Return the one transaction of a definition that has this key, if it has begun."""
    found = await list_transactions(source, name=name, key=key, limit=1)
    return found[0] if found else None


async def show(source: Any, gid: str) -> TransactionDetail | None:
    """Return all that the log has of a transaction; None if that is nothing.

    Raises:
        LogUnavailable: the log could not be asked.

    """
    rows = await ask(source, _ONE.format(columns=_COLUMNS), gid) if storable((gid,)) else []
    if not rows:
        return None
    entries = await records(source, [gid])
    if not entries:
        return None  # it was forgotten between both questions
    view = _view(rows[0], reason(entry.record for entry in entries))
    definition = StoredDefinition(rows[0]["hash"], view.name, view.version, rows[0]["source"])
    hashes = followed(entries)
    known = await ask(source, _THESE, list(hashes)) if len(hashes) > 1 else []
    versions = [StoredDefinition(*one) for one in known]
    return TransactionDetail(view, definition, entries, rows[0]["definition"], versions)


def reason(records: Iterable[Any]) -> str:
    """Say why a transaction stands as it does: the last reason that its records give.

    What a person has unparked stands as it did before it was parked.
    """
    said = before = ""
    for record in records:
        match record:
            case Parked():
                before, said = said, record.reason or said
            case Ordered(refused=""):
                by_hand = record.action in (Action.COMMIT, Action.ROLLBACK)
                said, before = record.said if by_hand else before, ""
            case Withdrawn() | Decided() | CompensationBegan() | Closed():
                said = record.reason or said
            case _:
                pass
    return said


async def _reasons(source: Any, gids: Sequence[str]) -> dict[str, str]:
    records: dict[str, list[Any]] = {}
    for gid, text in await ask(source, _REASONS, gids) if gids else []:
        records.setdefault(gid, []).append(decode(text))
    return {gid: reason(of_one) for gid, of_one in records.items()}


def _view(row: Any, said: str) -> TransactionView:
    status = Status(row["status"])
    return TransactionView(
        gid=row["gid"],
        name=row["name"],
        version=row["version"],
        key=row["start_key"],
        shard=row["shard"],
        status=status,
        outcome=Outcome(row["outcome"]) if row["outcome"] is not None else None,
        reason=said,
        began_us=row["began_us"],
        ended_us=row["changed_us"] if status is Status.ENDED else None,
    )
