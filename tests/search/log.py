"""The decision log as a value, and the real one in memory that does the work.

The fence is not modelled: it is that of MemoryLog. A log is put up from its
value, asked one thing, and read off again; what came of it is remembered.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from coordinator.core.records import AnyRecord, Begun, Entry, StepDeferred, decode, encode
from coordinator.core.transition import Summary
from coordinator.log.memory import MemoryLog
from coordinator.log.store import Batch, Change, ClusterFacts, Position, Row
from tests.core.coordinator.builders import GID, SECOND

T = TypeVar("T")

NOW: Final = 1_000_000 * SECOND
LEASE_US: Final = SECOND
FACTS: Final = ClusterFacts("test", 1, 1)


class Log(NamedTuple):
    """Who may write, what is written, and the row that shows it."""

    epoch: int = 0
    records: tuple[str, ...] = ()
    row: Summary | None = None

    @property
    def facts(self) -> list[AnyRecord]:
        return [decode(text) for text in self.records]

    @property
    def entries(self) -> list[Entry]:
        return [Entry(GID, n, NOW, record) for n, record in enumerate(self.facts)]


class _Stored(MemoryLog):
    """The log in memory, put up from a value."""

    def __init__(self, log: Log) -> None:
        super().__init__(FACTS, lambda: NOW)
        self._shards[0] = Position(0, log.epoch, 0, 0)
        if log.row is not None:
            self._rows[GID] = Row(GID, 0, "d", "h", "k", "i", NOW, *log.row)
            self._starts["d", "k"] = GID
            self._entries[GID] = {n: (NOW, text) for n, text in enumerate(log.records)}

    @property
    def value(self) -> Log:
        row = self._rows.get(GID)
        return Log(
            self._shards[0].epoch,
            tuple(encode(entry.record) for entry in self.entries(GID)),
            None if row is None else Summary(row.status, row.outcome, row.active),
        )


def persist(log: Log, epoch: int, records: Sequence[str], summary: Summary) -> tuple[Log, bool]:
    """Write as the owner of that epoch; tell whether it counted. May raise LogUnavailable."""
    seq = len(log.records)
    stored = _Stored(log)
    facts = [decode(text) for text in records]
    begins = bool(facts) and isinstance(facts[0], Begun)
    row = Row(GID, 0, "d", "h", "k", "i", NOW, *summary)
    batch = Batch(
        positions=[Position(0, epoch, 0, 0)],
        begun=[row] if begins else [],
        entries=[(0, Entry(GID, seq + i, NOW, record)) for i, record in enumerate(facts)],
        changes=[] if begins else [Change(GID, 0, *summary, NOW)],
    )
    counted = _at_once(stored.persist(batch))
    return _without_repetition(stored.value), 0 in counted


def _without_repetition(log: Log) -> Log:
    """Write once that a step was put off, however often that was so: the log would never end."""
    *before, last = log.records or ("",)
    repeated = last in before and isinstance(decode(last), StepDeferred)
    return log._replace(records=tuple(before)) if repeated else log


def claim(log: Log) -> tuple[Log, int, list[Entry]]:
    """Take the shard; return the new owner's epoch, and what it must go on with."""
    stored = _Stored(log)
    (position,) = _at_once(stored.claim("next", [0], LEASE_US))
    return stored.value, position.epoch, list(_at_once(stored.active([0])))


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        found: T = stop.value
        return found
    raise AssertionError("a log in memory waits for nothing")
