"""Who owns which shard: heartbeats, leases, and the wish for a fair share.

All of it is a hint. A lease decides when somebody else may try; the epoch,
taken with the shard and checked at every write, decides whose write counts.
So a paused owner that wakes up loses nothing but its next batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import structlog

from coordinator.clock import LogClock
from coordinator.engine import Engine
from coordinator.log.store import Census, DecisionLog
from wire.kafka import KafkaUnavailable

logger = structlog.get_logger(__name__)

LEASE_US: Final = 2_500_000
"""How long a silent owner is left alone. Takeover takes this and one beat."""

BEAT_S: Final = 0.5
"""Several beats a lease, so that one lost does not lose a shard."""


LOOK_AGAIN_S: Final = 10.0
"""How long a shard is left alone whose topics do not hold what is next."""

STALLED_S: Final = 30.0
"""How long the engine may take for one turn, to read its shards, or to let go of them."""


class EngineStalled(Exception):
    """The engine makes no progress: the tenure must end, so that others can take over."""


def fair_share(replicas: Sequence[str], me: str, shards: int) -> int:
    """Tell how many shards are this replica's: equal parts, the first ones take the rest."""
    order = sorted({*replicas, me})
    each, rest = divmod(shards, len(order))
    return each + (1 if order.index(me) < rest else 0)


class Ownership:
    """Keeps one replica's share of one store's shards, as long as it runs."""

    def __init__(
        self,
        *,
        replica: str,
        log: DecisionLog,
        engine: Engine,
        clock: LogClock,
        shards: int,
        bell: asyncio.Event,
    ) -> None:
        self._replica = replica
        self._log = log
        self._engine = engine
        self._clock = clock
        self._shards = shards
        self._bell = bell
        self.census: Census | None = None
        self._beat_at = asyncio.get_running_loop().time()
        self._turns, self._still_beats = -1, 0
        self._unreadable: frozenset[int] = frozenset()
        self._look_again = 0.0

    def silent_s(self) -> float:
        """Tell how long ago the log last answered a beat."""
        return asyncio.get_running_loop().time() - self._beat_at

    async def run(self, stop: asyncio.Event) -> None:
        """Run the engine, and own shards for it, until told to stop or anything fails."""
        engine_stop = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._engine.run(engine_stop))
                # Shards are given back by a running engine, so it stops last.
                await self._own(stop)
                engine_stop.set()
        except* (KafkaUnavailable, EngineStalled):
            # The log is there: so nobody need wait until the leases have expired.
            await self._log.leave(self._replica)
            raise

    async def _own(self, stop: asyncio.Event) -> None:
        """Beat until told to stop, then give everything back."""
        while not stop.is_set():
            self._see_it_turn()
            await self._beat()
            await self._rest(stop)
        await self._obeyed(self._engine.give(self._engine.shards))
        await self._log.leave(self._replica)

    def _see_it_turn(self) -> None:
        """Count beats, not time: a process that was paused has missed no beat of its engine."""
        self._still_beats = self._still_beats + 1 if self._engine.turns == self._turns else 0
        self._turns = self._engine.turns
        if self._still_beats * BEAT_S >= STALLED_S:
            raise EngineStalled(f"the engine has not turned for {STALLED_S:g} s")

    async def _beat(self) -> None:
        await self._engine.mark()
        census = await self._log.census(self._replica, LEASE_US)
        self._clock.set(census.now_us)
        self.census = census
        self._beat_at = asyncio.get_running_loop().time()
        held = self._engine.shards
        if lost := held - census.mine:
            self._engine.lose(lost)
            held -= lost
        share = fair_share(census.replicas, self._replica, self._shards)
        # A lease that is ours without a shard in the engine is left from
        # before a failure: it is claimed like a free one, or given back.
        left = census.mine - held
        able = (census.free | left) - self._left_alone()
        wanted = sorted(able)[: max(0, share - len(held))]
        if unwanted := left.difference(wanted):
            await self._log.release(self._replica, unwanted)
        if wanted:
            await self._take(wanted)
        elif surplus := sorted(held)[share:]:
            await self._give(surplus)

    async def _take(self, shards: Sequence[int]) -> None:
        positions = await self._log.claim(self._replica, shards, LEASE_US)
        if len(positions) < len(shards):
            # Another one was faster, and wanted fewer: what is left is free now.
            self._bell.set()
        if not positions:
            return
        unreadable: frozenset[int] = await self._obeyed(self._engine.take(positions))
        if unreadable:
            self._unreadable |= unreadable
            self._look_again = asyncio.get_running_loop().time() + LOOK_AGAIN_S
            await self._log.release(self._replica, unreadable)

    def _left_alone(self) -> frozenset[int]:
        """Name the shards whose topics lacked what is next when we last looked."""
        if asyncio.get_running_loop().time() >= self._look_again:
            self._unreadable = frozenset()
        return self._unreadable

    async def _give(self, shards: Sequence[int]) -> None:
        await self._obeyed(self._engine.give(shards))
        await self._log.release(self._replica, shards)

    async def _obeyed(self, order: Coroutine[Any, Any, Any]) -> Any:
        """Wait for the engine, and go on beating meanwhile; but not for ever.

        An engine that does not answer must not keep its leases.
        """
        task = asyncio.ensure_future(order)
        try:
            for _ in range(int(STALLED_S / BEAT_S)):
                done, _pending = await asyncio.wait({task}, timeout=BEAT_S)
                if done:
                    return task.result()
                await self._log.census(self._replica, LEASE_US)
        finally:
            task.cancel()
        raise EngineStalled(f"the engine has not answered for {STALLED_S:g} s")

    async def _rest(self, stop: asyncio.Event) -> None:
        """Wait for the next beat, for a released shard, or for the end."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._bell, stop)]
        await asyncio.wait(waits, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        self._bell.clear()
