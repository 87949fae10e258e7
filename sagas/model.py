"""What a definition is, once it is known to be right.

Only the loader makes these, so whoever holds one may rely on what `lint.py`
promises: no cycle, no dangling name, every step ordered before or after the
pivot, an undo for every step before it, none after.

Times are integer microseconds. Nothing here awaits, reads a clock, or logs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from sagas.private import Private

Json: TypeAlias = Any
Scope: TypeAlias = Mapping[str, Json]
"""What an expression may name, by its root: input, steps, branches, txn, event."""


RETAIN_US: Final = 30 * 86_400_000_000
"""How long a transaction is kept that has ended, if its definition does not say."""


class EvaluationFailed(Exception):
    """An expression has no value in this scope: a missing field, a division by zero."""


class InputRefused(Exception):
    """An input does not fit its definition's schema; says where and why."""


class Expression(Protocol):
    """A CEL expression, or a JSON value with ``${ … }`` in its texts, checked at load."""

    def __call__(self, scope: Scope, /) -> Json:
        """Return the value as JSON.

        Raises:
            EvaluationFailed: it has none in this scope.

        """
        ...


class InputCheck(Protocol):
    """The JSON Schema of an input."""

    def __call__(self, value: Json, /) -> None:
        """Accept the input, or raise InputRefused."""
        ...


class Call(NamedTuple):
    """Whom to ask for what: ``stock.reserve``."""

    participant: str
    command: str

    def __str__(self) -> str:
        return f"{self.participant}.{self.command}"


@dataclass(frozen=True, slots=True)
class Gate:
    """Nothing to do: done as soon as what the step needs is. It leaves nothing to undo."""

    gathers: tuple[str, ...] | None = None
    """The steps whose results, in this order, are its own; without them it has none."""

    def __str__(self) -> str:
        return "nothing"


class OnTimeout(StrEnum):
    """What follows when what a step waits for does not come in time."""

    FAIL = "fail"
    CONTINUE = "continue"  # as if it were done, with null for its result


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """An event that must come. An event and who waits for it find each other by a key.

    ``about`` is the expression that gives an event's key, as it is written, and
    ``key_of`` the same, compiled; ``key`` gives the one that is waited for.
    Without ``timeout_us`` only the saga's deadline ends it.
    """

    topic: str
    about: str
    key_of: Expression
    key: Expression
    match: Expression
    timeout_us: int | None
    on_timeout: OnTimeout

    def __str__(self) -> str:
        return f"an event on {self.topic}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve:
    """A person's yes. Without ``roles`` anybody may say it."""

    roles: tuple[str, ...]
    timeout_us: int | None
    on_timeout: OnTimeout

    def __str__(self) -> str:
        return "a person's approval" + (f" ({', '.join(self.roles)})" if self.roles else "")


@dataclass(frozen=True, slots=True)
class Group:
    """Branches that commit together: a transaction of its own, as a step of a saga."""

    definition: Atomic

    def __str__(self) -> str:
        return " + ".join(str(branch.call) for branch in self.definition.branches.values())


@dataclass(frozen=True, slots=True)
class SubSaga:
    """Another saga, as a step: the newest that is published under this name when it begins."""

    saga: str

    def __str__(self) -> str:
        return f"saga {self.saga}"


Work: TypeAlias = Call | Gate | Group | SubSaga | Wait | Approve
"""What a step does."""


@dataclass(frozen=True, slots=True)
class Each:
    """A step for each element of a list, so many at once."""

    elements: Expression
    at_most: int


class OnUnknown(StrEnum):
    """What follows when an attempt's answer did not come in time: nobody knows if it was done."""

    RETRY = "retry"  # all attempts share one effect, so to ask again is safe
    COMPENSATE = "compensate"
    PARK = "park"


class OnDeadline(StrEnum):
    """What follows before the pivot when the deadline has passed."""

    COMPENSATE = "compensate"
    PARK = "park"


class OnRefused(StrEnum):
    """What follows a participant's business no before the pivot; after it, a person is asked."""

    COMPENSATE = "compensate"
    CONTINUE = "continue"  # without this step, as if it were skipped; after the pivot as well


