"""Forgetting what has ended, on Postgres.

Transactions' rows go in small batches, by an index that has them in order of
time. Their records, the bulk, stay where they are until the whole part can be
emptied. What is still wanted in it (parked for a month, or ended late) is put
back in the same commit.

A name that is forgotten may have been committed: how far it goes is written
with the deletion, and nothing is presumed of older names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import structlog

from coordinator.log.ask import TROUBLE, ask, unavailable
from coordinator.log.parts import (
    SLOTS,
    Part,
    born_us,
    goes_with_its_part,
    ripe,
    slot_of,
    slots_of,
)

logger = structlog.get_logger(__name__)

LOCK_KEY: Final = 0x74776F70757267  # "twopurg"
MOST_KEPT: Final = 10_000
"""Transactions that are put back when their part is emptied. It is locked meanwhile."""

FORGET: Final = """
    WITH kept AS (SELECT * FROM unnest($1::text[], $2::timestamptz[]) AS v(name, since)),
    ended AS (
        SELECT o.gid FROM kept k CROSS JOIN LATERAL (
               SELECT t.gid FROM twofold.transaction t
                WHERE t.name = k.name AND t.began_at < k.since
                  AND t.status = 'ended' AND t.changed_at < k.since
                ORDER BY t.began_at LIMIT $3) AS o
         LIMIT $3)
    DELETE FROM twofold.transaction t USING ended WHERE t.gid = ended.gid
    RETURNING t.gid, t.name
"""

DELETE_RECORDS: Final = """
    DELETE FROM twofold.decision_log WHERE slot = ANY($1::int[]) AND gid = ANY($2::text[])
"""

SET_ASIDE: Final = """
    INSERT INTO put_back
    SELECT * FROM twofold.decision_log WHERE slot = $1 AND gid = ANY($2::text[])
"""

# By the primary key: names of one shard are in order of time.
STILL_THERE: Final = """
    SELECT t.gid
      FROM twofold.shard s
     CROSS JOIN (SELECT name, generate_series(0, generation) AS generation
                   FROM twofold.cluster) AS c
     CROSS JOIN LATERAL (SELECT format('tf1.%s.%s.%s.', c.name, c.generation, s.id)) AS p(prefix)
     CROSS JOIN LATERAL (
           (SELECT gid FROM twofold.transaction
             WHERE gid >= p.prefix AND gid < p.prefix || $1)
            UNION ALL
           (SELECT gid FROM twofold.transaction
             WHERE gid >= p.prefix || $2 AND gid < p.prefix || 'g')) AS t
     LIMIT $3
"""


async def purge(pool: Any, keep: Mapping[str, int], now_us: int, limit: int, part_us: int) -> int:
    """Forget at most so many; once no more are due, empty the parts that are ripe.

    ``keep`` says for each name how many microseconds after its end one is kept.
    Whoever finds somebody else at it leaves it to him, and returns 0.

    Raises:
        LogUnavailable: the log could not be asked, or refused.

    """
    if not keep:
        return 0
    try:
        async with pool.acquire() as connection, connection.transaction():
            [[mine]] = await ask(connection, "SELECT pg_try_advisory_xact_lock($1)", LOCK_KEY)
            if not mine:
                return 0
            gone = await _forget(connection, keep, now_us, limit, part_us)
        if gone == limit:
            return gone
        longest_us = max(keep.values())
        for part in ripe(now_us, longest_us, part_us):
            async with pool.acquire() as connection, connection.transaction():
                await _empty(connection, part, now_us, part_us)
    except TROUBLE as error:
        raise unavailable(error) from error
    return gone


async def _forget(
    connection: Any, keep: Mapping[str, int], now_us: int, limit: int, part_us: int
) -> int:
    since = [_at(now_us - kept_us) for kept_us in keep.values()]
    gone = await ask(connection, FORGET, list(keep), since, limit)
    if not gone:
        return 0
    horizon_us = max(born_us(gid) for gid, _ in gone) + 1000  # names have milliseconds
    horizon = "UPDATE twofold.cluster SET purged_us = greatest(purged_us, $1)"
    await ask(connection, horizon, horizon_us)
    alone = [gid for gid, name in gone if not goes_with_its_part(name, keep, part_us)]
    if alone:
        await ask(connection, DELETE_RECORDS, slots_of(alone, part_us), alone)
    return len(gone)


async def _empty(connection: Any, part: Part, now_us: int, part_us: int) -> None:
    """Empty one part, unless it was, or somebody reads it, or too much must stay."""
    done = "SELECT FROM twofold.emptied_part WHERE slot = $1 AND part >= $2"
    if await ask(connection, done, part.slot, part.number):
        return
    table = f"twofold.decision_log_{part.slot}"
    try:
        # Whoever waits for such a lock holds up all who come after him: so nobody waits.
        await connection.execute(f"LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE NOWAIT")
    except asyncpg.LockNotAvailableError:
        return
    kept = await _still_wanted(connection, part, now_us, part_us)
    if kept is None:
        logger.warning("part_not_emptied", slot=part.slot, wanted=f"over {MOST_KEPT}")
        return
    await connection.execute(
        "CREATE TEMP TABLE put_back (LIKE twofold.decision_log) ON COMMIT DROP"
    )
    await ask(connection, SET_ASIDE, part.slot, kept)
    await ask(connection, f"TRUNCATE ONLY {table}")
    await ask(connection, "INSERT INTO twofold.decision_log SELECT * FROM put_back")
    emptied = """
        INSERT INTO twofold.emptied_part (slot, part) VALUES ($1, $2)
        ON CONFLICT (slot) DO UPDATE SET part = excluded.part
    """
    await ask(connection, emptied, part.slot, part.number)
    logger.info("part_emptied", slot=part.slot, kept=len(kept))


async def _still_wanted(
    connection: Any, part: Part, now_us: int, part_us: int
) -> Sequence[str] | None:
    """Name the transactions of a part that the log still has; None if they are many.

    Names no younger than the part, of which little is left, and names from the
    future, if a broker's clock was wrong: what is in between has other slots.
    """
    filling = now_us // part_us
    assert filling - SLOTS < part.number < filling, f"{part} is not on the ring"
    bounds = _digits(part.end_us), _digits((filling + 1) * part_us)
    rows = await ask(connection, STILL_THERE, *bounds, MOST_KEPT + 1)
    if len(rows) > MOST_KEPT:
        return None
    return [gid for (gid,) in rows if slot_of(gid, part_us) == part.slot]


def _digits(at_us: int) -> str:
    """Write a time as names of transactions have it."""
    return f"{-(-at_us // 1000):012x}"


def _at(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
