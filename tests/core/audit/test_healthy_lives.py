"""A healthy system is never reported, however its facts are read one after the other.

Random lives of honest participants. After each turn the log of some turns ago
is compared with what was prepared some turns later, and with rows of later
still, as an audit reads them under load.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant

from audit.compare import compare
from audit.facts import Facts
from audit.findings import Kind
from coordinator.core import machine
from coordinator.core.records import Entry
from coordinator.core.transition import Summary
from tests.core.audit.made import YEARS_US, database, log_of
from tests.core.coordinator.builders import Story
from tests.core.coordinator.simulated import Branches, Workers
from tests.core.coordinator.test_histories import AtomicLife, SagaLife

PROFILE = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
BACK = 4
"""How many turns may lie between the first look and the last."""


class Moment(NamedTuple):
    """What could be read at one moment."""

    entries: list[Entry]
    summary: Summary
    now_us: int
    held: dict[str, str]


def moment(story: Story, others: Branches | Workers) -> Moment:
    held = others.ends if isinstance(others, Branches) else others.barrier
    summary = machine.summary(story.state)
    return Moment(story.entries(), summary, story.now_us, dict(held))


def kinds(story: Story, log: Moment, prepared: Moment, rows: Moment) -> set[Kind]:
    """Compare what was read in this order."""
    atomic = story.definition.kind == "atomic"
    there = [
        database(
            name,
            prepared=[name] if atomic and prepared.held.get(name) == "prepared" else [],
            markers={name: mark} if (mark := MARKS.get(rows.held.get(name, ""))) else {},
            barriers={} if atomic or name not in rows.held else {name: rows.held[name]},
        )
        for name in (story.txn.definition.branches if atomic else story.saga.definition.steps)
    ]
    facts = Facts(log_of(story, log.entries, log.summary, log.now_us), there, YEARS_US)
    return {finding.kind for finding in compare(facts)}


MARKS = {"committed": "committed", "rolled back": "rolled-back"}


class Watched:
    """A life whose moments are kept."""

    moments: list[Moment]

    def look(self, story: Story, others: Branches | Workers) -> None:
        self.moments = [*getattr(self, "moments", [])[-BACK:], moment(story, others)]
        last = self.moments[-1]
        assert kinds(story, last, last, last) <= {Kind.PARKED}
        for start, log in enumerate(self.moments):
            for middle, prepared in enumerate(self.moments[start:], start):
                for rows in self.moments[middle:]:
                    # A log that is read before the decision is asked again.
                    allowed = {Kind.PARKED, Kind.COMMITTED_UNDECIDED}
                    assert kinds(story, log, prepared, rows) <= allowed


class WatchedAtomicLife(AtomicLife, Watched):
    """An atomic transaction that is looked at all the time."""

    @invariant()
    def the_audit_is_silent(self) -> None:
        if hasattr(self, "world"):
            self.look(self.world.story, self.world.others)


class WatchedSagaLife(SagaLife, Watched):
    """A saga that is looked at all the time."""

    @invariant()
    def the_audit_is_silent(self) -> None:
        if hasattr(self, "world"):
            self.look(self.world.story, self.world.others)


WatchedAtomicLife.TestCase.settings = PROFILE
WatchedSagaLife.TestCase.settings = PROFILE

TestWatchedAtomicLife = WatchedAtomicLife.TestCase
TestWatchedSagaLife = WatchedSagaLife.TestCase
