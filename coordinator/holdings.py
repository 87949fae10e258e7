"""What this process holds of one store: shards, their live transactions, and timers.

It is memory and nothing else: all of it can be dropped at any moment, and
read from the log again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from coordinator.core import machine
from coordinator.core.lock import Lock
from coordinator.core.machine import State
from coordinator.core.transition import Summary
from coordinator.locks import Locks
from coordinator.log.store import KnownStart, Position

CROWD: Final = 10_000


@dataclass(slots=True)
class Live:
    """A transaction in memory: its state, and the place of its next record in the log."""

    gid: str
    shard: int
    state: State
    input_hash: str
    next_seq: int
    summary: Summary
    wake_us: int | None = None
    orders: set[str] = field(default_factory=set[str])
    """The orders that were obeyed, or refused, by name."""


@dataclass(slots=True)
class Shard:
    """A shard as this process holds it.

    Its timers rest until the replies that were waiting at the takeover have
    been read: the answer that a timer would miss may be there already.
    """

    id: int
    epoch: int
    requests_offset: int
    replies_offset: int
    replies_target: int
    gids: set[str] = field(default_factory=set[str])
    parts: set[str] = field(default_factory=set[str])
    """Those of them that are parts of others."""

    @property
    def caught_up(self) -> bool:
        return self.replies_offset >= self.replies_target

    @property
    def position(self) -> Position:
        return Position(self.id, self.epoch, self.requests_offset, self.replies_offset)


class Holdings:
    """The shards and transactions of one engine.

    ``crowd`` is how many transactions of a shard may be active before no more
    are begun there: the rest waits in its topic.
    """

    def __init__(self, crowd: int = CROWD) -> None:
        self._crowd = crowd
        self.shards: dict[int, Shard] = {}
        self.live: dict[str, Live] = {}
        self.starts: dict[tuple[str, str], KnownStart] = {}
        self.locks = Locks()
        self._timers: list[tuple[int, str]] = []

    @property
    def crowded(self) -> list[int]:
        """The shards that have as much to do as they may.

        What is a part of another does not count. It must begin and end with it in any
        case, and if that is parked, it would keep others away for as long.
        """
        shards = self.shards.values()
        return [one.id for one in shards if len(one.gids) - len(one.parts) >= self._crowd]

    def hold(self, live: Live) -> None:
        """Keep a transaction in mind."""
        begun = live.state.begun
        self.live[live.gid] = live
        self.shards[live.shard].gids.add(live.gid)
        if begun.parent:
            self.shards[live.shard].parts.add(live.gid)
        self.starts[begun.name, begun.key] = KnownStart(live.gid, live.input_hash)

    def forget(self, live: Live) -> None:
        """Let go of a transaction that needs no owner any more."""
        begun = live.state.begun
        del self.live[live.gid]
        self.shards[live.shard].gids.discard(live.gid)
        self.shards[live.shard].parts.discard(live.gid)
        del self.starts[begun.name, begun.key]

    def drop(self, shards: Iterable[int]) -> None:
        """Let go of shards and all that is in them."""
        shards = tuple(shards)
        self.locks.drop(shards)
        for shard in shards:
            if shard in self.shards:
                for gid in tuple(self.shards[shard].gids):
                    self.forget(self.live[gid])
                del self.shards[shard]

    def set_timer(self, live: Live) -> None:
        """Note when the transaction wants to be woken, if that has changed."""
        wake_us = machine.wake_at_us(live.state)
        if wake_us != live.wake_us:
            live.wake_us = wake_us
            if wake_us is not None:
                heapq.heappush(self._timers, (wake_us, live.gid))

    def next_timer_us(self) -> int | None:
        """Tell when the next timer may be due."""
        timers = [self._timers[0][0]] if self._timers else []
        at_us = self.locks.next_timer_us()
        return min([*timers, *([] if at_us is None else [at_us])], default=None)

    def locks_due(self, now_us: int, limit: int) -> Iterator[tuple[int, Lock]]:
        """Take the locks whose holders are to be asked, of shards that have caught up."""
        return self.locks.due(now_us, limit, lambda shard: not self.shards[shard].caught_up)

    def due(self, now_us: int, limit: int) -> Iterator[Live]:
        """Take the timers that are due, of shards that have caught up."""
        resting: list[tuple[int, str]] = []
        while self._timers and self._timers[0][0] <= now_us and limit > 0:
            at_us, gid = heapq.heappop(self._timers)
            live = self.live.get(gid)
            if live is None or live.wake_us != at_us:
                continue  # it has ended, or has been set anew
            if not self.shards[live.shard].caught_up:
                resting.append((at_us, gid))
                continue
            live.wake_us = None
            limit -= 1
            yield live
        for timer in resting:
            heapq.heappush(self._timers, timer)
