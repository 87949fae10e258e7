"""Up to when starts by the clock have been asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from coordinator.log.ask import ask


class Timetable(NamedTuple):
    """The log's clock, and for each definition from when on its times are still to come."""

    now_us: int
    since_us: Mapping[str, int]


_READ = """
    SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint, d.name,
           (extract(epoch FROM greatest(s.done_until, d.published_at)) * 1000000)::bigint
      FROM twofold.definition d LEFT JOIN twofold.schedule s USING (name)
     WHERE d.hash = ANY($1::text[])
"""

_ADVANCE = """
    INSERT INTO twofold.schedule AS s (name, done_until)
    VALUES ($1, to_timestamp($2::bigint / 1000000.0))
    ON CONFLICT (name) DO UPDATE SET done_until = greatest(s.done_until, excluded.done_until)
"""


async def timetable(source: Any, hashes: Sequence[str]) -> Timetable:
    """Read from when on times are to come: after what was asked for, or this definition's birth.

    Raises:
        LogUnavailable: the log could not be asked.

    """
    rows = await ask(source, _READ, list(hashes))
    return Timetable(max((row[0] for row in rows), default=0), {row[1]: row[2] for row in rows})


async def advance(source: Any, name: str, until_us: int) -> None:
    """Remember that all up to this time have been asked for; it never goes back.

    Raises:
        LogUnavailable: nobody knows whether it is remembered.

    """
    await ask(source, _ADVANCE, name, until_us)
