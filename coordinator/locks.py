"""The locks of the shards that this process has, in memory; and one turn's part for them.

Free ones are not kept: a lock is only its queue.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence

from coordinator.core.lock import Claim, Lock
from coordinator.log.store import ClaimChange, ClusterFacts
from wire import gids
from wire.messages import (
    AnyMessage,
    LockAsk,
    LockDenied,
    LockGranted,
    LockRelease,
    LockReleased,
)


class Locks:
    """The locks that somebody has, each with its shard, and when to ask its holder."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[int, Lock]] = {}
        self._timers: list[tuple[int, str]] = []

    def get(self, name: str) -> Lock:
        """Return a lock as it stands."""
        found = self._held.get(name)
        return Lock(name) if found is None else found[1]

    def keep(self, shard: int, lock: Lock) -> None:
        """Hold a lock as it stands now."""
        if not lock.claims:
            self._held.pop(lock.name, None)
            return
        before = self._held.get(lock.name)
        self._held[lock.name] = (shard, lock)
        if before is None or before[1].probe_at_us != lock.probe_at_us:
            heapq.heappush(self._timers, (lock.probe_at_us, lock.name))

    def load(self, claims: Iterable[tuple[int, str, Claim]]) -> None:
        """Hold what was read from the log: all holders are asked at once."""
        queues: dict[tuple[int, str], list[Claim]] = {}
        for shard, name, claim in claims:
            queues.setdefault((shard, name), []).append(claim)
        for (shard, name), queue in queues.items():
            self.keep(shard, Lock(name, tuple(queue)))

    def drop(self, shards: Iterable[int]) -> None:
        """Let go of shards and their locks."""
        gone = set(shards)
        self._held = {name: one for name, one in self._held.items() if one[0] not in gone}

    def next_timer_us(self) -> int | None:
        """Tell when the next holder may have to be asked."""
        return self._timers[0][0] if self._timers else None

    def due(
        self, now_us: int, limit: int, rests: Callable[[int], bool]
    ) -> Iterator[tuple[int, Lock]]:
        """Take those whose holders are to be asked, each with its shard.

        ``rests`` tells for which shards not yet.
        """
        resting: list[tuple[int, str]] = []
        while self._timers and self._timers[0][0] <= now_us and limit > 0:
            timer = heapq.heappop(self._timers)
            shard, lock = self._held.get(timer[1], (0, Lock(timer[1])))
            if not lock.claims or lock.probe_at_us != timer[0]:
                continue  # it is free, or was asked since
            if rests(shard):
                resting.append(timer)
                continue
            limit -= 1
            yield shard, lock
        for timer in resting:
            heapq.heappush(self._timers, timer)


def changed(shard: int, before: Lock, after: Lock) -> Sequence[ClaimChange]:
    """Tell which claims are not what they were."""
    if before.claims is after.claims:
        return ()  # most of what comes is said again by somebody who waits
    known = set(before.claims)
    gone = {claim.gid for claim in known} - {claim.gid for claim in after.claims}
    fresh = [claim for claim in after.claims if claim not in known]
    return [
        *(ClaimChange(shard, before.name, gid, None) for gid in sorted(gone)),
        *(ClaimChange(shard, before.name, claim.gid, claim) for claim in fresh),
    ]


def shard_of(message: AnyMessage, facts: ClusterFacts) -> int | None:
    """Tell for which shard it is what a transaction and a lock say to each other."""
    match message:
        case LockAsk() | LockRelease():
            return gids.shard_of_lock(message.lock, facts.shards)
        case LockGranted() | LockDenied() | LockReleased():
            name = gids.parse(message.gid)
            assert name is not None, f"{message.gid!r} was let into a queue"
            return name.shard
        case _:
            return None


def misplaced(message: LockAsk | LockRelease, facts: ClusterFacts, shard: int) -> str:
    """Say why a lock of this shard cannot be meant; empty if it can."""
    name = gids.parse(message.gid)
    if name is None or name.cluster != facts.name or name.shard >= facts.shards:
        return f"{message.gid!r} is no transaction of this cluster"
    if not gids.is_lock_name(message.lock):
        return gids.LOCK_RULE
    if (right := shard_of(message, facts)) != shard:
        return f"the lock {message.lock!r} belongs to partition {right}, not {shard}"
    return ""
