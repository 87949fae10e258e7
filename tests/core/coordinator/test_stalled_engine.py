"""An engine that makes no progress loses its shards, though its process beats."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from coordinator import shards
from coordinator.clock import LogClock
from coordinator.engine import Engine
from coordinator.log.memory import MemoryLog
from coordinator.log.store import ClusterFacts
from coordinator.shards import EngineStalled, Ownership


class Standing:
    """An engine that holds nothing; it turns so often, and then stands still."""

    shards: frozenset[int] = frozenset()

    def __init__(self, turns: int) -> None:
        self.left, self.looks = turns, 0

    @property
    def turns(self) -> int:
        """How often it has turned."""
        self.looks += 1
        return min(self.looks, self.left)

    async def run(self, stop: asyncio.Event) -> None:
        """Last until told to stop."""
        await stop.wait()

    async def mark(self) -> None:
        """Say nothing."""

    async def take(self, _: Any) -> None:
        """Obey."""

    async def give(self, _: Any) -> None:
        """Obey."""


def owner(engine: Standing) -> Ownership:
    """Make an owner of no shards."""
    clock = LogClock()
    log = MemoryLog(ClusterFacts("test", 1, 1), lambda: 1_700_000_000_000_000)
    return Ownership(
        replica="r",
        log=log,
        engine=cast("Engine", engine),
        clock=clock,
        shards=0,
        bell=asyncio.Event(),
    )


@pytest.fixture(autouse=True)
def short_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten beats without a turn are too many."""
    monkeypatch.setattr(shards, "BEAT_S", 0.01)
    monkeypatch.setattr(shards, "STALLED_S", 0.1)


async def test_an_engine_that_stands_still_ends_the_tenure() -> None:
    """Others take over, and this process begins anew."""
    engine = Standing(turns=5)
    with pytest.RaisesGroup(pytest.RaisesExc(EngineStalled, match="has not turned")):
        await owner(engine).run(asyncio.Event())
    assert engine.looks > 10


async def test_an_engine_that_turns_is_left_in_peace() -> None:
    """Idle or not."""
    stop = asyncio.Event()
    engine = Standing(turns=10**9)
    running = asyncio.create_task(owner(engine).run(stop))
    while engine.looks < 60:
        await asyncio.sleep(0.01)
    stop.set()
    await running
