"""Events that sagas wait for: the letter box of a copy lacks those that came later.

The group that fills the box has moved past them. So they are read again, from
the time of the copy on. What lies in the box already is there once all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from coordinator.definitions import Definitions
from coordinator.letterbox import Waits, letters, waits_of
from coordinator.log.store import DecisionLog
from wire.kafka import Place, ShardReader, partition_counts

AT_ONCE: Final = 500


async def refill(
    reader: ShardReader, bootstrap: str, log: DecisionLog, definitions: Definitions, since_ms: int
) -> None:
    """Put what has come since into the box, of all topics that sagas wait for.

    Raises:
        KafkaUnavailable: it cannot be read.
        LogUnavailable: the log is gone.

    """
    waits = waits_of(definitions.all_versions())
    if waits:
        counts = await partition_counts(bootstrap, waits)
        places = [(topic, n) for topic, count in counts.items() for n in range(count)]
        await put_back(reader, places, log, waits, since_ms)


async def put_back(
    reader: ShardReader, places: Sequence[Place], log: DecisionLog, waits: Waits, since_ms: int
) -> None:
    """Read these again, a partition at a time, since they may be many."""
    begins, ends = await reader.since(places, since_ms), await reader.ends(places)
    for place in places:
        records = await reader.read({place: begins[place]}, {place: ends[place]})
        # What cannot be read was buried when it was first read.
        found, _ = letters(records, waits, since_ms * 1000)
        for start in range(0, len(found), AT_ONCE):
            await log.deliver(found[start : start + AT_ONCE])
