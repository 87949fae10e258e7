"""The decision log as its users see it: over a network that may lose either direction.

`SimLog` is the server: one step at a time, and watched by the invariants.
`LogClient` is one coordinator's way to it.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from coordinator.core.events import Letter
from coordinator.core.lock import Claim
from coordinator.core.records import Decided, Decision, Entry
from coordinator.log.memory import MemoryLog
from coordinator.log.store import (
    Batch,
    Census,
    ClusterFacts,
    DecisionLog,
    KnownStart,
    LogUnavailable,
    Place,
    Position,
    Row,
    StoredDefinition,
    Waiting,
)
from tests.simulation.faults import Fault, Faults
from tests.simulation.process import Process

T = TypeVar("T")

TRAVEL_S = 0.002
_KEPT: Final = (
    "_shards",
    "_leases",
    "_heartbeats",
    "_rows",
    "_starts",
    "_entries",
    "_definitions",
    "_purged_us",
    "_waiting",
    "_letters",
    "_claims",
    "_facts",
)
GIVEN_UP_S = 0.4


class Watching:
    """What the server tells whoever watches it; see check.py."""

    def persisted(self, batch: Batch, counted: frozenset[int]) -> None:
        """See what has counted."""

    def claimed(self, replica: str, positions: Sequence[Position]) -> None:
        """See who owns what from now on."""

    def refused(self, why: str) -> None:
        """See a batch that no log should ever be given."""

    def released(self) -> None:
        """See that a shard may be free."""


class SimLog(MemoryLog):
    """The server: the twin of the Postgres log, and what it looks like from outside."""

    def __init__(self, facts: ClusterFacts, clock: Callable[[], int], watching: Watching) -> None:
        super().__init__(facts, clock)
        self.watching = watching
        self.life = 0
        """How often it was restored: connections are to one life of it."""

    async def persist(self, batch: Batch) -> frozenset[int]:
        """Write a batch, before the eyes of the invariants."""
        counted = await super().persist(batch)
        self.watching.persisted(batch, counted)
        return counted

    async def claim(
        self, replica: str, shards: Collection[int], lease_us: int
    ) -> Sequence[Position]:
        """Give shards away, before the eyes of the invariants."""
        positions = await super().claim(replica, shards, lease_us)
        self.watching.claimed(replica, positions)
        return positions

    async def release(self, replica: str, shards: Collection[int]) -> None:
        """Take shards back, and ring."""
        await super().release(replica, shards)
        self.watching.released()

    def _refuse_duplicates(self, begun: Sequence[Row], entries: Sequence[Entry]) -> None:
        try:
            super()._refuse_duplicates(begun, entries)
        except LogUnavailable as twice:
            self.watching.refused(str(twice))
            raise

    def expire(self, shard: int) -> None:
        """Let a lease end before its time."""
        self._leases.pop(shard, None)

    def copied(self) -> dict[str, Any]:
        """Return a backup."""
        return copy.deepcopy({name: vars(self)[name] for name in _KEPT})

    def restored(self, backup: Mapping[str, Any]) -> None:
        """Be as the backup was."""
        vars(self).update(backup)
        self.life += 1

    def raise_generation(self) -> None:
        """Let later transactions have other names."""
        self._facts = self._facts._replace(generation=self._facts.generation + 1)

    @property
    def holders(self) -> Sequence[tuple[str, str]]:
        """Who has which lock."""
        return [(gid, lock) for (lock, gid), (_, one) in self._claims.items() if one.held_us]

    @property
    def positions(self) -> Mapping[int, Position]:
        """All shards, as the last write left them."""
        return self._shards


def at_once(step: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        step.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


class LogClient(DecisionLog):
    """A DecisionLog, as one process reaches it."""

    def __init__(
        self,
        server: SimLog,
        process: Process,
        faults: Faults,
        chance: random.Random,
        reachable: Callable[[], bool],
    ) -> None:
        self._server, self._process, self._faults = server, process, faults
        self._chance, self._reachable = chance, reachable
        self._life = server.life

    async def _ask(self, wanted: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async def execute() -> T:
            if self._server.life != self._life:
                raise LogUnavailable("the server is another one")
            return await wanted()

        faults, name = self._faults, self._process.name
        if not self._reachable() or faults.strikes(Fault.LOG_UNAVAILABLE, name):
            await self._process.step()
            await asyncio.sleep(GIVEN_UP_S)
            await self._process.step()
            raise LogUnavailable("it cannot be reached")
        if faults.strikes(Fault.LOG_BROKEN_OFF, name):
            later = faults.between(Fault.LOG_BROKEN_OFF, 0.01, 6.0)
            asyncio.get_running_loop().call_later(later, _unheard, execute)
            raise LogUnavailable("its connection was lost on the way there")
        there_s, back_s = TRAVEL_S * (0.5 + self._chance.random()), 0.0
        if faults.strikes(Fault.LOG_SLOW, name):
            slow_s = faults.between(Fault.LOG_SLOW, 0.05, 2.0)
            there_s, back_s = (slow_s, 0.0) if self._chance.random() < 0.5 else (there_s, slow_s)
        answer = await self._process.call(lambda: at_once(execute()), there_s, back_s)
        if not self._reachable() or faults.strikes(Fault.LOG_UNACKNOWLEDGED, name):
            raise LogUnavailable("its connection was lost on the way back")
        return answer

    async def facts(self) -> ClusterFacts:
        return await self._ask(self._server.facts)

    async def persist(self, batch: Batch) -> frozenset[int]:
        counted = await self._ask(lambda: self._server.persist(batch))
        if self._process.drowsy and any(isinstance(e.record, Decided) for _, e in batch.entries):
            self._process.sleep()
            await self._process.step()
        return counted

    async def census(self, replica: str, lease_us: int) -> Census:
        return await self._ask(lambda: self._server.census(replica, lease_us))

    async def claim(
        self, replica: str, shards: Collection[int], lease_us: int
    ) -> Sequence[Position]:
        return await self._ask(lambda: self._server.claim(replica, shards, lease_us))

    async def release(self, replica: str, shards: Collection[int]) -> None:
        await self._ask(lambda: self._server.release(replica, shards))

    async def leave(self, replica: str) -> None:
        await self._ask(lambda: self._server.leave(replica))

    async def active(self, shards: Collection[int]) -> Sequence[Entry]:
        return await self._ask(lambda: self._server.active(shards))

    async def deliver(self, letters: Collection[Letter]) -> None:
        await self._ask(lambda: self._server.deliver(letters))

    async def waiting(self, places: Collection[Place]) -> Sequence[Waiting]:
        return await self._ask(lambda: self._server.waiting(places))

    async def letters(self, places: Collection[Place]) -> Mapping[Place, Sequence[Letter]]:
        return await self._ask(lambda: self._server.letters(places))

    async def throw_away(self, topic: str, before_us: int, limit: int) -> int:
        return await self._ask(lambda: self._server.throw_away(topic, before_us, limit))

    async def asleep(self, gids: Collection[str]) -> Sequence[Entry]:
        return await self._ask(lambda: self._server.asleep(gids))

    async def waking(self, shards: Collection[int], until_us: int, limit: int) -> Sequence[Entry]:
        return await self._ask(lambda: self._server.waking(shards, until_us, limit))

    async def claims(self, shards: Collection[int]) -> Sequence[tuple[int, str, Claim]]:
        return await self._ask(lambda: self._server.claims(shards))

    async def unended(self, gids: Collection[str]) -> frozenset[str]:
        return await self._ask(lambda: self._server.unended(gids))

    async def records(self, gids: Collection[str]) -> Sequence[Entry]:
        return await self._ask(lambda: self._server.records(gids))

    async def known_starts(
        self, starts: Collection[tuple[str, str]]
    ) -> Mapping[tuple[str, str], KnownStart]:
        return await self._ask(lambda: self._server.known_starts(starts))

    async def decisions(self, gids: Collection[str]) -> Mapping[str, Decision | None]:
        return await self._ask(lambda: self._server.decisions(gids))

    async def purge(self, keep: Mapping[str, int], now_us: int, limit: int) -> int:
        return await self._ask(lambda: self._server.purge(keep, now_us, limit))

    async def publish(self, definition: StoredDefinition) -> bool:
        return await self._ask(lambda: self._server.publish(definition))

    async def definitions(self, known: Collection[str] = ()) -> Sequence[StoredDefinition]:
        return await self._ask(lambda: self._server.definitions(known))


def _unheard(execute: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Execute what nobody waits for any more."""
    try:
        at_once(execute())
    except LogUnavailable:
        return
