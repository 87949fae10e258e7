"""The letter box: events that somebody may wait for, and who waits for which.

Each function takes an asyncpg connection or pool. Who waits is written by
`persist`, in the commit that says so; letters by whoever reads the topics.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from coordinator.core.events import Letter
from coordinator.log.ask import ask
from coordinator.log.store import LETTERS_LIMIT, Place, Waiting

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

DELIVER = """
    INSERT INTO twofold.letter (topic, key, partition, "offset", at, event)
    SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::timestamptz[],
                         $6::json[])
    ON CONFLICT DO NOTHING
"""

WAITING = """
    SELECT w.shard, w.gid, w.step, w.topic, w.key
      FROM unnest($1::text[], $2::text[]) AS v(topic, key)
      JOIN twofold.waiting w USING (topic, key)
     ORDER BY w.shard, w.gid, w.step
"""

LETTERS = """
    SELECT l.topic, l.key, l.partition, l."offset",
           (extract(epoch FROM l.at) * 1000000)::bigint, l.event
      FROM unnest($1::text[], $2::text[]) AS v(topic, key)
     CROSS JOIN LATERAL (
           SELECT * FROM twofold.letter l WHERE l.topic = v.topic AND l.key = v.key
            ORDER BY l.at DESC, l.partition DESC, l."offset" DESC LIMIT $3) AS l
     ORDER BY l.at, l.partition, l."offset"
"""

THROW_AWAY = """
    WITH old AS (
         SELECT ctid FROM twofold.letter WHERE topic = $1 AND at < $2
          ORDER BY at LIMIT $3 FOR UPDATE SKIP LOCKED)
    DELETE FROM twofold.letter WHERE ctid IN (SELECT ctid FROM old) RETURNING 1
"""


async def deliver(source: Any, letters: Collection[Letter]) -> None:
    """Put letters into the box. Raises LogUnavailable."""
    rows = [
        (one.topic, one.key, one.partition, one.offset, at(one.at_us), _encode(one.event))
        for one in letters
    ]
    await ask(source, DELIVER, *([row[i] for row in rows] for i in range(6)))


async def waiting(source: Any, places: Collection[Place]) -> Sequence[Waiting]:
    """Tell who waits there. Raises LogUnavailable."""
    return [Waiting(*row) for row in await ask(source, WAITING, *_columns(places))]


async def letters(source: Any, places: Collection[Place]) -> Mapping[Place, Sequence[Letter]]:
    """Return what lies there. Raises LogUnavailable."""
    found: dict[Place, list[Letter]] = {}
    rows = await ask(source, LETTERS, *_columns(places), LETTERS_LIMIT)
    for topic, key, partition, offset, at_us, event in rows:
        letter = Letter(topic, key, partition, offset, at_us, msgspec.json.decode(event))
        found.setdefault((topic, key), []).append(letter)
    return found


async def throw_away(source: Any, topic: str, before_us: int, limit: int) -> int:
    """Empty the box of what is older. Raises LogUnavailable."""
    return len(await ask(source, THROW_AWAY, topic, at(before_us), limit))


def at(at_us: int) -> datetime:
    """Return a time as Postgres takes it."""
    return _EPOCH + timedelta(microseconds=at_us)


def _columns(places: Collection[Place]) -> tuple[list[str], list[str]]:
    return [topic for topic, _ in places], [key for _, key in places]


def _encode(event: Any) -> str:
    return msgspec.json.encode(event).decode()
