"""Two want the same shards at the same time: who is late takes others at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from coordinator import shards
from coordinator.clock import LogClock
from coordinator.engine import Engine
from coordinator.log.memory import MemoryLog
from coordinator.log.store import ClusterFacts, Position
from coordinator.shards import Ownership

NOW_US = 1_700_000_000_000_000
SHARDS = 4


class Obedient:
    """An engine that turns, and holds what it is given."""

    def __init__(self) -> None:
        self.shards: frozenset[int] = frozenset()
        self._looks = 0

    @property
    def turns(self) -> int:
        """How often it has turned."""
        self._looks += 1
        return self._looks

    async def run(self, stop: asyncio.Event) -> None:
        """Last until told to stop."""
        await stop.wait()

    async def mark(self) -> None:
        """Say nothing."""

    async def take(self, positions: Sequence[Position]) -> frozenset[int]:
        """Hold these too."""
        self.shards |= {position.shard for position in positions}
        return frozenset()

    async def give(self, shards: Any) -> None:
        """Hold these no more."""
        self.shards -= set(shards)


class Contested(MemoryLog):
    """A log in which somebody else has claimed the first shard a moment ago."""

    async def claim(self, replica: str, shards: Any, lease_us: int) -> Sequence[Position]:
        if replica == "b" and 0 in shards:
            await super().claim("a", [0], lease_us)
        return await super().claim(replica, shards, lease_us)


async def test_a_claim_that_came_too_late_is_made_up_for_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not one beat later."""
    monkeypatch.setattr(shards, "BEAT_S", 20.0)
    log = Contested(ClusterFacts("test", SHARDS, 1), lambda: NOW_US)
    await log.census("a", 1_000_000)
    engine, stop = Obedient(), asyncio.Event()
    owner = Ownership(
        replica="b",
        log=log,
        engine=cast("Engine", engine),
        clock=LogClock(),
        shards=SHARDS,
        bell=asyncio.Event(),
    )
    running = asyncio.create_task(owner.run(stop))
    began = asyncio.get_running_loop().time()
    while len(engine.shards) < SHARDS // 2:
        await asyncio.sleep(0.001)
    assert asyncio.get_running_loop().time() - began < shards.BEAT_S
    assert engine.shards == {1, 2}
    stop.set()
    await running
