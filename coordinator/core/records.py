"""What is remembered of a transaction: the decision log, one fact a record.

``replay(log) == state``: each machine's ``evolve`` is the only function that
changes what must survive a crash, and it takes one of these. What is not here
(votes, acknowledgements, what was sent) is asked for again after a crash.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import msgspec

from wire.messages import Action, End, Json


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """Base of all records."""


class Decision(StrEnum):
    """The two ways in which an atomic transaction can be decided."""

    COMMIT = "commit"
    ABORT = "abort"


class Outcome(StrEnum):
    """How a transaction ended."""

    COMMITTED = "COMMITTED"  # all of it happened
    ABORTED = "ABORTED"  # none of it happened
    COMPENSATED = "COMPENSATED"  # what had happened was undone
    PARKED = "PARKED"  # no end: it waits for a person
    HEURISTIC_HAZARD = "HEURISTIC_HAZARD"  # somebody else ended a branch, nothing tells how
    HEURISTIC_MIXED = "HEURISTIC_MIXED"  # somebody else ended some branches against the decision
    HEURISTIC_COMMIT = "HEURISTIC_COMMIT"  # ... all of them: committed, though decided to abort
    HEURISTIC_ROLLBACK = "HEURISTIC_ROLLBACK"  # ... all of them: rolled back instead


class Unanswered(StrEnum):
    """Why an attempt brought nothing."""

    FAILED = "failed"  # the participant says that it was not done
    SILENT = "silent"  # nobody knows


class Begun(Record, frozen=True, kw_only=True, tag="begun"):
    """It exists. ``definition`` is the hash of the source that it will follow to its end.

    ``traceparent`` is its root span, ``parent_span`` the span that caused it,
    both of the W3C trace context.
    """

    definition: str
    name: str
    version: int
    key: str
    input: dict[str, Json]
    traceparent: str = ""
    parent_span: str = ""
    parent: str = ""
    """The saga of which it does a step. It is told how this ends, and nobody else."""
    step: str = ""
    again: bool = False
    """A log was lost since its saga was named. Its branches may have been asked before, and
    have committed: so only they can say no, and no silence can."""


class Decided(Record, frozen=True, kw_only=True, tag="decided"):
    """The commit point of an atomic transaction.

    ``awaited`` names the branches that must still hear of it.
    """

    decision: Decision
    awaited: tuple[str, ...]
    reason: str = ""
    output: Json = None


class Withdrawn(Record, frozen=True, kw_only=True, tag="withdrawn"):
    """The lone branch of a one-phase commit is no longer waited for, but asked how it ended."""

    reason: str


class Hazard(Record, frozen=True, kw_only=True, tag="hazard"):
    """A branch ended otherwise than decided, or nobody can say how."""

    branch: str
    end: End
    reason: str


class ChildBegan(Record, frozen=True, kw_only=True, tag="child-began"):
    """A transaction has begun that does a step, or, ``undoing``, undoes it."""

    step: str
    child: str
    attempt: int
    undoing: bool = False


class ChildEnded(Record, frozen=True, kw_only=True, tag="child-ended"):
    """It has ended: all of it is done, or nothing."""

    step: str
    child: str
    outcome: Outcome
    data: Json = None
    reason: str = ""


class ChildRevoked(Record, frozen=True, kw_only=True, tag="child-revoked"):
    """A child that is a saga is to undo itself, whatever it has done by now."""

    step: str
    child: str
    attempt: int


class LetGo(Record, frozen=True, kw_only=True, tag="let-go"):
    """The saga that it is a part of has ended: nobody will take back any more what it does."""


class StepDone(Record, frozen=True, kw_only=True, tag="step-done"):
    """A step took effect, once, and returned this."""

    step: str
    attempt: int
    data: Json = None


class StepSkipped(Record, frozen=True, kw_only=True, tag="step-skipped"):
    """A step is gone without, and what needed it may start.

    Its condition was false, so that nobody is asked; or it was refused, and
    the definition goes on then.
    """

    step: str
    refused: bool = False


class StepSpread(Record, frozen=True, kw_only=True, tag="step-spread"):
    """A step is so many, one for each element of its list: from here on each has its own name."""

    step: str
    count: int


class StepRefused(Record, frozen=True, kw_only=True, tag="step-refused"):
    """A step was refused for a business reason: it has no effect and never will."""

    step: str
    attempt: int
    reason: str
    asked: bool = True
    """Whether its participant has said so; else nobody was asked, since that had no value."""


class StepDeferred(Record, frozen=True, kw_only=True, tag="step-deferred"):
    """A participant was busy. The attempt is made again, and not counted."""

    step: str
    attempt: int
    reason: str
    retry_at_us: int


class AttemptFailed(Record, frozen=True, kw_only=True, tag="attempt-failed"):
    """An attempt of a step brought nothing. Without retry_at_us it was the last."""

    step: str
    attempt: int
    why: Unanswered
    reason: str
    retry_at_us: int | None = None


class WaitBegan(Record, frozen=True, kw_only=True, tag="wait-began"):
    """A step waits for an event with this key on a topic; without a topic, for a person."""

    step: str
    topic: str = ""
    key: str = ""


class CompensationBegan(Record, frozen=True, kw_only=True, tag="compensation-began"):
    """From here on the saga goes back."""

    reason: str


class StepUndone(Record, frozen=True, kw_only=True, tag="step-undone"):
    """A step's effect is gone; ``undone`` is false if there was none. It can no longer happen."""

    step: str
    attempt: int
    undone: bool = True


