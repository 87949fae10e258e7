"""What goes wrong: drawn from a seed, several things at once, each undone by itself."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.system import Process, System

HANDS: Final = 3
REST_S: Final = (0.2, 2.5)


@dataclass
class Timeline:
    """What was done, when, and for how long."""

    began: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list[str])
    counts: Counter[str] = field(default_factory=Counter[str])

    def note(self, kind: str, what: str) -> None:
        """Count a fault that takes place now."""
        self.counts[kind] += 1
        self.lines.append(f"{time.monotonic() - self.began:7.2f}  {kind}: {what}")


class Faults:
    """Several hands that do harm, independently of each other."""

    def __init__(self, system: System, seed: int) -> None:
        self.timeline = Timeline()
        self._system, self._seed = system, seed
        self._kinds: dict[str, tuple[int, Callable[[str, random.Random], Awaitable[None]]]] = {
            "coordinator killed": (6, self._kill_coordinator),
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Do harm until told to stop; whatever was broken is whole again at the end."""
        async with asyncio.TaskGroup() as group:
            for hand in range(HANDS):
                group.create_task(self._hand(random.Random(f"{self._seed}-{hand}"), stop))

    async def _hand(self, dice: random.Random, stop: asyncio.Event) -> None:
        kinds = list(self._kinds)
        weights = [self._kinds[kind][0] for kind in kinds]
        while not stop.is_set():
            await asyncio.sleep(dice.uniform(*REST_S))
            [kind] = dice.choices(kinds, weights)
            await self._kinds[kind][1](kind, dice)

    async def _kill_coordinator(self, kind: str, dice: random.Random) -> None:
        await self._kill(kind, dice, self._system.coordinators)

    async def _kill(self, kind: str, dice: random.Random, among: list[Process]) -> None:
        process = dice.choice(among)
        if process.lock.locked():
            return
        async with process.lock:
            self.timeline.note(kind, process.name)
            await process.kill()
            await asyncio.sleep(dice.uniform(0, 2))
            await process.start()
