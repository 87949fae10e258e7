"""What can happen to a transaction: what a participant answered, or what time brought.

Replies are events as they stand on the wire. The rest comes from the engine
itself. A machine's table does not look at types but at the *kind* of an
event, which is finer: a vote to commit and a vote to abort are two kinds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, TypeAlias

import msgspec

from coordinator.core.records import Outcome
from sagas.model import AnyDefinition
from wire.messages import (
    Compensated,
    End,
    Executed,
    Inquired,
    Json,
    LockAsk,
    LockDenied,
    LockGranted,
    LockMessage,
    LockRelease,
    LockReleased,
    Order,
    Reply,
    Result,
    Settled,
    Vote,
    Voted,
)


class Published(msgspec.Struct, frozen=True):
    """The outcome is on its topic."""


class DeadlinePassed(msgspec.Struct, frozen=True):
    """The time for all votes, or for the whole saga, is over."""


class StepSilent(msgspec.Struct, frozen=True):
    """No answer came within an attempt's timeout. Nobody knows whether it was done."""

    step: str
    attempt: int


class UndoSilent(msgspec.Struct, frozen=True):
    """No answer came to a compensation within its timeout."""

    step: str
    attempt: int


class StepUnsent(msgspec.Struct, frozen=True):
    """No topic would take an attempt's command: nobody was asked by this one."""

    step: str
    attempt: int
    reason: str


class UndoUnsent(msgspec.Struct, frozen=True):
    """No topic would take an attempt's compensation."""

    step: str
    attempt: int
    reason: str


class Letter(NamedTuple):
    """An event that somebody may wait for: where it lay, and when Kafka got it."""

    topic: str
    key: str
    partition: int
    offset: int
    at_us: int
    event: Json


class Looked(msgspec.Struct, frozen=True):
    """The letter box was looked into for a step that waits: these were there, oldest first."""

    step: str
    letters: tuple[Letter, ...]
    told: bool = False
    """Whether an event that came was the reason, and not that the step began to wait."""


class WaitOver(msgspec.Struct, frozen=True):
    """What a step waits for has not come in time."""

    step: str


class Returned(msgspec.Struct, frozen=True):
    """A step's child has ended."""

    step: str
    child: str
    outcome: Outcome
    data: Json = None
    reason: str = ""


class Spawned(msgspec.Struct, frozen=True):
    """A step's child, a saga, may begin: it is published, and takes its input."""

    step: str
    child: str
    attempt: int


class Revoked(msgspec.Struct, frozen=True):
    """The parent goes back: what is not decided is not to happen, and a saga undoes itself."""


class Dismissed(msgspec.Struct, frozen=True):
    """The parent has ended: what was done stands."""


class Moving(msgspec.Struct, frozen=True):
    """A person's order to go by another version, and that version, if it is published."""

    order: Order
    definition: AnyDefinition | None


Event: TypeAlias = (
    Reply
    | Order
    | Moving
    | LockMessage
    | Published
    | DeadlinePassed
    | StepSilent
    | UndoSilent
    | StepUnsent
    | UndoUnsent
    | Spawned
    | Returned
    | Revoked
    | Dismissed
    | Looked
    | WaitOver
)


class Kind(StrEnum):
    """The columns of the machines' tables."""

    VOTED_COMMIT = "voted commit"
    VOTED_ABORT = "voted abort"
    VOTED_READ_ONLY = "voted read-only"
    VOTED_COMMITTED = "voted committed"
    VOTED_BUSY = "voted busy"
    SETTLED_COMMITTED = "settled committed"
    SETTLED_ROLLED_BACK = "settled rolled-back"
    SETTLED_HAZARD = "settled hazard"
    INQUIRED = "inquired"
    STEP_DONE = "step done"
    STEP_REFUSED = "step refused"
    STEP_BUSY = "step busy"
    STEP_FAILED = "step failed"
    STEP_SILENT = "step silent"
    STEP_UNSENT = "step unsent"
    UNDO_DONE = "undo done"
    UNDO_REFUSED = "undo refused"
    UNDO_BUSY = "undo busy"
    UNDO_FAILED = "undo failed"
    UNDO_SILENT = "undo silent"
    UNDO_UNSENT = "undo unsent"
    CHILD_BEGINS = "child begins"
    CHILD_ENDED = "child ended"
    REVOKED = "revoked"
    DISMISSED = "let go"
    DEADLINE_PASSED = "deadline passed"
    PUBLISHED = "published"
    LETTERS_LOOKED_AT = "letters looked at"
    WAIT_OVER = "wait over"
    ORDER_RETRY = "order: retry"
    ORDER_SKIP = "order: skip"
    ORDER_COMPENSATE = "order: compensate"
    ORDER_ABORT = "order: abort"
    ORDER_COMMIT = "order: commit"
    ORDER_ROLLBACK = "order: rollback"
    ORDER_APPROVE = "order: approve"
    ORDER_REFUSE = "order: refuse"
    ORDER_SIGNAL = "order: signal"
    ORDER_MOVE = "order: move"
    LOCK_GRANTED = "lock granted"
    LOCK_DENIED = "lock denied"
    LOCK_RELEASED = "lock released"
    LOCK_ASKED = "asked for, waiting"
    LOCK_TRIED = "asked for, not waiting"
    LOCK_GIVEN_BACK = "given back"


