"""Claims on locks, in SQL: written with the batch that they belong to, under its fence."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from coordinator.core.lock import Claim
from coordinator.log.ask import ask
from coordinator.log.store import ClaimChange, storable

_END: Final = "    SELECT id FROM mine\n"
_WRITE: Final = """    , given_up AS (
        DELETE FROM twofold.claim c
         USING unnest({0}::int[], {1}::text[], {2}::text[], {3}::bigint[])
               AS v(shard, lock, gid, place)
          JOIN mine ON mine.id = v.shard
         WHERE c.lock = v.lock AND c.gid = v.gid AND v.place IS NULL
    ), claimed AS (
        INSERT INTO twofold.claim AS c (shard, lock, gid, place, asked_at, held_at)
        SELECT v.shard, v.lock, v.gid, v.place, v.asked_at, v.held_at
          FROM unnest({0}::int[], {1}::text[], {2}::text[], {3}::bigint[],
                      {4}::timestamptz[], {5}::timestamptz[])
               AS v(shard, lock, gid, place, asked_at, held_at)
          JOIN mine ON mine.id = v.shard
         WHERE v.place IS NOT NULL
        ON CONFLICT (lock, gid) DO UPDATE
           SET place = excluded.place, asked_at = excluded.asked_at, held_at = excluded.held_at
    )
"""


def with_claims(persist: str) -> str:
    """Let the statement of a batch write claims too: their columns come after all others."""
    last = max(int(number) for number in re.findall(r"\$(\d+)", persist))
    columns = [f"${last + n}" for n in range(1, 7)]
    assert persist.endswith(_END), "it ends with the shards for which it counted"
    return persist.removesuffix(_END) + _WRITE.format(*columns) + _END


READ: Final = """
    SELECT shard, lock, gid, place,
           (extract(epoch FROM asked_at) * 1000000)::bigint,
           (extract(epoch FROM held_at) * 1000000)::bigint
      FROM twofold.claim WHERE shard = ANY($1::int[]) ORDER BY lock, place
"""


def columns(claims: Sequence[ClaimChange], at: Callable[[int], datetime]) -> tuple[list[Any], ...]:
    """Turn claims into columns; one that is given up has no place."""
    now = [change.claim for change in claims]
    return (
        [change.shard for change in claims],
        [change.lock for change in claims],
        [change.gid for change in claims],
        [claim and claim.place for claim in now],
        [claim and at(claim.asked_us) for claim in now],
        [claim and claim.held_us and at(claim.held_us) for claim in now],
    )


_OF_LOCK: Final = """
    SELECT lock, gid, place,
           (extract(epoch FROM asked_at) * 1000000)::bigint,
           (extract(epoch FROM held_at) * 1000000)::bigint
      FROM twofold.claim WHERE $1::text IS NULL OR lock = $1 ORDER BY lock, place LIMIT $2
"""
_CLAIMANTS: Final = """
    SELECT gid, name, start_key, status FROM twofold.transaction WHERE gid = ANY($1::text[])
"""


class Claimant(NamedTuple):
    """A transaction that has a lock, or waits for one."""

    name: str
    key: str
    status: str


async def list_claims(source: Any, lock: str | None, limit: int) -> list[tuple[str, Claim]]:
    """Return the first claims on all locks of a store, or on one; each lock's holder first.

    Raises:
        LogUnavailable: the log could not be asked.

    """
    if lock is not None and not storable((lock,)):
        return []
    return [(name, Claim(*claim)) for name, *claim in await ask(source, _OF_LOCK, lock, limit)]


async def claimants(source: Any, gids: Collection[str]) -> dict[str, Claimant]:
    """Tell of those of these transactions that the store has. Raises LogUnavailable."""
    rows = await ask(source, _CLAIMANTS, list(gids))
    return {gid: Claimant(name, key, status) for gid, name, key, status in rows}
