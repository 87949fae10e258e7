"""How a batch is written: one statement, and the plan that is kept for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from coordinator.core.records import AnyRecord, encode
from coordinator.log import claims
from coordinator.log.ask import ask
from coordinator.log.parts import slot_of
from coordinator.log.store import Batch, storable

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

KEPT_PLAN: Final = {
    "application_name": "twofold",
    # To plan the statement takes as long as to execute it. One plan serves
    # tables of any size, as long as it may not read them whole.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""The server settings of a connection that writes batches, and does nothing else."""

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
               wake_at = v.wake_at, changed_at = v.at,
               definition = coalesce(v.definition, t.definition)
          FROM unnest($22::text[], $23::int[], $24::text[], $25::text[], $26::bool[],
                      $27::timestamptz[], $28::timestamptz[], $36::text[])
               AS v(gid, shard, status, outcome, active, wake_at, at, definition)
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


async def write(source: Any, batch: Batch, part_us: int) -> frozenset[int]:
    """Write a batch in one commit; return the shards for which it counts.

    It has no timeout: see postgres.py.

    Raises:
        LogUnavailable: it failed, or nobody knows whether it did.

    """
    slots = [slot_of(entry.gid, part_us) for _, entry in batch.entries]
    moved = [change.definition for change in batch.changes]
    values = [*_columns(batch), slots, _search(batch), *transposed(batch.waiting, 5), moved]
    if batch.claims:
        values += claims.columns(batch.claims, at)
    sql = PERSIST_CLAIMS if batch.claims else PERSIST
    rows = await ask(source, sql, *values, within_s=None)
    return frozenset(row[0] for row in rows)


def _kind(record: AnyRecord) -> str:
    return str(type(record).__struct_config__.tag)


def _columns(batch: Batch) -> tuple[list[Any], ...]:
    """Turn a batch's rows into the columns that PERSIST unnests."""
    positions, begun, changes = batch.positions, batch.begun, batch.changes
    entries = [
        (shard, e.gid, e.seq, at(e.at_us), _kind(e.record), encode(e.record))
        for shard, e in batch.entries
    ]
    return (
        *transposed(positions, 4),
        *transposed(begun, 6),
        [row.status for row in begun],
        [row.outcome for row in begun],
        [row.active for row in begun],
        [_at_or_never(row.wake_at_us) for row in begun],
        [at(row.began_us) for row in begun],
        *transposed(entries, 6),
        *transposed(changes, 5),
        [_at_or_never(change.wake_at_us) for change in changes],
        [at(change.at_us) for change in changes],
    )


def _search(batch: Batch) -> list[str | None]:
    """Write each transaction's words as one text; what cannot be stored cannot be found."""
    words = ([w for w in row.search if storable((w,)) and "\x1f" not in w] for row in batch.begun)
    return ["\x1f".join(each) or None for each in words]


def transposed(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Turn rows into columns, of which there are so many even without rows."""
    return [[row[i] for row in rows] for i in range(width)]


def _at_or_never(at_us: int | None) -> datetime | None:
    return None if at_us is None else at(at_us)


def at(at_us: int) -> datetime:
    """Return a moment as Postgres takes it."""
    return EPOCH + timedelta(microseconds=at_us)
