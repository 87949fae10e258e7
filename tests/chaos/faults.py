"""What goes wrong: drawn from a seed, several things at once, each undone by itself.

Kinds come from a deck that is shuffled anew when it is used up, so even a
short run has met most of them. The n-th fault of a seed is always of the same
kind with the same luck; what it meets depends on the machine.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.chaos import harm_databases, harm_network, harm_processes, harm_records
from tests.chaos.system import System

HANDS: Final = 3
REST_S: Final = (0.5, 2.5)
"""How long a hand rests between two faults."""

Note = Callable[[str], None]
Harm = Callable[[System, random.Random, Note], Awaitable[None]]

DECK: Final[dict[str, tuple[int, Harm]]] = {
    "coordinator killed": (5, harm_processes.kill_coordinator),
    "coordinator paused past its lease": (4, harm_processes.pause_coordinator),
    "coordinator asked to stop": (2, harm_processes.stop_coordinator),
    "coordinator with a wrong clock": (1, harm_processes.skew_coordinator),
    "participant killed": (4, harm_processes.kill_participants),
    "participant paused past its session": (2, harm_processes.pause_participants),
    "participant asked to stop": (1, harm_processes.stop_participants),
    "participant with a wrong clock": (1, harm_processes.skew_participants),
    "Kafka killed": (1, harm_databases.kill_kafka),
    "Kafka's disk full": (1, harm_databases.fill_kafka_disk),
    "the log's disk full": (1, harm_databases.fill_log_disk),
    "the log's Postgres killed": (2, harm_databases.kill_log),
    "the participants' Postgres killed": (2, harm_databases.kill_data),
    "sessions of the log ended": (2, harm_databases.end_log_sessions),
    "sessions of participants ended": (2, harm_databases.end_data_sessions),
    "prepared slots full": (2, harm_databases.fill_slots),
    "log cut off": (1, harm_network.cut_log),
    "log cut off one way": (2, harm_network.half_cut_log),
    "log slow": (1, harm_network.slow_log),
    "log's acknowledgement lost": (4, harm_network.lose_log_answer),
    "participant's database cut off": (1, harm_network.cut_data),
    "participant's database cut off one way": (1, harm_network.half_cut_data),
    "participant's database slow": (1, harm_network.slow_data),
    "participant's acknowledgement lost": (3, harm_network.lose_data_answer),
    "Kafka cut off": (1, harm_network.cut_kafka),
    "Kafka cut off one way": (1, harm_network.half_cut_kafka),
    "Kafka slow": (1, harm_network.slow_kafka),
    "old records again": (3, harm_records.replay),
    "poison": (3, harm_records.poison),
}
"""Each kind, and how often it is in the deck."""


@dataclass
class Timeline:
    """What was done, when, and for how long."""

    began: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list[str])
    counts: Counter[str] = field(default_factory=Counter[str])

    def note(self, number: int, kind: str, what: str) -> None:
        """Count a fault that takes place now."""
        self.counts[kind] += 1
        self._write(number, f"{kind}: {what}")

    def end(self, number: int) -> None:
        """Note that a fault has been undone."""
        self._write(number, "over")

    def _write(self, number: int, text: str) -> None:
        self.lines.append(f"{time.monotonic() - self.began:8.2f}  #{number}  {text}")


class Faults:
    """Several hands that do harm, independently of each other."""

    def __init__(self, system: System, seed: int, rest_s: float = REST_S[1]) -> None:
        self._rest_s = (REST_S[0], rest_s)
        self.timeline = Timeline()
        self._system = system
        self._draws = _draws(seed)

    async def run(self, stop: asyncio.Event) -> None:
        """Do harm until told to stop; whatever was broken is whole again at the end."""
        async with asyncio.TaskGroup() as group:
            for _ in range(HANDS):
                group.create_task(self._hand(stop))

    async def _hand(self, stop: asyncio.Event) -> None:
        while True:
            number, kind, dice = next(self._draws)
            await asyncio.sleep(dice.uniform(*self._rest_s))
            if stop.is_set():
                return
            noted: list[str] = []

            def note(what: str, number: int = number, kind: str = kind) -> None:
                noted.append(what)  # noqa: B023  # used before the next turn of the loop
                self.timeline.note(number, kind, what)

            await DECK[kind][1](self._system, dice, note)
            if noted:
                self.timeline.end(number)


def _draws(seed: int) -> Iterator[tuple[int, str, random.Random]]:
    dice = random.Random(seed)
    once, again = list(DECK), [kind for kind, (n, _) in DECK.items() for _ in range(n - 1)]
    number = 0
    while True:
        dice.shuffle(once)
        dice.shuffle(again)
        for kind in (*once, *again):
            number += 1
            yield number, kind, random.Random(f"{seed}-{number}")
