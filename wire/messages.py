"""Everything that coordinators and participants say to each other.

Each family has one direction:

    request    a client or trigger  → coordinator    Begin
    command    coordinator          → participant    Prepare Commit Rollback Execute Compensate
    reply      participant          → coordinator    Voted Settled Executed Compensated Inquired
               a person             → coordinator    Order
               a trigger            → coordinator    Arrived
    outcome    coordinator          → anyone         Outcome
    sign       participant          → anyone         Heartbeat
    lock       a transaction        → a lock         LockAsk LockRelease
               a lock               → a transaction  LockGranted LockDenied LockReleased

Each may arrive twice, late, or out of order: the receiver's tables say what
then happens. Unknown fields are ignored, so that versions can roll; a change
that is not an addition gets a new version in TYPES (see envelope.py).

Nothing here awaits, reads a clock, or logs.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import msgspec

Json: TypeAlias = Any
"""What JSON can say: null, bool, int, float, str, list, or dict with str keys."""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all messages: immutable, compared by value."""


class Vote(StrEnum):
    """A branch's answer to Prepare."""

    COMMIT = "commit"  # prepared: can do either, and will wait for the decision
    ABORT = "abort"  # did nothing, and never will
    READ_ONLY = "read-only"  # changed nothing: needs no second phase
    COMMITTED = "committed"  # one_phase only: the branch has committed by itself
    BUSY = "busy"  # not now: no slot, or locked; ask again


class End(StrEnum):
    """How a branch ended, in answer to Commit or Rollback."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled-back"
    HAZARD = "hazard"  # somebody else ended it, and nothing tells how


class Result(StrEnum):
    """A step's, or its compensation's, answer. Silence is none of them: it is unknown."""

    DONE = "done"
    REFUSED = "refused"  # a business no: it was not done, and this call never will be
    BUSY = "busy"  # try later; costs no attempt
    FAILED = "failed"  # a technical fault: it was not done, a retry may help


class Action(StrEnum):
    """What a person can order."""

    RETRY = "retry"  # go on where it was parked, with all attempts anew
    SKIP = "skip"  # go on as if the step that it is parked for were done, or undone
    COMPENSATE = "compensate"  # go back, even past the pivot
    ABORT = "abort"  # do not go on with what is not decided yet
    COMMIT = "commit"  # end it: whatever it waits for has been done
    ROLLBACK = "rollback"  # end it: nothing of what it waits for has been done
    APPROVE = "approve"  # the step that waits for a person may go on
    REFUSE = "refuse"  # ... or it must not
    SIGNAL = "signal"  # the event that the step waits for has come, and this is it
    MOVE = "move"  # go on where it was parked, by a newer version of its definition


class Begin(Message, frozen=True, kw_only=True):
    """Start a transaction of a published definition.

    The same key with the same input is the same transaction, however often
    it is asked for; the same key with another input is refused.
    """

    definition: str
    key: str
    input: dict[str, Json]


class Order(Message, frozen=True, kw_only=True):
    """A person's order about a transaction.

    It is carried out or refused, and either is written to the transaction's
    log with who said it and why. ``id`` names the order: the same one twice
    is carried out once.
    """

    gid: str
    id: str
    action: Action
    actor: str
    reason: str
    step: str = ""
    data: Json = None
    role: str = ""
    """As whom an actor speaks, where a step says who may approve it."""
    to: int = 0
    """The version to which it is moved."""


class Arrived(Message, frozen=True, kw_only=True):
    """An event that a step may be waiting for lies in the letter box of its shard's store.

    It is a knock at the door: the event itself is read from there. ``place`` is
    topic/partition/offset.
    """

    gid: str
    step: str
    topic: str
    key: str
    place: str


class Prepare(Message, frozen=True, kw_only=True):
    """Phase one: do the work, make it durable, do not publish it.

    With one_phase there is no second phase: the branch is alone and commits.
    """

    gid: str
    branch: str
    command: str
    data: Json
    one_phase: bool = False


class Commit(Message, frozen=True, kw_only=True):
    """Phase two: publish what was prepared. Sent until it is settled."""

    gid: str
    branch: str


class Rollback(Message, frozen=True, kw_only=True):
    """Undo what was prepared, and refuse a Prepare that comes later.

    To a branch asked with one_phase this is a question as well: it may have
    committed already, and then answers so.
    """

    gid: str
    branch: str


class Execute(Message, frozen=True, kw_only=True):
    """Do one step of a saga. Attempts of a step share one effect.

    ``result`` is what the step returned that this one confirms, if it confirms one.
    """

    gid: str
    step: str
    attempt: int
    command: str
    data: Json
    result: Json = None


class Compensate(Message, frozen=True, kw_only=True):
    """Undo one step of a saga, if it was done, and refuse the step from now on.

    ``command`` is the participant's undo command. ``result`` is what the step
    returned, where the coordinator knows it; the participant's own barrier
    knows it for certain.
    """

    gid: str
    step: str
    attempt: int
    command: str
    data: Json
    result: Json = None


class Voted(Message, frozen=True, kw_only=True):
    """A branch's answer to Prepare."""

    gid: str
    branch: str
    vote: Vote
    reason: str = ""
    data: Json = None