FOR_PARKED = (Kind.ORDER_RETRY, Kind.ORDER_SKIP, Kind.ORDER_COMPENSATE, Kind.ORDER_MOVE)
BY_HAND = (Kind.ORDER_COMMIT, Kind.ORDER_ROLLBACK)
TO_WAITERS = (Kind.ORDER_APPROVE, Kind.ORDER_REFUSE, Kind.ORDER_SIGNAL)
ORDERS = (*FOR_PARKED, Kind.ORDER_ABORT, *BY_HAND)

_VOTES = {
    Vote.COMMIT: Kind.VOTED_COMMIT,
    Vote.ABORT: Kind.VOTED_ABORT,
    Vote.READ_ONLY: Kind.VOTED_READ_ONLY,
    Vote.COMMITTED: Kind.VOTED_COMMITTED,
    Vote.BUSY: Kind.VOTED_BUSY,
}
_ENDS = {
    End.COMMITTED: Kind.SETTLED_COMMITTED,
    End.ROLLED_BACK: Kind.SETTLED_ROLLED_BACK,
    End.HAZARD: Kind.SETTLED_HAZARD,
}
_RESULTS = {
    Result.DONE: Kind.STEP_DONE,
    Result.REFUSED: Kind.STEP_REFUSED,
    Result.BUSY: Kind.STEP_BUSY,
    Result.FAILED: Kind.STEP_FAILED,
}
_UNDO_RESULTS = {
    Result.DONE: Kind.UNDO_DONE,
    Result.REFUSED: Kind.UNDO_REFUSED,
    Result.BUSY: Kind.UNDO_BUSY,
    Result.FAILED: Kind.UNDO_FAILED,
}
_PLAIN: dict[type[Event], Kind] = {
    Inquired: Kind.INQUIRED,
    StepSilent: Kind.STEP_SILENT,
    UndoSilent: Kind.UNDO_SILENT,
    StepUnsent: Kind.STEP_UNSENT,
    UndoUnsent: Kind.UNDO_UNSENT,
    DeadlinePassed: Kind.DEADLINE_PASSED,
    Published: Kind.PUBLISHED,
    Looked: Kind.LETTERS_LOOKED_AT,
    WaitOver: Kind.WAIT_OVER,
    Moving: Kind.ORDER_MOVE,
    LockGranted: Kind.LOCK_GRANTED,
    LockDenied: Kind.LOCK_DENIED,
    LockReleased: Kind.LOCK_RELEASED,
    LockRelease: Kind.LOCK_GIVEN_BACK,
    Spawned: Kind.CHILD_BEGINS,
    Returned: Kind.CHILD_ENDED,
    Revoked: Kind.REVOKED,
    Dismissed: Kind.DISMISSED,
}


def kind(event: Event) -> Kind:
    """Find an event's column."""
    match event:
        case Voted():
            return _VOTES[event.vote]
        case Settled():
            return _ENDS[event.end]
        case Executed():
            return _RESULTS[event.result]
        case Compensated():
            return _UNDO_RESULTS[event.result]
        case Order():
            return Kind(f"order: {event.action}")
        case LockAsk():
            return Kind.LOCK_ASKED if event.waits else Kind.LOCK_TRIED
        case _:
            return _PLAIN[type(event)]
