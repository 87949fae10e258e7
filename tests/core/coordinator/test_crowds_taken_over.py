"""A crowd that is taken over: whoever reads it must not seem to be gone meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from coordinator import engine as engines
from coordinator.core import machine
from coordinator.core.records import Entry, decode
from coordinator.definitions import Definitions
from coordinator.holdings import Live
from coordinator.log.memory import MemoryLog
from coordinator.log.store import Batch, Row
from coordinator.turn import Turn
from tests.core.coordinator.builders import GID, START_US, Story, saga, step
from tests.core.coordinator.test_handing_over import FACTS, Hesitating, engine_of

CROWD, AT_ONCE = 45, 10


async def test_a_crowd_is_taken_over_little_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else no beat is made for longer than a lease, and two owners take it in turns for ever."""
    asked: list[Counter[str]] = []

    class Counting(Turn):
        def resume(self, live: Live) -> None:
            if not asked or self is not counting[-1]:
                counting.append(self)
                asked.append(Counter())
            asked[-1][live.gid] += 1
            super().resume(live)

    counting: list[Turn] = []
    monkeypatch.setattr(engines, "Turn", Counting)
    monkeypatch.setattr(engines, "RESUMED_LIMIT", AT_ONCE)
    monkeypatch.setattr(engines, "BREATH", AT_ONCE)
    story, definitions = Story.begin(saga(step("reserve"))), Definitions()
    definitions.add(story.definition)
    log = MemoryLog(FACTS, lambda: START_US)
    position = list(await log.claim("r", [0], 1_000_000))
    begun, summary, [(at_us, text)] = story.state.begun, machine.summary(story.state), story.log
    gids = [f"{GID[:-2]}{number:02x}" for number in range(CROWD)]
    rows = [
        Row(gid, 0, begun.name, begun.definition, gid, "", at_us, summary.status, None, active=True)
        for gid in gids
    ]
    entries = [(0, Entry(gid, 0, at_us, decode(text))) for gid in gids]
    await log.persist(Batch(position, rows, entries, []))
    producer, stop = Hesitating(), asyncio.Event()
    engine = engine_of(log, definitions, producer)
    running = asyncio.create_task(engine.run(stop))

    taking, others = asyncio.create_task(engine.take(position)), 0
    while not taking.done():
        await asyncio.sleep(0)
        others += engine.active > 0
    while len(producer.sent) < CROWD:
        assert not running.done(), running
        await asyncio.sleep(0.001)

    assert others >= CROWD // AT_ONCE
    assert max(one.total() for one in asked) <= AT_ONCE
    assert sum(asked, Counter[str]()) == Counter(gids)
    producer.acknowledge()
    stop.set()
    await running
