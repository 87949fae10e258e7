"""The answer to an event, and the tables that give it.

A table is data: (phase, kind of event) → rule, each with a reason in one
line. Every pair is there, "drop" included, and `table()` refuses one that
forgets a pair; docs/state-tables.md is generated from them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from coordinator.core.events import Kind
from coordinator.core.records import AnyRecord, Outcome
from sagas.model import Atomic, SubSaga
from wire.messages import Command, LockMessage
from wire.messages import Outcome as OutcomeMessage


class Status(StrEnum):
    """What the transaction's row says."""

    OPEN = "open"
    PARKED = "parked"
    ENDED = "ended"


class Send(NamedTuple):
    """A message that must leave, after the records before it are durable.

    ``participant`` is None for the outcome, which is for anyone, and for what
    transactions and locks say to each other, which goes to a shard. ``key``
    is the Kafka key.
    """

    participant: str | None
    message: Command | OutcomeMessage | LockMessage
    key: str
    deadline_us: int | None = None


class Look(NamedTuple):
    """A look into the letter box, for a step that waits."""

    step: str
    topic: str
    key: str


class Spawn(NamedTuple):
    """A transaction that is to begin as part of another, in the same turn.

    ``label`` names it among all that its parent ever begins. A saga has no
    ``gid`` yet: that depends on its version.
    """

    step: str
    label: str
    gid: str
    attempt: int
    work: Atomic | SubSaga
    """What it follows, or the name under which that is published."""
    input: dict[str, Any]


class Revoke(NamedTuple):
    """A child that is not to happen any more, if it can still be helped."""

    child: str


class Dismiss(NamedTuple):
    """A child that will not be taken back any more."""

    child: str


class Return(NamedTuple):
    """The parent is to know how this has ended."""


class Heed(NamedTuple):
    """A person lets this go on: it is to hear whether its parent has gone back meanwhile."""


Errand: TypeAlias = Spawn | Revoke | Dismiss | Return | Heed


class Summary(NamedTuple):
    """What the transaction's row shows of its state. Inactive ones need no owner's memory.

    One that is open all the same sleeps until ``wake_at_us``, or until it is spoken to.
    """

    status: Status
    outcome: Outcome | None
    active: bool
    wake_at_us: int | None = None


OPEN: Final = Summary(Status.OPEN, None, active=True)


class MachineState(Protocol):
    """What both machines' states can do."""

    @property
    def gid(self) -> str: ...

    @property
    def phase(self) -> StrEnum: ...

    def veiled(self, text: str) -> str:
        """Return a text without what its definition declares as sensitive."""
        ...

    def evolve(self, record: AnyRecord, at_us: int, /) -> Any:
        """Return the state in which the record is true: the only durable change there is."""
        ...


PORTION: Final = 50
"""How much a saga asks for at once. A command has up to a megabyte, and all that a turn
sends is in memory together."""

S = TypeVar("S", bound=MachineState)


class Transition(msgspec.Struct, Generic[S], frozen=True):
    """What an event leads to: a state, records to persist, and then messages to send."""

    state: S
    records: tuple[AnyRecord, ...] = ()
    sends: tuple[Send, ...] = ()
    looks: tuple[Look, ...] = ()
    dropped: str = ""
    errands: tuple[Errand, ...] = ()
    """What is to be done in the same turn, about transactions that are part of this one."""

    @property
    def is_full(self) -> bool:
        """Whether no more is to leave at once: what is left is due, and its time is next."""
        return len(self.sends) + len(self.errands) >= PORTION

    def remember(self, record: AnyRecord, now_us: int) -> Transition[S]:
        """Add a fact. The log and the state cannot differ, since both come from here.

        What is sensitive stays out of reasons: these are shown to everyone.
        """
        if said := getattr(record, "reason", ""):
            veiled = self.state.veiled(said)
            record = record if veiled == said else replace(record, reason=veiled)
        state: S = self.state.evolve(record, now_us)
        return replace(self, state=state, records=(*self.records, record))

    def noting(self, state: S) -> Transition[S]:
        """Change what need not survive a crash."""
        return replace(self, state=state)


Act = Callable[[S, Any, int], Transition[S]]


class Rule(NamedTuple):
    """What to do in one phase about one kind of event, and why."""

    act: Act[Any] | None
    reason: str


Rules = Mapping[tuple[StrEnum, Kind], Rule]


def on(phase: StrEnum, kind: Kind, act: Act[Any], reason: str) -> dict[tuple[StrEnum, Kind], Rule]:
    """Make the row of an event that matters in this phase."""
    return {(phase, kind): Rule(act, reason)}


def drop(
    phases: StrEnum | Iterable[StrEnum], kinds: Kind | Iterable[Kind], reason: str
) -> dict[tuple[StrEnum, Kind], Rule]:
    """Make the rows of events that change nothing in these phases."""
    some = (phases,) if isinstance(phases, StrEnum) else tuple(phases)
    these = (kinds,) if isinstance(kinds, Kind) else tuple(kinds)
    return {(phase, kind): Rule(None, reason) for phase in some for kind in these}


def table(
    phases: type[StrEnum], kinds: Iterable[Kind], *rows: dict[tuple[StrEnum, Kind], Rule]
) -> Rules:
    """Join rows to a table.

    Raises:
        ValueError: a pair is missing, or said twice.

    """
    joined: dict[tuple[StrEnum, Kind], Rule] = {}
    for row in rows:
        twice = joined.keys() & row.keys()
        if twice:
            raise ValueError(f"said twice: {sorted(map(str, twice))}")
        joined |= row
    wanted = {(phase, kind) for phase in phases for kind in kinds}
    if wanted != joined.keys():
        raise ValueError(f"not said: {sorted(map(str, wanted - joined.keys()))}")
    return joined


def fraction(*names: object) -> float:
    """Draw a number in [0, 1) that is the same for the same names: jitter without chance."""
    return zlib.crc32("/".join(map(str, names)).encode()) / 2**32
