"""The letter box of a log that was restored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from coordinator.letterbox import waits_of
from coordinator.log.memory import MemoryLog
from coordinator.log.store import ClusterFacts
from recovery.letters import AT_ONCE, put_back
from tests.core.coordinator.builders import START_US, saga, waiting
from wire.kafka import Place, Received

COPIED_MS = START_US // 1000
WAITS = waits_of([saga(waiting("paid"))])


def event(offset: int, of: int, *, partition: int = 0, value: bytes | None = None) -> Received:
    body = value or json.dumps({"of": of}).encode()
    return Received("news", partition, offset, None, body, [], COPIED_MS + offset)


class Topic:
    """A reader of two partitions; the copy is of the time of the third record of each."""

    def __init__(self, records: Iterable[Received]) -> None:
        self._records = list(records)

    async def since(self, places: Iterable[Place], at_ms: int) -> dict[Place, int]:
        assert at_ms == COPIED_MS
        return dict.fromkeys(places, 2)

    async def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        return {place: sum(r.partition == place[1] for r in self._records) for place in places}

    async def read(self, begins: Mapping[Place, int], ends: Mapping[Place, int]) -> list[Received]:
        [(place, first)] = begins.items()
        mine = [r for r in self._records if (r.topic, r.partition) == place]
        return mine[first : ends[place]]


async def boxed(log: MemoryLog, *records: Received) -> list[tuple[int, int]]:
    """Put back what came since, and say where what lies in the box has come from."""
    reader: Any = Topic(records)
    await put_back(reader, [("news", 0), ("news", 1)], log, WAITS, COPIED_MS)
    found = await log.letters([("news", "event.of = 7")])
    return [(one.partition, one.offset) for some in found.values() for one in some]


async def test_what_came_since_the_copy_lies_in_the_box_again() -> None:
    """Once, however often it is put there; but not what is older, or nobody could wait for."""
    log = MemoryLog(ClusterFacts("test", 1, 1), lambda: START_US)
    whole = [event(n, 7) for n in range(4)]
    others = [event(4, 7, value=b"{"), event(5, 8)]
    elsewhere = [event(n, 7, partition=1) for n in range(3)]

    for _ in range(2):
        found = await boxed(log, *whole, *others, *elsewhere)
        assert sorted(found) == [(0, 2), (0, 3), (1, 2)]


async def test_many_are_put_back_in_portions() -> None:
    log = MemoryLog(ClusterFacts("test", 1, 1), lambda: START_US)
    sizes: list[int] = []
    deliver = log.deliver

    async def counted(some: Any) -> None:
        sizes.append(len(some))
        await deliver(some)

    cast("Any", log).deliver = counted

    found = await boxed(log, *(event(n, 7) for n in range(2 + AT_ONCE + 1)))

    assert (sizes, len(found)) == ([AT_ONCE, 1], AT_ONCE + 1)
