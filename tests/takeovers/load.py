"""A steady load of both kinds on every shard, which does not wait for answers.

Each shard has accounts of its own: while one stands still, its branches hold
their locks, and no transaction of another shard wants these.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from coordinator.triggers import seal_start
from tests.chaos.load import Ear, Load, Speaker, Start
from tests.chaos.services import ACCOUNTS
from wire.envelope import Envelope, Record
from wire.gids import shard_of_start
from wire.messages import Begin, Outcome
from wire.topics import Topics

SHARDS: Final = 8
PER_SHARD_S: Final = 4.0
"""Starts a second and shard."""

PROBE_S: Final = 0.05
"""How often each shard is asked for a start that it must refuse. That it has is written at
once, so a shard on which nobody works is seen to stand still, and one that has little to do is
not."""

PROBE: Final = "probe-"

EVENT: Final = 5
"""Every so many starts one is an event, which a trigger must read first."""

MOST_OPEN: Final = 400
KINDS: Final = ("move-two", "pay")


class Life(NamedTuple):
    """One transaction, as its client saw it."""

    shard: int
    by_event: bool
    began: float
    ended: float | None = None

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return (self.ended or time.monotonic()) - self.began


class Listener(Ear):
    """Hears outcomes, and notes when."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(bootstrap)
        self.lives: dict[tuple[str, str], Life] = {}
        self.open: set[tuple[str, str]] = set()

    def _hear(self, envelope: Envelope) -> None:
        super()._hear(envelope)
        message = envelope.message
        if isinstance(message, Outcome) and message.key.startswith(PROBE):
            self.outcomes.pop((message.definition, message.key), None)
        elif isinstance(message, Outcome) and (message.definition, message.key) in self.open:
            place = (message.definition, message.key)
            self.open.remove(place)
            self.lives[place] = self.lives[place]._replace(ended=time.monotonic())


class Steady(Load):
    """Asks at a steady pace, whatever comes of it."""

    def __init__(self, bootstrap: str, dice: random.Random, *, probing: bool) -> None:
        super().__init__(bootstrap, dice)
        self._probing = probing
        self.ear: Listener = Listener(bootstrap)

    @property
    def lives(self) -> Collection[Life]:
        """All transactions that were asked for."""
        return self.ear.lives.values()

    def waiting(self) -> list[Life]:
        """Return those that have not ended."""
        return [self.ear.lives[place] for place in self.ear.open]

    async def run(self, tag: str = "") -> None:
        """Ask until `stopping` is set."""
        self.stopping.clear()
        async with asyncio.TaskGroup() as group:
            for shard in range(SHARDS):
                group.create_task(self._keep_asking(shard, tag))
            if self._probing:
                group.create_task(self._probe())

    async def _keep_asking(self, shard: int, tag: str) -> None:
        starts = _starts(shard, tag)
        due = time.monotonic() + shard / SHARDS / PER_SHARD_S
        async with asyncio.TaskGroup() as group:
            for number, start in enumerate(starts):
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due += 1 / PER_SHARD_S
                if self.stopping.is_set():
                    return
                if len(self.ear.open) < MOST_OPEN:
                    group.create_task(self._begin(start, shard, by_event=number % EVENT == 0))

    async def _probe(self) -> None:
        """Ask each shard for the same start with another input, which has no effect."""
        speaker = Speaker(self.ear.bootstrap)
        keys = [_probe_key(shard) for shard in range(SHARDS)]
        await speaker.say([_start(Start(KINDS[1], key, {})) for key in keys])
        others = [_start(Start(KINDS[1], key, {"another": True})) for key in keys]
        while not self.stopping.is_set():
            await speaker.say(others)
            await asyncio.sleep(PROBE_S)
        await speaker.close()

    async def _begin(self, start: Start, shard: int, *, by_event: bool) -> None:
        """Ask once: the servers are up."""
        self.book.append(start)
        self.ear.lives[start.place] = Life(shard, by_event, time.monotonic())
        self.ear.open.add(start.place)
        start.acknowledged = await self._speaker.say([_event(start) if by_event else _start(start)])

    def hear_out(self) -> None:
        """Write down what clients have heard by now."""
        for start in self.book:
            heard = self.ear.outcomes.get(start.place)
            if heard:
                start.said = "ok" if heard[0] == "COMMITTED" else "failed"


def _starts(shard: int, tag: str) -> Iterator[Start]:
    """Make starts of both kinds, by turns, whose keys belong to a shard."""
    accounts = [f"acc-{1 + n}" for n in range(ACCOUNTS) if n % SHARDS == shard]
    kinds = itertools.cycle(KINDS)
    kind = next(kinds)
    for n in itertools.count():
        key = f"{tag}{shard}-{n}"
        if shard_of_start(kind, key, SHARDS) == shard:
            account = accounts[n % len(accounts)]
            event = {"key": key, "amount": 1, "from": account, "to": account, "last": account}
            yield Start(kind, key, event)
            kind = next(kinds)


def _probe_key(shard: int) -> str:
    keys = (f"{PROBE}{n}" for n in itertools.count())
    return next(key for key in keys if shard_of_start(KINDS[1], key, SHARDS) == shard)


def _start(start: Start) -> Record:
    begin = Begin(definition=start.definition, key=start.key, input=start.event)
    return seal_start(begin, topics=Topics(), shards=SHARDS, source="/takeovers", traceparent=None)


def _event(start: Start) -> Record:
    body = json.dumps(start.event).encode()
    return Record(f"chaos.{start.definition}", start.key.encode(), body, [])
