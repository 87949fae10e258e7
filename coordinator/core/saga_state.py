"""What is known of a saga, and how each fact changes it.

Nothing here decides: `evolve` only lets a record become true.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import field
from msgspec.structs import astuple, replace

from coordinator.core.records import (
    AnyRecord,
    AttemptFailed,
    Begun,
    ChildBegan,
    ChildEnded,
    ChildRevoked,
    Closed,
    CompensationBegan,
    Ended,
    LetGo,
    Locked,
    Locking,
    Moved,
    Ordered,
    Outcome,
    Parked,
    StepDeferred,
    StepDone,
    StepRefused,
    StepSkipped,
    StepSpread,
    StepUndone,
    Unanswered,
    UndoFailed,
    WaitBegan,
)
from sagas.each import spread, spread_alike
from sagas.model import Gate, OnUndoFailure, Retry, Saga, Step
from wire.messages import Action, Json


class Phase(StrEnum):
    """Where a saga stands."""

    LOCKING = "locking"  # it waits for its locks; nothing has been asked
    RUNNING = "running"
    COMPENSATING = "compensating"
    CLOSED = "closed"  # the outcome stands; it is being told
    PARKED = "parked"
    ENDED = "ended"


class StepPhase(StrEnum):
    """Where a step stands."""

    WAITING = "waiting"  # for the steps it needs
    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"  # not wanted, or refused and gone without: no effect and no result
    REFUSED = "refused"
    EXHAUSTED = "exhausted"  # no attempt is left; whether it was done is unknown
    STANDING = "standing"  # the definition says why its effect may stand
    TO_UNDO = "to undo"
    UNDOING = "undoing"
    UNDONE = "undone"
    STUCK = "stuck"  # no attempt of the undo is left


OVER: Final = (StepPhase.DONE, StepPhase.SKIPPED)
"""What needs a step that stands there may start."""

_WAY_BACK: Final = (StepPhase.STUCK,)
_WAY_ON: Final = (StepPhase.EXHAUSTED, StepPhase.REFUSED)
"""What a person may order to be tried again."""


class Child(NamedTuple):
    """The transaction that does a step, or undoes it. Without outcome it has not ended."""

    gid: str
    attempt: int
    undoing: bool
    outcome: Outcome | None = None
    data: Json = None
    reason: str = ""


class StepState(msgspec.Struct, frozen=True):
    """One step: the attempt it is at, since when, and what it returned.

    ``first_us`` is when it, or its undo, was first to be asked; ``spent`` are
    the attempts from before a person ordered to try again.
    """

    phase: StepPhase = StepPhase.WAITING
    attempt: int = 0
    since_us: int = 0
    first_us: int = 0
    deferrals: int = 0
    spent: int = 0
    data: Json = None
    reason: str = ""
    waits: WaitBegan | None = None
    """For what it waits, once it does."""
    waits_since_us: int = 0
    child: Child | None = None
    """The last one."""
    said_no: bool = False
    """Whether the last word about it was its participant's, that it was not done, or undone."""

    @classmethod
    def ready(cls, at_us: int) -> StepState:
        """Return a step that is to be asked from then on."""
        return cls(StepPhase.RUNNING, attempt=1, since_us=at_us, first_us=at_us)


class Asked(NamedTuple):
    """What was sent: the attempt, by phase, number and since when it was due; and when."""

    attempt: tuple[StepPhase, int, int]
    sent_us: int
    looked: bool = False
    """Whether the letter box was looked into, and held nothing for it."""


class Talk(NamedTuple):
    """When to speak to locks next, and how often that was done already."""

    at_us: int = 0
    times: int = 0


