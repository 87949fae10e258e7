"""What one turn of the engine leads to, in the order in which it must happen.

First the records, in one commit that counts shard by shard; then, for the
shards for which it counted, what must be sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from coordinator.core import machine
from coordinator.core.machine import State
from coordinator.core.records import (
    AnyRecord,
    Begun,
    CompensationBegan,
    Decided,
    Ended,
    Entry,
    StepDone,
    StepUndone,
)
from coordinator.core.transition import Look, Transition
from coordinator.holdings import Live
from coordinator.log.store import Batch, Change, ClaimChange, Position, Row, Waiting
from wire.envelope import Record


class Telling(NamedTuple):
    """An outcome on its way, and when its transaction would tell it again.

    What is told meanwhile has another time: a saga that was parked may have ended since.
    """

    gid: str
    again_us: int


class Outgoing(NamedTuple):
    """A record to be sent for a shard. ``tells`` says whose outcome it is, if it is one."""

    shard: int
    record: Record
    tells: Telling | None = None


class Trail(NamedTuple):
    """What happened to one transaction, for whoever watches.

    ``before`` is its state before the entries; None if it began with them.
    ``resumed`` says that a new owner has just taken it over.
    """

    live: Live
    before: State | None
    entries: tuple[Entry, ...]
    resumed: bool = False
    epoch: int = 0


class LookFor(NamedTuple):
    """A look into the letter box, once this is durable, for a step that waits."""

    gid: str
    shard: int
    look: Look


class Rested(NamedTuple):
    """A transaction that may be forgotten once this is durable, unless it has gone on since."""

    gid: str
    shard: int
    next_seq: int


@dataclass(slots=True)
class Work:
    """All of one turn."""

    positions: dict[int, Position] = field(default_factory=dict[int, Position])
    begun: dict[str, Row] = field(default_factory=dict[str, Row])
    entries: list[tuple[int, Entry]] = field(default_factory=list[tuple[int, Entry]])
    changes: dict[str, Change] = field(default_factory=dict[str, Change])
    outgoing: list[Outgoing] = field(default_factory=list[Outgoing])
    buried: list[Record] = field(default_factory=list[Record])
    claims: dict[tuple[str, str], ClaimChange] = field(
        default_factory=dict[tuple[str, str], ClaimChange]
    )
    trails: list[Trail] = field(default_factory=list[Trail])
    rested: list[Rested] = field(default_factory=list[Rested])
    waiting: dict[tuple[str, str], Waiting] = field(default_factory=dict[tuple[str, str], Waiting])
    looks: list[LookFor] = field(default_factory=list[LookFor])

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for it: to be told, to find it in the log, or to be looked for."""
        return bool(self.outgoing or self.begun or self.buried or self.claims or self.looks)

    def note_waits(self, live: Live, state: State | None, step: Transition[Any]) -> None:
        """Write down what is waited for from now on, and what no more; and look what has come."""
        before = machine.waits(state) if state is not None else frozenset[Look]()
        after = machine.waits(step.state)
        for over in before - after:
            self.waiting[live.gid, over.step] = Waiting(live.shard, live.gid, over.step)
        for new in after - before:
            self.waiting[live.gid, new.step] = Waiting(live.shard, live.gid, *new)
        self.looks += [LookFor(live.gid, live.shard, look) for look in step.looks]

    def note_row(self, live: Live, now_us: int) -> None:
        """Bring a transaction's row up to what it shows."""
        summary, row = live.summary, self.begun.get(live.gid)
        if row is not None:
            self.begun[live.gid] = row._replace(**summary._asdict())
        else:
            moved = machine.moved_to(live.state)
            self.changes[live.gid] = Change(live.gid, live.shard, *summary, now_us, moved)

    def batch(self) -> Batch:
        """Return what must be persisted."""
        positions = [self.positions[shard] for shard in sorted(self.positions)]
        return Batch(
            positions,
            list(self.begun.values()),
            self.entries,
            list(self.changes.values()),
            list(self.waiting.values()),
            list(self.claims.values()),
        )

    def to_send(self, shards: Collection[int]) -> list[Outgoing]:
        """Return what may leave, now that the batch counted for these shards."""
        return [out for out in self.outgoing if out.shard in shards]

    def crash_points_before(self) -> Iterator[str]:
        """Name the crash points that lie just before this work is durable."""
        yield "C4"
        if self.begun:
            yield "C1"
        if self._decides:
            yield "C6"
        if self.buried:
            yield "C17"

    def crash_points_within(self) -> Iterator[str]:
        """Name the crash points at which nobody knows whether this work is durable."""
        yield "C5"
        if self._decides:
            yield "C7"

    def crash_points_after(self) -> Iterator[str]:
        """Name the crash points that lie between durable and sent."""
        names: dict[type[AnyRecord], str] = {
            Begun: "C2",
            Decided: "C9",
            StepDone: "C15",
            CompensationBegan: "C16",
            StepUndone: "C16",
            Ended: "C12",
        }
        yield from sorted(
            {name for _, e in self.entries if (name := names.get(type(e.record))) is not None}
        )

    def crash_points_amid(self) -> Iterator[str]:
        """Name the crash points at which half of what this work sends has been sent."""
        yield "C10"
        if self.begun:
            yield "C3"

    @property
    def _decides(self) -> bool:
        return any(isinstance(entry.record, Decided) for _, entry in self.entries)