class Settled(Message, frozen=True, kw_only=True):
    """A branch's answer to Commit or Rollback: it has ended, like this."""

    gid: str
    branch: str
    end: End
    reason: str = ""


class Executed(Message, frozen=True, kw_only=True):
    """A step's answer to Execute."""

    gid: str
    step: str
    attempt: int
    result: Result
    data: Json = None
    reason: str = ""


class Compensated(Message, frozen=True, kw_only=True):
    """A step's answer to Compensate. ``undone`` is false if there was nothing to undo."""

    gid: str
    step: str
    attempt: int
    result: Result
    undone: bool = True
    reason: str = ""


class Inquired(Message, frozen=True, kw_only=True):
    """A participant asks how a prepared branch is to end.

    The answer is a Commit or a Rollback, or nothing while it is undecided.
    The asker says where it is to be told, since after a crash the coordinator
    may know nothing of the transaction but its name.
    """

    gid: str
    branch: str
    participant: str


class Outcome(Message, frozen=True, kw_only=True):
    """How a transaction ended, or that it was refused, for anyone who cares."""

    gid: str
    definition: str
    version: int
    key: str
    outcome: str
    output: Json = None
    reason: str = ""


class Heartbeat(Message, frozen=True, kw_only=True):
    """A process that serves a participant lives, and so much waits for it.

    It is a hint for people and for starts yet to come. Nothing that has begun
    depends on it.
    """

    participant: str
    instance: str
    beat: int
    """Counts from 1 in each instance."""
    started: Annotated[datetime, msgspec.Meta(tz=True)]
    group: str
    """The consumer group by which it reads its commands."""
    steps_waiting: int = 0
    prepares_waiting: int = 0
    branches_held: int = 0
    """Branches that are prepared and wait for their end."""
    held_limit: int = 0
    """How many branches it holds prepared at most; 0 if it has none."""
    slots: int = 0
    """How many prepared transactions its server can hold, for everyone."""
    leaving: bool = False
    """Whether it is told to stop: it finishes what it has begun, and reads no more."""


class LockAsk(Message, frozen=True, kw_only=True):
    """A transaction wants a lock. Asked again, it is the same claim.

    The answer to one that waits comes when it is its turn; one that does not
    wait is answered at once.
    """

    gid: str
    lock: str
    waits: bool = True


class LockGranted(Message, frozen=True, kw_only=True):
    """The lock is the transaction's, until that releases it.

    This is repeated while the lock is held: if the transaction is over, or
    nobody knows it, the answer is a LockRelease.
    """

    gid: str
    lock: str


class LockDenied(Message, frozen=True, kw_only=True):
    """Somebody else has the lock, and the asker does not wait."""

    gid: str
    lock: str
    holder: str


class LockRelease(Message, frozen=True, kw_only=True):
    """The transaction has no more use for the lock, nor for its place in the queue, for ever."""

    gid: str
    lock: str


class LockReleased(Message, frozen=True, kw_only=True):
    """The transaction has no claim on the lock any more."""

    gid: str
    lock: str


Command: TypeAlias = Prepare | Commit | Rollback | Execute | Compensate
Reply: TypeAlias = Voted | Settled | Executed | Compensated | Inquired
LockAnswer: TypeAlias = LockGranted | LockDenied | LockReleased
LockMessage: TypeAlias = LockAsk | LockRelease | LockAnswer


class Mark(Message, frozen=True, kw_only=True):
    """How far a shard's log has come: what it says is to be read next.

    Whoever finds a log that says less has found one that was restored, or
    has failed over, and has lost what it had acknowledged.
    """

    shard: int
    generation: int
    requests: int
    replies: int


AnyMessage: TypeAlias = (
    Begin | Order | Arrived | Command | Reply | Outcome | Heartbeat | Mark | LockMessage
)