class OnUndoFailure(StrEnum):
    """When a person is asked about a step that cannot be undone: it is parked in either case."""

    PARK = "park"  # at once
    CONTINUE = "continue"  # once all else is undone


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often, how far apart, and for how long at most.

    A pause is min(max, first x factor^(n-1)); with jitter, a random part of it.
    """

    attempts: int
    first_us: int
    factor: float
    max_us: int
    jitter: bool = True
    budget_us: int | None = None
    """From when it was first to be asked; no attempt begins later."""

    def pause_us(self, attempt: int, chance: float) -> int:
        """Tell how long to wait after this failed attempt (from 1), chance in [0, 1)."""
        ceiling = min(float(self.max_us), self.first_us * self.factor ** min(attempt - 1, 64))
        return int(ceiling * chance if self.jitter else ceiling)

    def allows(self, first_at_us: int, next_at_us: int) -> bool:
        """Tell whether the budget reaches as far as another attempt."""
        return self.budget_us is None or next_at_us - first_at_us <= self.budget_us


class Schedule(Protocol):
    """Times of the clock."""

    def last(self, until_us: int) -> int | None:
        """Return the last one that is no later, if there ever was one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What starts one, and how long it rests then: events, or the clock.

    ``when`` and ``key`` see ``event``.
    """

    topic: str | None
    when: Expression | None
    key: Expression | None
    delay_us: int = 0
    every: Schedule | None = None
    reply_to: str | None = None
    """A topic to which outcomes go as well."""


class Busy(StrEnum):
    """What follows when another transaction has the lock."""

    WAIT = "wait"
    REJECT = "reject"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """What a saga holds from before its first step until its end.

    ``key`` gives a text or an integer, or a list of them: one lock each.
    """

    key: Expression
    busy: Busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """How a step is undone. Without ``data`` it gets what the step got."""

    work: Call | Group | SubSaga
    data: Expression | None
    timeout_us: int
    retry: Retry

    @property
    def call(self) -> Call | None:
        """Whom it asks, if it asks a participant."""
        return self.work if isinstance(self.work, Call) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One part of a saga.

    Without ``condition`` it is always wanted. ``undo`` is None after the
    pivot, at the pivot, and where the definition says why the effect may stand.
    """

    name: str
    needs: tuple[str, ...]
    condition: Expression | None
    work: Work
    data: Expression
    key: Expression | None
    timeout_us: int
    retry: Retry
    on_unknown: OnUnknown
    undo: Undo | None
    pivot: bool
    confirms: str | None = None
    """The step whose try it makes final. From then on that one is not undone any more."""
    on_refused: OnRefused = OnRefused.COMPENSATE
    on_undo_failure: OnUndoFailure = OnUndoFailure.PARK
    each: Each | None = None
    """Without a list known yet, it is asked of nobody, and nothing is to be undone."""

    @property
    def call(self) -> Call | None:
        """Whom it asks, if it asks a participant."""
        return self.work if isinstance(self.work, Call) else None

    @property
    def has_effect(self) -> bool:
        """Whether it leaves something that going back must see to."""
        return not isinstance(self.work, Gate | Wait | Approve)

    @property
    def is_apart(self) -> bool:
        """Whether a transaction of its own does it."""
        return isinstance(self.work, Group | SubSaga)

    @property
    def calls(self) -> tuple[Call, ...]:
        """All that it may ask of participants itself: what it does, and how that is undone."""
        undo = self.undo.call if self.undo is not None else None
        return tuple(call for call in (self.call, undo) if call is not None)

    @property
    def groups(self) -> tuple[Atomic, ...]:
        """The transactions that may begin as part of it."""
        works = (self.work, self.undo.work if self.undo is not None else None)
        return tuple(work.definition for work in works if isinstance(work, Group))


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One participant's part of an atomic transaction."""

    name: str
    call: Call
    data: Expression
    key: Expression | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What both kinds have. ``hash`` names the source text; a version never changes its own."""

    name: str
    version: int
    hash: str
    source: str
    start: Start
    check_input: InputCheck
    output: Expression | None
    retain_us: int = RETAIN_US
    index: tuple[str, ...] = ()
    """Fields of the input by which one is found, with dots."""
    private: Private | None = None
    """What is not to be shown, if anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saga(Definition):
    """Steps in an order in which each comes after those it needs."""

    deadline_us: int
    on_deadline: OnDeadline = OnDeadline.COMPENSATE
    lock: Lock | None = None
    steps: Mapping[str, Step]
    dependents: Mapping[str, tuple[str, ...]]
    """For each step, those that need it."""
    as_written: Saga | None = None
    """What this was before its steps were many."""

    @property
    def kind(self) -> str:
        return "saga"

    @property
    def pivot(self) -> Step | None:
        return next((step for step in self.steps.values() if step.pivot), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Atomic(Definition):
    """Branches that commit together or not at all."""

    vote_timeout_us: int
    branches: Mapping[str, Branch]

    @property
    def kind(self) -> str:
        return "atomic"


AnyDefinition: TypeAlias = Saga | Atomic
