"""What is known of an atomic transaction, and how each fact changes it.

Nothing here decides: `evolve` only lets a record become true.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import field
from msgspec.structs import astuple, replace

from coordinator.core.records import (
    AnyRecord,
    Begun,
    Decided,
    Decision,
    Ended,
    Hazard,
    Ordered,
    Outcome,
    Parked,
    Withdrawn,
)
from sagas.model import Atomic
from wire.messages import Action, End, Json, Vote


class Phase(StrEnum):
    """Where an atomic transaction stands."""

    PREPARING = "preparing"
    DELEGATED = "delegated"  # the lone branch decides, in one phase
    WITHDRAWING = "withdrawing"  # ... and has not answered: it is asked how it ended
    COMMITTING = "committing"
    ABORTING = "aborting"
    PARKED = "parked"
    ENDED = "ended"


class TwoPhase(msgspec.Struct, frozen=True, eq=False):
    """An atomic transaction.

    The first group of fields is what the log says. The second is what this
    owner has heard and asked: a new owner starts without it, and asks again.
    """

    gid: str
    definition: Atomic
    begun: Begun
    began_us: int
    phase: Phase
    decided: Decided | None = None
    decided_us: int = 0
    hazards: Mapping[str, End] = field(default_factory=dict[str, End])
    outcome: Outcome | None = None
    reason: str = ""
    before: TwoPhase | None = None
    """What it was when it was parked."""
    resolved: bool = False
    """Whether a person has said how it ended: nobody is waited for any more."""

    votes: Mapping[str, Vote] = field(default_factory=dict[str, Vote])
    results: Mapping[str, Json] = field(default_factory=dict[str, Json])
    settled: frozenset[str] = field(default=frozenset())
    asked: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """For each branch: when to ask again, and how often it was asked in this phase."""
    tell_at_us: int = field(default=0)
    """When to tell the outcome, again, if nobody acknowledges it."""
    told: bool = field(default=False)

    def __eq__(self, other: object) -> bool:
        """Compare what the log says: what an owner has heard, the next one lacks."""
        if not isinstance(other, TwoPhase):
            return NotImplemented
        return astuple(self)[:_LOGGED] == astuple(other)[:_LOGGED]

    def __hash__(self) -> int:
        return hash(self.gid)

    @classmethod
    def born(cls, gid: str, definition: Atomic, begun: Begun, at_us: int) -> TwoPhase:
        """Return the state that the first record makes."""
        alone = len(definition.branches) == 1
        phase = Phase.DELEGATED if alone else Phase.PREPARING
        return cls(gid, definition, begun, at_us, phase)

    def veiled(self, text: str) -> str:
        """Return a text without what is sensitive."""
        private = self.definition.private
        return text if private is None else private.veil(self.begun.input, self.results).text(text)

    def evolve(self, record: AnyRecord, at_us: int) -> TwoPhase:
        """Return the state in which the record is true."""
        match record:
            case Withdrawn():
                return replace(self, phase=Phase.WITHDRAWING, reason=record.reason, asked={})
            case Decided():
                committing = record.decision is Decision.COMMIT
                return replace(
                    self,
                    phase=Phase.COMMITTING if committing else Phase.ABORTING,
                    decided=record,
                    decided_us=at_us,
                    outcome=Outcome.COMMITTED if committing else Outcome.ABORTED,
                    reason=record.reason or self.reason,
                    asked={},
                )
            case Hazard():
                return replace(self, hazards={**self.hazards, record.branch: record.end})
            case Ordered():
                return self._ordered(record)
            case Parked():
                return replace(
                    self,
                    before=self,
                    phase=Phase.PARKED,
                    outcome=record.outcome,
                    reason=record.reason,
                    tell_at_us=0,
                    told=False,
                )
            case Ended():
                return replace(self, phase=Phase.ENDED)
            case _:
                raise AssertionError(f"{self.gid}: {record!r} is no fact of an atomic transaction")

    def _ordered(self, order: Ordered) -> TwoPhase:
        """A person has spoken. What is parked is first what it was before."""
        if order.refused:
            return self
        ends = {Action.COMMIT: Outcome.COMMITTED, Action.ROLLBACK: Outcome.ABORTED}
        outcome = ends.get(order.action)
        if self.before is None:
            if outcome is None or outcome is not self.outcome:
                return replace(self, asked={})
            return replace(self, asked={}, resolved=True, reason=order.said)
        state = replace(
            self.before, asked={}, settled=frozenset(), hazards={}, told=False, tell_at_us=0
        )
        if outcome is None or state.decided is None:
            return state
        return replace(state, outcome=outcome, reason=order.said, resolved=True)

    @property
    def starts_us(self) -> int:
        """When it has rested, and asks for the first time."""
        return self.began_us + self.definition.start.delay_us

    @property
    def deadline_us(self) -> int:
        return self.starts_us + self.definition.vote_timeout_us

    @property
    def votes_in_time(self) -> bool:
        """Whether a vote is waited for that is a no if it does not come in time."""
        again = self.begun.again and self.phase is Phase.PREPARING
        return self.phase in (Phase.PREPARING, Phase.DELEGATED) and not again

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The branches that must still answer before this phase can end."""
        if self.resolved:
            return ()
        match self.phase:
            case Phase.PREPARING | Phase.DELEGATED | Phase.WITHDRAWING:
                return tuple(b for b in self.definition.branches if b not in self.votes)
            case Phase.COMMITTING | Phase.ABORTING:
                assert self.decided is not None
                ended = self.settled | self.hazards.keys()
                return tuple(b for b in self.decided.awaited if b not in ended)
            case Phase.PARKED | Phase.ENDED:
                return ()


_LOGGED: Final = TwoPhase.__struct_fields__.index("votes")