class UndoFailed(Record, frozen=True, kw_only=True, tag="undo-failed"):
    """An attempt of a compensation brought nothing. Without retry_at_us it was the last."""

    step: str
    attempt: int
    why: Unanswered
    reason: str
    retry_at_us: int | None = None


class Parked(Record, frozen=True, kw_only=True, tag="parked"):
    """It waits for a person. The reason says what for."""

    reason: str
    outcome: Outcome = Outcome.PARKED


class Ordered(Record, frozen=True, kw_only=True, tag="ordered"):
    """A person's order: who, what and why. If ``refused`` says why not, nothing else came of it."""

    id: str
    action: Action
    actor: str
    reason: str
    step: str = ""
    role: str = ""
    to: int = 0
    refused: str = ""

    @property
    def said(self) -> str:
        """The reason that a transaction gives for ending so."""
        return said(self.actor, self.reason)


class Moved(Record, frozen=True, kw_only=True, tag="moved"):
    """From here on it goes by another version. ``definition`` is the hash of that."""

    definition: str
    version: int


def said(actor: str, reason: str) -> str:
    """Name who gives a reason, with it."""
    return f"{actor}: {reason}"


class Locking(Record, frozen=True, kw_only=True, tag="locking"):
    """These are the locks that it needs, in the order in which it asks for them."""

    locks: tuple[str, ...]


class Locked(Record, frozen=True, kw_only=True, tag="locked"):
    """It has the lock; or ``beside`` names who has it, and it goes on without."""

    lock: str
    beside: str = ""


class Closed(Record, frozen=True, kw_only=True, tag="closed"):
    """The outcome of a saga stands; it is yet to be told."""

    outcome: Outcome
    output: Json = None
    reason: str = ""


class Ended(Record, frozen=True, kw_only=True, tag="ended"):
    """Everyone who must know the outcome does."""


AnyRecord: TypeAlias = (
    Begun
    | Decided
    | Withdrawn
    | Hazard
    | ChildBegan
    | ChildEnded
    | ChildRevoked
    | LetGo
    | StepDone
    | StepSkipped
    | StepSpread
    | StepRefused
    | StepDeferred
    | AttemptFailed
    | WaitBegan
    | CompensationBegan
    | StepUndone
    | UndoFailed
    | Parked
    | Ordered
    | Moved
    | Locking
    | Locked
    | Closed
    | Ended
)


class Entry(NamedTuple):
    """A record in its place in the log."""

    gid: str
    seq: int
    at_us: int
    record: AnyRecord


_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyRecord)


def encode(record: AnyRecord) -> str:
    """Write a record as JSON."""
    return _ENCODER.encode(record).decode()


def decode(text: str) -> AnyRecord:
    """Read a record from JSON, or raise msgspec.ValidationError."""
    return _DECODER.decode(text)
