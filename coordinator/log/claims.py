"""Claims on locks, in SQL: written with the batch that they belong to, under its fence."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from coordinator.log.store import ClaimChange

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
