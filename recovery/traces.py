"""What is known of a transaction outside of the log that has forgotten it. Only types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Final, NamedTuple

from coordinator.core.events import Returned
from coordinator.core.records import Outcome
from sagas.model import AnyDefinition
from wire.messages import Json
from wire.messages import Outcome as Told

PREPARED: Final = "prepared"
COMMITTED: Final = "committed"
FINAL: Final = (Outcome.COMMITTED, Outcome.ABORTED, Outcome.COMPENSATED)
"""The outcomes that nothing changes any more, once they are told."""


class Did(NamedTuple):
    """What a participant's barrier says of a step: done, refused, sealed or undone."""

    status: str
    data: Json = None
    reason: str = ""


class Sent(IntFlag):
    """Commands that are on their topics, done or not."""

    NOTHING = 0
    ANYTHING = 1
    COMMIT = 2
    UNDO = 4


@dataclass(frozen=True)
class Traces:
    """What is known of one transaction outside of the log."""

    branches: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of each branch with a trace: prepared, committed or rolled-back."""
    results: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """What committed branches have returned, if anything."""
    steps: Mapping[str, Did] = field(default_factory=dict[str, Did])
    told: Told | None = None
    """The last outcome that was told."""
    sent: Sent = Sent.NOTHING
    """What participants were sent, and may do yet."""
    parts: tuple[Part, ...] = ()
    """What has begun as part of it."""
    came_to: Outcome | None = None
    """What its own saga's traces say of its end. What was COMMITTED may have gone back since."""

    def __bool__(self) -> bool:
        return bool(self.branches or self.steps or self.told or self.sent or self.parts)

    @property
    def going_back(self) -> set[str]:
        """Name the steps that are undone, or are to be."""
        undone = {name for name, did in self.steps.items() if did.status in ("sealed", "undone")}
        return undone | {part.step for part in self.parts if part.undoing}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A transaction that has begun and does a step of a saga, or, ``undoing``, undoes it."""

    step: str
    attempt: int
    undoing: bool
    gid: str
    definition: AnyDefinition
    traces: Traces = field(default_factory=Traces)
    end: Returned | None = None
    """Of a saga: how it has ended, once that is found out."""
    gone: bool = False
    """Of a saga: whether it is found to have turned back."""
