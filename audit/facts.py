"""What is known of the log and of participants' databases. Only types, and ways to look things up.

Times are microseconds since 1970: the log's by its own clock, and those of a
database by the database's, corrected by the difference at the time of reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from coordinator.core.machine import State
from coordinator.core.records import Entry, Ordered
from wire import gids
from wire.messages import Action

# ── the log ──────────────────────────────────────────────────────────────────


class Row(NamedTuple):
    """A transaction's row: an index of its records."""

    shard: int
    definition: str
    status: str
    outcome: str | None
    active: bool
    began_us: int
    changed_us: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the log has of one transaction. Without a state, ``unreadable`` says why."""

    gid: str
    row: Row | None
    seqs: Sequence[int]
    entries: Sequence[Entry]
    state: State | None
    unreadable: str = ""

    def _orders(self) -> Iterator[Ordered]:
        """Yield what persons have ordered about it, and was done."""
        for entry in self.entries:
            if isinstance(entry.record, Ordered) and not entry.record.refused:
                yield entry.record

    @property
    def resolved(self) -> bool:
        """Whether a person has said how it ended, whatever its participants hold."""
        return any(order.action in (Action.COMMIT, Action.ROLLBACK) for order in self._orders())

    @property
    def skipped(self) -> frozenset[str]:
        """The steps that a person has seen to."""
        return frozenset(order.step for order in self._orders() if order.action is Action.SKIP)


class Unowned(NamedTuple):
    """A shard that has work to do, and no owner alive."""

    shard: int
    active: int
    last_owner: str
    since_us: int


@dataclass(frozen=True, slots=True)
class LogFacts:
    """The log at one moment.

    ``oldest_us`` is the horizon of each of its stores: what began before may
    be purged there. A store without any transaction knows nothing.
    """

    cluster: str
    generations: Sequence[int]
    """Of each of its stores."""
    now_us: int
    oldest_us: Sequence[int | None]
    transactions: Mapping[str, Transaction]
    unowned: Sequence[Unowned] = ()

    def generation_of(self, gid: gids.Gid) -> int:
        """Return the generation by which transactions of this shard are named now."""
        return self.generations[gid.shard % len(self.generations)]

    def reaches(self, gid: gids.Gid) -> bool:
        """Tell whether the log would still know a transaction of this name."""
        oldest_us = self.oldest_us[gid.shard % len(self.oldest_us)]
        return oldest_us is not None and gid.began_us >= oldest_us // 1000 * 1000

    def has_purged(self, gid: gids.Gid) -> bool:
        """Tell whether the log may have known a transaction of this name once."""
        oldest_us = self.oldest_us[gid.shard % len(self.oldest_us)]
        return oldest_us is not None and not self.reaches(gid)


# ── a participant's database ─────────────────────────────────────────────────


class Barrier(NamedTuple):
    """A row of twofold.barrier."""

    gid: str
    step: str
    status: str
    at_us: int
    reply: str | None = None
    """What the step returned, as JSON."""
    reason: str = ""


class Marker(NamedTuple):
    """A row of twofold.branch."""

    gid: str
    branch: str
    status: str
    at_us: int
    reply: str | None = None
    """What the branch returned, as JSON."""

    @property
    def committed(self) -> bool:
        return self.status == "committed"


class Prepared(NamedTuple):
    """A row of pg_prepared_xacts, of this database, whoever's it is."""

    name: str
    owner: str
    since_us: int


@dataclass(frozen=True, slots=True)
class Database:
    """One database, and the participants that keep their rows there."""

    participants: tuple[str, ...]
    prepared: Sequence[Prepared] = ()
    barriers: Mapping[tuple[str, str], Barrier] = field(
        default_factory=dict[tuple[str, str], Barrier]
    )
    markers: Mapping[tuple[str, str], Marker] = field(default_factory=dict[tuple[str, str], Marker])

    @property
    def label(self) -> str:
        return "+".join(self.participants)

    def holds(self, name: str) -> Prepared | None:
        """Return what is prepared under this name."""
        return next((one for one in self.prepared if one.name == name), None)


# ── both ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Facts:
    """All that one comparison looks at. ``grace_us`` is how long anything may be under way."""

    log: LogFacts
    databases: Sequence[Database]
    grace_us: int

    def where(self, participant: str) -> Database | None:
        """Return a participant's database, if it is looked at."""
        return next((d for d in self.databases if participant in d.participants), None)

    def is_late(self, since_us: int) -> bool:
        """Tell whether something has lasted longer than it should."""
        return self.log.now_us - since_us > self.grace_us

    def prepared(self) -> Iterator[tuple[Database, Prepared]]:
        """Yield all that is prepared, except what has been seen to end since."""
        for database in self.databases:
            for one in database.prepared:
                ours = gids.parse_prepared(one.name)
                if ours is None or (str(ours[0]), ours[1]) not in database.markers:
                    yield database, one
