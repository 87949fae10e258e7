"""Which faults a run has, how often, and how often they struck.

Each seed draws its own subset and rates: a run in which everything fails a
little finds less than many runs in which a few things fail often (Groce and
others: Swarm Testing, 2012). Each fault has its own source of chance, so that
to leave one out leaves the others much as they were.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """What can go wrong."""

    MESSAGE_LOST = "message lost"
    MESSAGE_DOUBLED = "message doubled"
    MESSAGE_DELAYED = "message delayed"
    MESSAGE_REPLAYED = "old message replayed"
    MESSAGE_UNREADABLE = "message unreadable"
    SEND_FAILED = "send failed"
    SEND_UNACKNOWLEDGED = "sent, and reported as failed"
    READ_FAILED = "read failed"
    READ_SHUFFLED = "partitions read out of turn"
    LOG_SLOW = "log slow"
    LOG_UNAVAILABLE = "log unavailable"
    LOG_UNACKNOWLEDGED = "log executed, and reported as failed"
    LOG_BROKEN_OFF = "log connection lost, executed later"
    COORDINATOR_CRASHED = "coordinator crashed"
    COORDINATOR_CRASHED_AT_IO = "coordinator crashed between two calls"
    COORDINATOR_PAUSED = "coordinator paused"
    COORDINATOR_CUT_FROM_LOG = "coordinator cut off from the log"
    COORDINATOR_CUT_FROM_KAFKA = "coordinator cut off from Kafka"
    COORDINATOR_STOPPED = "coordinator stopped in order"
    LEASE_TAKEN = "lease taken away"
    CLOCK_OFF = "clock too fast or too slow"
    PARTICIPANT_CRASHED = "participant crashed"
    PARTICIPANT_CRASHED_AT_IO = "participant crashed between two statements"
    PARTICIPANT_PAUSED = "participant paused"
    PARTICIPANT_DOUBLED = "participant running twice"
    DATABASE_CRASHED = "participant's database crashed"
    DATABASE_SLOW = "statement slow"
    DATABASE_UNACKNOWLEDGED = "statement executed, and connection lost"
    SLOTS_TAKEN = "no slot for a prepared transaction"
    HANDLER_SLOW = "handler slower than its deadline"
    HANDLER_ENDS = "handler ends its transaction"
    START_REPEATED = "start repeated"
    START_CHANGED = "start repeated with another input"
    VERSION_PUBLISHED = "new version published"
    LOG_RESTORED = "log restored from a backup"
    MOVED = "parked saga moved to another version"


RATES: Final = {
    Fault.MESSAGE_LOST: 0.06,
    Fault.MESSAGE_DOUBLED: 0.1,
    Fault.MESSAGE_DELAYED: 0.1,
    Fault.MESSAGE_REPLAYED: 0.1,
    Fault.SEND_FAILED: 0.01,
    Fault.SEND_UNACKNOWLEDGED: 0.01,
    Fault.READ_FAILED: 0.005,
    Fault.READ_SHUFFLED: 0.3,
    Fault.LOG_SLOW: 0.1,
    Fault.LOG_UNAVAILABLE: 0.02,
    Fault.LOG_UNACKNOWLEDGED: 0.03,
    Fault.LOG_BROKEN_OFF: 0.03,
    Fault.COORDINATOR_CRASHED: 0.08,
    Fault.COORDINATOR_CRASHED_AT_IO: 0.01,
    Fault.COORDINATOR_PAUSED: 0.08,
    Fault.COORDINATOR_CUT_FROM_LOG: 0.06,
    Fault.COORDINATOR_CUT_FROM_KAFKA: 0.06,
    Fault.COORDINATOR_STOPPED: 0.05,
    Fault.LEASE_TAKEN: 0.08,
    Fault.CLOCK_OFF: 0.7,
    Fault.PARTICIPANT_CRASHED: 0.08,
    Fault.PARTICIPANT_CRASHED_AT_IO: 0.008,
    Fault.PARTICIPANT_PAUSED: 0.05,
    Fault.PARTICIPANT_DOUBLED: 0.05,
    Fault.DATABASE_CRASHED: 0.04,
    Fault.DATABASE_SLOW: 0.1,
    Fault.DATABASE_UNACKNOWLEDGED: 0.01,
    Fault.HANDLER_SLOW: 0.08,
    Fault.START_REPEATED: 0.4,
    Fault.START_CHANGED: 0.3,
    Fault.VERSION_PUBLISHED: 0.1,
    Fault.MESSAGE_UNREADABLE: 0.05,
    Fault.LOG_RESTORED: 0.3,
    Fault.SLOTS_TAKEN: 0.3,
    Fault.MOVED: 0.9,
    Fault.HANDLER_ENDS: 0.08,
}
"""How often each strikes where it is on: a time it could, or a tick of the nemesis."""

SHARE: Final = 0.35
"""How many of the faults a seed has."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run: its seed, and what is left out of it to find what matters."""

    seed: int
    without: frozenset[Fault] = frozenset()
    spared: frozenset[tuple[Fault, int]] = frozenset()
    """Single strikes that do not happen, by number."""
    dropped: frozenset[int] = frozenset()
    """Transactions that are never started."""


@dataclass(slots=True)
class Faults:
    """The faults of one run."""

    plan: Plan
    note: Callable[[str, str], None]
    healed: bool = False
    struck: Counter[Fault] = field(default_factory=Counter[Fault])
    _rates: dict[Fault, float] = field(default_factory=dict[Fault, float])
    _chances: dict[Fault, random.Random] = field(default_factory=dict[Fault, random.Random])
    _numbers: Counter[Fault] = field(default_factory=Counter[Fault])

    def __post_init__(self) -> None:
        draw = random.Random(self.plan.seed * 2 + 1)
        for number, (fault, rate) in enumerate(RATES.items()):
            on, factor = draw.random() < SHARE, draw.choice((0.3, 1.0, 3.0))
            if on and fault not in self.plan.without:
                self._rates[fault] = min(rate * factor, 0.9)
                self._chances[fault] = random.Random(self.plan.seed * 64 + number)

    def strikes(self, fault: Fault, whom: str = "") -> bool:
        """Tell whether this fault happens here and now."""
        rate = self._rates.get(fault)
        if rate is None or self.healed or self._chances[fault].random() >= rate:
            return False
        self._numbers[fault] += 1
        if (fault, self._numbers[fault]) in self.plan.spared:
            return False
        self.struck[fault] += 1
        self.note(f"! {whom}" if whom else "!", fault)
        return True

    def may_strike(self, fault: Fault) -> bool:
        """Tell whether this fault may ever happen in this run."""
        return fault in self._rates

    def between(self, fault: Fault, least: float, most: float) -> float:
        """Draw how strong, how long, or whom it strikes."""
        return self._chances[fault].uniform(least, most)