class SagaState(msgspec.Struct, frozen=True, eq=False):
    """A saga. All but the last group is what the log says; the rest a new owner forgets."""

    gid: str
    definition: Saga
    begun: Begun
    began_us: int
    phase: Phase
    steps: Mapping[str, StepState]
    outcome: Outcome | None = None
    output: Json = None
    reason: str = ""
    before: SagaState | None = None
    """What it was when it was parked."""
    clock_us: int = 0
    """From when limits of time count: the end of its rest, or a person's order to go on."""
    locks: tuple[str, ...] = ()
    """Those that it needs, in the order in which it asks for them."""
    passed: int = 0
    """How many of them it has, or goes on without."""
    lock_since_us: int = 0
    """Since when it waits for the next."""
    left: frozenset[str] = frozenset()
    """The steps without effect that are in no version any more since it was moved."""
    let_go: bool = False
    """Whether the saga that it is a part of has ended."""

    asked: Mapping[str, Asked] = field(default_factory=dict[str, Asked])
    """For each step, what this owner last sent."""
    tell_at_us: int = field(default=0)
    """When to tell the outcome, again, if nobody acknowledges it."""
    told: bool = field(default=False)
    talk: Talk = Talk()
    freed: frozenset[str] = frozenset()
    """The locks that are known to be free of it."""
    versions: Mapping[str, Saga] = field(default_factory=dict[str, Saga])
    """By hash: those that a record may name, if it was moved."""

    def __eq__(self, other: object) -> bool:
        """Compare what the log says: what an owner has asked, the next one lacks."""
        if not isinstance(other, SagaState):
            return NotImplemented
        return astuple(self)[:_LOGGED] == astuple(other)[:_LOGGED]

    def __hash__(self) -> int:
        return hash(self.gid)

    @classmethod
    def born(cls, gid: str, definition: Saga, begun: Begun, at_us: int) -> SagaState:
        """Return the state that the first record makes: what needs nothing may start, rested."""
        starts_us = at_us + definition.start.delay_us
        steps = {name: StepState() for name in definition.steps}
        born = cls(gid, definition, begun, at_us, Phase.LOCKING, steps, clock_us=starts_us)
        return born if definition.lock is not None else born.unlocked(starts_us)

    def unlocked(self, at_us: int) -> SagaState:
        """Let what needs nothing start: it has all its locks, or needs none."""
        first = StepState.ready(at_us)
        steps = {
            name: state if self.definition.steps[name].needs else first
            for name, state in self.steps.items()
        }
        return replace(self, phase=Phase.RUNNING, steps=steps)

    @property
    def deadline_us(self) -> int:
        return self.clock_us + self.definition.deadline_us

    @property
    def past_pivot(self) -> bool:
        """From here the saga can only go forward."""
        pivot = self.definition.pivot
        return pivot is not None and self.steps[pivot.name].phase in OVER

    def may_try_again(self, step: str, retry: Retry, next_at_us: int) -> bool:
        """Tell whether the time for all attempts reaches as far as another one."""
        return retry.allows(max(self.steps[step].first_us, self.clock_us), next_at_us)

    def veiled(self, text: str) -> str:
        """Return a text without what is sensitive."""
        private = self.definition.private
        if private is None:
            return text
        results = {name: state.data for name, state in self.steps.items()}
        return private.veil(self.begun.input, results).text(text)

    @property
    def pivot_is_asked(self) -> bool:
        """Whether nobody knows if there is a way back. A pivot that waits has done nothing yet."""
        pivot = self.definition.pivot
        if pivot is None or not pivot.has_effect:
            return False
        return self.steps[pivot.name].phase is StepPhase.RUNNING

    def in_phase(self, *phases: StepPhase) -> Iterator[tuple[Step, StepState]]:
        """Yield the steps that stand there, in the definition's order."""
        for name, state in self.steps.items():
            if state.phase in phases:
                yield self.definition.steps[name], state

    def evolve(self, record: AnyRecord, at_us: int) -> SagaState:
        """Return the state in which the record is true."""
        match record:
            case StepDone() | StepSkipped():
                return self._over_with(record, at_us)
            case StepSpread():
                return self._spread(record, at_us)
            case StepRefused() | StepUndone():
                return self._without_effect(record, at_us)
            case StepDeferred() | WaitBegan() | ChildBegan() | ChildRevoked() | ChildEnded():
                return self._under_way(record, at_us)
            case AttemptFailed() | UndoFailed():
                return self._attempt_failed(record, at_us)
            case CompensationBegan():
                return self._turned_back(record, at_us)
            case Locking() | Locked():
                return self._locked(record, at_us)
            case Ordered() | Moved():
                return self._ordered(record, at_us)
            case Parked() | Closed() | LetGo() | Ended():
                return self._over(record)
            case _:
                raise AssertionError(f"{self.gid}: {record!r} is no fact of a saga")

    def _locked(self, record: Locking | Locked, at_us: int) -> SagaState:
        if isinstance(record, Locking):
            since_us = max(at_us, self.clock_us)
            state = replace(self, locks=record.locks, lock_since_us=since_us)
        else:
            state = replace(self, passed=self.passed + 1, lock_since_us=at_us, talk=Talk())
        all_passed = state.passed == len(state.locks)
        return state.unlocked(state.lock_since_us) if all_passed else state

    def with_child(self, record: ChildBegan | ChildRevoked | ChildEnded) -> SagaState:
        """Note a child, or its end, also for when a person lets a parked saga go on."""
        if not isinstance(record, ChildEnded):
            undoing = isinstance(record, ChildRevoked) or record.undoing
            return self._set(record.step, child=Child(record.child, record.attempt, undoing))
        before = self.before.with_child(record) if self.before is not None else None
        child = self.steps[record.step].child
        if child is None or child.gid != record.child:
            return self
        ended = child._replace(outcome=record.outcome, data=record.data, reason=record.reason)
        asked = {step: sent for step, sent in self.asked.items() if step != record.step}
        # Also where the saga turned back meanwhile: what undoes it may need its result.
        # But a person may have skipped it: what was built on that word does not change.
        state = self.steps[record.step]
        data = state.data if child.undoing or state.phase in OVER else record.data
        return replace(self._set(record.step, child=ended, data=data), before=before, asked=asked)

    @property
    def held(self) -> bool:
        """Whether it is done, and may yet have to undo itself: it is a part of what goes on."""
        committed = self.phase is Phase.CLOSED and self.outcome is Outcome.COMMITTED
        return committed and bool(self.begun.parent) and not self.let_go

    def _over(self, record: Parked | Closed | LetGo | Ended) -> SagaState:
        match record:
            case LetGo():
                before = replace(self.before, let_go=True) if self.before is not None else None
                return replace(self, before=before, let_go=True)
            case Parked():
                return replace(
                    self,
                    before=self.before or self,
                    phase=Phase.PARKED,
                    outcome=record.outcome,
                    reason=record.reason,
                    tell_at_us=0,
                    told=False,
                )
            case Closed():
                return replace(
                    self,
                    phase=Phase.CLOSED,
                    outcome=record.outcome,
                    output=record.output,
                    reason=record.reason or self.reason,
                    talk=Talk(),
                )
            case Ended():
                return replace(self, phase=Phase.ENDED)

    def _set(self, step: str, **changes: Any) -> SagaState:
        return replace(self, steps={**self.steps, step: replace(self.steps[step], **changes)})

    def _over_with(self, record: StepDone | StepSkipped, at_us: int) -> SagaState:
        steps = dict(self.steps)
        done = isinstance(record, StepDone)
        phase, data = (StepPhase.DONE, record.data) if done else (StepPhase.SKIPPED, None)
        work = self.definition.steps[record.step].work
        if isinstance(work, Gate) and work.gathers is not None:
            data = [steps[name].data for name in work.gathers]  # the log has each already
        reason = "" if done else steps[record.step].reason
        steps[record.step] = replace(steps[record.step], phase=phase, data=data, reason=reason)
        for name in self.definition.dependents[record.step]:
            needs = self.definition.steps[name].needs
            if all(steps[need].phase in OVER for need in needs):
                steps[name] = StepState.ready(at_us)
        return replace(self, steps=steps)

    def _without_effect(self, record: StepRefused | StepUndone, at_us: int) -> SagaState:
        if isinstance(record, StepRefused):
            return self._set(
                record.step, phase=StepPhase.REFUSED, reason=record.reason, said_no=record.asked
            )
        return self._set(record.step, phase=StepPhase.UNDONE).promoted(at_us)

    def _under_way(
        self, record: StepDeferred | WaitBegan | ChildBegan | ChildRevoked | ChildEnded, at_us: int
    ) -> SagaState:
        if isinstance(record, ChildBegan | ChildRevoked | ChildEnded):
            return self.with_child(record)
        if isinstance(record, WaitBegan):
            return self._set(record.step, waits=record, waits_since_us=at_us)
        return self._set(
            record.step,
            since_us=record.retry_at_us,
            deferrals=self.steps[record.step].deferrals + 1,
            reason=record.reason,
        )

    def _spread(self, record: StepSpread, at_us: int) -> SagaState:
        definition = spread(self.definition, record.step, record.count)
        steps = {name: self.steps.get(name, StepState()) for name in definition.steps}
        steps[record.step] = StepState()
        for name in definition.steps.keys() - self.steps.keys() | {record.step}:
            if all(steps[need].phase in OVER for need in definition.steps[name].needs):
                steps[name] = StepState.ready(at_us)
        return replace(self, definition=definition, steps=steps)

    def _attempt_failed(self, record: AttemptFailed | UndoFailed, at_us: int) -> SagaState:
        if record.retry_at_us is None and isinstance(record, UndoFailed):
            phase, said_no = StepPhase.STUCK, record.why is Unanswered.FAILED
            stuck = self._set(record.step, phase=phase, reason=record.reason, said_no=said_no)
            return stuck.promoted(at_us)
        if record.retry_at_us is None:
            phase, said_no = StepPhase.EXHAUSTED, record.why is Unanswered.FAILED
            return self._set(record.step, phase=phase, reason=record.reason, said_no=said_no)
        return self._set(
            record.step,
            attempt=record.attempt + 1,
            since_us=record.retry_at_us,
            reason=record.reason,
        )

    def _turned_back(self, record: CompensationBegan, at_us: int) -> SagaState:
        """Whatever was asked for is undone, also where nobody knows whether it was done.

        What may have been made final stands: it was confirmed, and can only have been
        because a person has ordered to go back past the pivot.
        """
        steps = dict(self.steps)
        happened = (StepPhase.RUNNING, StepPhase.DONE, StepPhase.EXHAUSTED)
        final = {step.confirms for step, _ in self.in_phase(*happened)}
        for step, state in self.in_phase(*happened):
            if step.has_effect and not _never_begun(step, state):
                stands = step.undo is None or step.name in final
                phase = StepPhase.STANDING if stands else StepPhase.TO_UNDO
                steps[step.name] = replace(state, phase=phase)
            elif state.phase is not StepPhase.DONE:
                steps[step.name] = StepState()
        turned = replace(self, steps=steps, outcome=None, output=None, reason=record.reason)
        return replace(turned, phase=Phase.COMPENSATING).promoted(at_us)

    def promoted(self, at_us: int) -> SagaState:
        """Let those be undone which nothing that still stands was built on."""
        steps = dict(self.steps)
        pending = self._below_what_stands()
        for step, state in self.in_phase(StepPhase.TO_UNDO):
            if step.name not in pending:
                steps[step.name] = replace(
                    state,
                    phase=StepPhase.UNDOING,
                    attempt=1,
                    spent=0,
                    since_us=at_us,
                    first_us=at_us,
                    deferrals=0,
                )
        return replace(self, steps=steps)

    def _ordered(self, order: Ordered | Moved, at_us: int) -> SagaState:
        """A person has spoken. What is parked is first what it was before."""
        if isinstance(order, Moved):
            return self._moved(order, at_us)
        if order.refused:
            return self
        state = replace(self.before or self, clock_us=at_us, versions=self.versions)
        state = replace(state, asked={}, told=False, tell_at_us=0, talk=Talk())
        return state.anew(at_us) if order.action in (Action.RETRY, Action.MOVE) else state

    def _moved(self, record: Moved, at_us: int) -> SagaState:
        """Go by another version: what has begun stands as it does, the rest is as that says."""
        new = spread_alike(self.versions[record.definition], self.definition)
        steps = {
            name: self.steps[name] if self.has_begun(name) else StepState() for name in new.steps
        }
        for name, step in new.steps.items() if self.phase is Phase.RUNNING else ():
            ready = all(steps[need].phase in OVER for need in step.needs)
            if steps[name].phase is StepPhase.WAITING and ready:
                steps[name] = StepState.ready(at_us)
        gone = self.steps.keys() - new.steps.keys()
        moved = replace(
            self,
            definition=new,
            begun=replace(self.begun, definition=record.definition, version=record.version),
            steps=steps,
            left=self.left.union(name for name in gone if self.has_begun(name)) - steps.keys(),
        )
        return moved.promoted(at_us)

    def has_begun(self, step: str) -> bool:
        """Tell whether what became of a step so far would stand in any version."""
        state = self.steps.get(step)
        if state is None or state.phase is StepPhase.WAITING:
            return False
        if state.phase in OVER:
            return True
        unasked = state.phase is StepPhase.REFUSED and not state.said_no
        return self.definition.steps[step].has_effect and not unasked

    def anew(self, at_us: int) -> SagaState:
        """Give what no attempt was left for all its attempts again."""
        steps = dict(self.steps)
        back = self.phase is Phase.COMPENSATING
        for step, state in self.in_phase(*(_WAY_BACK if back else _WAY_ON)):
            if state.phase is StepPhase.REFUSED and not step.is_apart:
                continue
            steps[step.name] = replace(
                state,
                phase=StepPhase.UNDOING if back else StepPhase.RUNNING,
                attempt=state.attempt + 1,
                spent=state.attempt,
                since_us=at_us,
                deferrals=0,
                said_no=False,
            )
        return replace(self, steps=steps)

    def _below_what_stands(self) -> set[str]:
        """Name the steps on which something was built that is not undone yet."""
        standing = (StepPhase.TO_UNDO, StepPhase.UNDOING)
        below: set[str] = set()
        for name in reversed(tuple(self.definition.steps)):
            step = self.definition.steps[name]
            if name in below or self.steps[name].phase in standing or self.is_in_the_way(step):
                below.update(step.needs)
        return below

    def is_in_the_way(self, step: Step) -> bool:
        """Tell whether a step cannot be undone, and nothing below it is to be before it is."""
        stuck = self.steps[step.name].phase is StepPhase.STUCK
        return stuck and step.on_undo_failure is OnUndoFailure.PARK


def _never_begun(step: Step, state: StepState) -> bool:
    """Tell whether a step that is a transaction of its own has none: that is known for certain."""
    return step.is_apart and state.child is None and state.phase is StepPhase.RUNNING


_LOGGED: Final = SagaState.__struct_fields__.index("asked")
