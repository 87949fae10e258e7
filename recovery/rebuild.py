"""What a log that has forgotten must be told of one transaction. Pure.

What a transaction has led to is kept outside of its log: by participants'
databases, in the rows that make commands harmless when they come twice, and
on the topics of commands and outcomes. Nothing is guessed from it. A branch
that has committed, or was told to, or an outcome that was told, proves the
decision; and where nothing proves a commit, nobody has heard of one, so that
to abort is as good as it was before anything was decided.

Commands that are still to be done do no harm then. A commit, or an undo, that
is on its topic is proof as if it were done; a branch is prepared, or a step
executed, only if its mark does not say by then that it is over.

This holds only once nobody is left who could still act on the old log: no
coordinator runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any, Final, NamedTuple, TypeAlias

from coordinator.core import children, compensation, saga
from coordinator.core.machine import State
from coordinator.core.records import (
    AnyRecord,
    ChildEnded,
    Closed,
    CompensationBegan,
    Decided,
    Decision,
    Locked,
    Outcome,
    Parked,
    StepDone,
    StepRefused,
    StepSkipped,
    StepUndone,
)
from coordinator.core.saga_state import Phase, SagaState, StepPhase, StepState
from coordinator.core.transition import Transition
from coordinator.core.two_phase_state import Phase as AtomicPhase
from coordinator.core.two_phase_state import TwoPhase
from sagas.graph import ancestors
from sagas.model import EvaluationFailed, Gate, Group, OnRefused, SubSaga
from wire import gids
from wire.messages import Json
from wire.messages import Outcome as Told

PREPARED: Final = "prepared"
COMMITTED: Final = "committed"
NOT_COMMITTED: Final = "the log was restored, and nothing shows that any branch had committed"
HAD_COMMITTED: Final = "the log was restored; a branch had committed, or was told to"
HAD_NO_EFFECT: Final = "the log was restored, and no branch had committed"
WAY_IS_LOST: Final = (
    "the log was restored: {done} had been done, but what led there is not known,"
    " so that going back would leave it standing; `twofold retry` goes on"
)
PARTS_UNKNOWN: Final = (
    "the log was restored, and what the sagas that are its steps have done is not known"
)
HAD_TURNED_BACK: Final = "the log was restored; it had turned back"
FINAL: Final = (Outcome.COMMITTED, Outcome.ABORTED, Outcome.COMPENSATED)

Move: TypeAlias = Transition[Any]


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
    steps: Mapping[str, Did] = field(default_factory=dict[str, Did])
    told: Told | None = None
    """The last outcome that was told."""
    sent: Sent = Sent.NOTHING
    """What participants were sent, and may do yet."""
    parts: Mapping[str, Traces] = field(default_factory=dict[str, "Traces"])
    """By name, of those that have begun as part of it."""

    def __bool__(self) -> bool:
        return bool(self.branches or self.steps or self.told or self.sent or self.parts)


def rebuild(state: State, traces: Traces, now_us: int) -> tuple[State, tuple[AnyRecord, ...]]:
    """Return the state that the traces prove, and the records that lead to it."""
    move = proven(state, traces, now_us)
    return move.state, move.records


def proven(state: State, traces: Traces, now_us: int) -> Move:
    """Return the same, with those that have begun as part of it, as errands."""
    move: Move = Transition(state)
    if isinstance(state, TwoPhase):
        return _atomic(move, traces, now_us)
    return _saga(move, traces, now_us)


# ── atomic transactions ──────────────────────────────────────────────────────


def _atomic(move: Move, traces: Traces, now_us: int) -> Move:
    state: TwoPhase = move.state
    if state.phase in (AtomicPhase.PARKED, AtomicPhase.ENDED):
        return move
    if state.decided is None:
        decision = _decision(state, traces, now_us)
        if decision is None:
            return move
        move = move.remember(decision, now_us)
    told = traces.told
    if told is not None and Outcome(told.outcome) not in FINAL:
        # Somebody has ended a branch by hand, or was to: that is for a person again.
        parked = Parked(reason=told.reason, outcome=Outcome(told.outcome))
        move = move.remember(parked, now_us)
    return move


def _decision(state: TwoPhase, traces: Traces, now_us: int) -> Decided | None:
    told = traces.told
    if told is not None and told.outcome == Outcome.COMMITTED:
        return Decided(
            decision=Decision.COMMIT,
            awaited=_touched(state, traces),
            reason=told.reason,
            output=told.output,
        )
    if Sent.COMMIT in traces.sent or COMMITTED in traces.branches.values():
        return Decided(
            decision=Decision.COMMIT, awaited=_touched(state, traces), reason=HAD_COMMITTED
        )
    if state.starts_us > now_us and not traces:
        return None  # it rests: nobody was asked
    if told is None and len(state.definition.branches) == 1:
        return None  # it decides for itself, and may be about to: it is asked again
    reason = told.reason if told is not None else NOT_COMMITTED
    return Decided(decision=Decision.ABORT, awaited=tuple(state.definition.branches), reason=reason)


def _touched(state: TwoPhase, traces: Traces) -> tuple[str, ...]:
    """Name the branches that have something to commit.

    One without a trace only read; so did one that is rolled back, by a late
    copy of its Prepare, since whoever has said yes waits for the decision.
    """
    held = {name for name, seen in traces.branches.items() if seen in (PREPARED, COMMITTED)}
    return tuple(name for name in state.definition.branches if name in held)


# ── sagas ────────────────────────────────────────────────────────────────────


def _saga(move: Move, traces: Traces, now_us: int) -> Move:
    if move.state.phase in (Phase.CLOSED, Phase.ENDED):
        return move
    if _has_parts(move.state, traces) and not _ends(traces):
        parked = move.state.phase is Phase.PARKED
        return move if parked else move.remember(Parked(reason=PARTS_UNKNOWN), now_us)
    if traces.steps or traces.sent or traces.parts:
        move = _past_locks(move, now_us)
    if move.state.phase is not Phase.PARKED:
        move = _forward(move, traces, now_us)
        if (unknown := _unknown(move.state, traces)) and not _ends(traces):
            parked = Parked(reason=WAY_IS_LOST.format(done=", ".join(unknown)))
            move = move.remember(parked, now_us)
        elif _turned_back(move.state, traces):
            move = _back(move, traces, now_us)
    return _closed(move, traces, now_us)


def _ends(traces: Traces) -> bool:
    """Tell whether an outcome was told that stands."""
    return traces.told is not None and Outcome(traces.told.outcome) in FINAL


def _has_parts(state: SagaState, traces: Traces) -> bool:
    """Tell whether sagas may have begun as its steps: what they did is not seen in its traces."""
    begun = {
        state.steps[step.name].phase not in (StepPhase.WAITING, StepPhase.SKIPPED)
        for step in state.definition.steps.values()
        if isinstance(step.work, SubSaga)
    }
    return True in begun or bool(begun and traces)


def _unknown(state: SagaState, traces: Traces) -> list[str]:
    """Name what was done, if it is not known to have been its turn: it would not be undone.

    How a group ended, and what its branches have said, may be known to the lost log alone.
    """
    groups = any(isinstance(step.work, Group) for step in state.definition.steps.values())
    if not groups or state.phase is not Phase.RUNNING:
        return []
    done = [name for name, did in traces.steps.items() if did.status == "done"]
    done += [name for name in state.steps if _has_begun(state, name, traces)]
    waiting = StepState()
    return [name for name in done if state.steps.get(name, waiting).phase is StepPhase.WAITING]


def _past_locks(move: Move, now_us: int) -> Move:
    """Know that it had its locks: nobody is asked before."""
    state: SagaState = move.state
    if state.phase is Phase.LOCKING:
        for lock in state.locks[state.passed :]:
            move = move.remember(Locked(lock=lock), now_us)
    return move


def _forward(move: Move, traces: Traces, now_us: int) -> Move:
    """Know what was done, each step after those that it needs."""
    for name in move.state.definition.steps:
        did, step = traces.steps.get(name), move.state.steps[name]
        if move.state.phase is not Phase.RUNNING or step.phase is not StepPhase.RUNNING:
            continue
        if isinstance(move.state.definition.steps[name].work, Gate):
            move = _past_gate(move, name, traces, now_us)
        elif move.state.definition.steps[name].each is not None:
            return _spread(move, name, traces, now_us)
        elif did is None:
            move = _past_silent(move, name, traces, now_us)
        elif did.status in ("done", "undone"):
            done = StepDone(step=name, attempt=step.attempt, data=did.data)
            move = move.remember(done, now_us)
        elif did.status == "refused" and _goes_without(move.state, name):
            move = _refused(move, name, did.reason, now_us)
            move = move.remember(StepSkipped(step=name, refused=True), now_us)
    return move


def _spread(move: Move, name: str, traces: Traces, now_us: int) -> Move:
    """Know for how many elements a step was to be done, and then what was done for each."""
    step, values = move.state.definition.steps[name], saga.scope(move.state)
    assert step.each is not None, f"{name} is one step"
    try:
        if not saga.wanted(move.state, step, values):
            move = move.remember(StepSkipped(step=name), now_us)
        else:
            move = saga.spread_out(move, name, step.each.elements(values), now_us)
    except EvaluationFailed:
        return move
    return _forward(move, traces, now_us)


def _has_begun(state: SagaState, name: str, traces: Traces, *, undoing: bool = False) -> bool:
    """Tell whether a transaction has begun that does a step, or undoes it."""
    return _part(state, name, undoing=undoing) in traces.parts


def _part(state: SagaState, name: str, *, undoing: bool = False) -> str:
    return gids.child(state.gid, children.label(name, 1, undoing=undoing))


def _traced(state: SagaState, traces: Traces) -> set[str]:
    """Name the steps that have left a trace."""
    return {*traces.steps, *(name for name in state.steps if _has_begun(state, name, traces))}


def _with_child(move: Move, name: str, now_us: int) -> Move:
    """Know a transaction that does a step: what came of it, it knows itself."""
    step, state = move.state.definition.steps[name], move.state.steps[name]
    if state.child is not None:
        return move
    try:
        return children.ask(move, step, state, step.data(saga.scope(move.state)), now_us)
    except EvaluationFailed:
        return move  # it will be refused again


def _past_group(move: Move, name: str, traces: Traces, now_us: int) -> Move:
    """Know how a transaction has ended that does a step: what came after it shows that it has.

    Where nothing of it is committed, it has no effect: it had only read, or it was gone without.
    """
    part = traces.parts.get(_part(move.state, name), Traces())
    if PREPARED in part.branches.values():
        return _with_child(move, name, now_us)  # then it cannot have ended
    if COMMITTED in part.branches.values():
        move = _with_child(move, name, now_us)
        child = move.state.steps[name].child
        if child is None:
            return move
        ended = ChildEnded(step=name, child=child.gid, outcome=Outcome.COMMITTED)
        move = move.remember(ended, now_us)
    elif _goes_without(move.state, name):
        move = _refused(move, name, HAD_NO_EFFECT, now_us)
        return move.remember(StepSkipped(step=name, refused=True), now_us)
    return move.remember(StepDone(step=name, attempt=1), now_us)


def _goes_without(state: SagaState, name: str) -> bool:
    """Tell whether a saga goes on when this step is refused."""
    step = state.definition.steps.get(name)
    return step is not None and step.on_refused is OnRefused.CONTINUE


def _refused(move: Move, name: str, reason: str, now_us: int) -> Move:
    attempt = move.state.steps[name].attempt
    return move.remember(StepRefused(step=name, attempt=attempt, reason=reason), now_us)


def _past_gate(move: Move, name: str, traces: Traces, now_us: int) -> Move:
    """Go past a gate, which leaves no trace: it was passed, unless the saga had turned back.

    It had not if anything has left a trace that comes after the gate.
    """
    after = move.state.definition.dependents[name]
    if _turned_back(move.state, traces) and _traced(move.state, traces).isdisjoint(after):
        return move
    return move.remember(StepDone(step=name, attempt=1), now_us)


def _past_silent(move: Move, name: str, traces: Traces, now_us: int) -> Move:
    """Go past a step that left no trace: it was never to be asked, or asks nobody and is over."""
    definition = move.state.definition
    step = definition.steps[name]
    needs = {one.name: one.needs for one in definition.steps.values()}
    over = any(
        name in ancestors(needs, later) for later in _traced(move.state, traces) if later in needs
    )
    if _has_begun(move.state, name, traces):
        if over:
            return _past_group(move, name, traces, now_us)
        return _with_child(move, name, now_us)
    try:
        wanted = saga.wanted(move.state, step, saga.scope(move.state))
    except EvaluationFailed:
        return move
    if not wanted:
        return move.remember(StepSkipped(step=name), now_us)
    if over and isinstance(step.work, Group):
        return _past_group(move, name, traces, now_us)
    if step.has_effect or not over:
        return move
    # What it had waited for is lost; that it had come is not.
    return move.remember(StepDone(step=name, attempt=1), now_us)


def _turned_back(state: SagaState, traces: Traces) -> bool:
    told = traces.told
    if told is not None and Outcome(told.outcome) in FINAL:
        return told.outcome != Outcome.COMMITTED
    back = any(
        did.status in ("sealed", "undone")
        or (did.status == "refused" and not _goes_without(state, name))
        for name, did in traces.steps.items()
    )
    undone = any(_has_begun(state, name, traces, undoing=True) for name in state.steps)
    return back or undone or Sent.UNDO in traces.sent


def _back(move: Move, traces: Traces, now_us: int) -> Move:
    """Know what was refused and undone; what is left of it is asked for again."""
    state: SagaState = move.state
    if state.phase is Phase.RUNNING:
        for name, did in traces.steps.items():
            step = state.steps.get(name)
            if did.status == "refused" and step and step.phase is StepPhase.RUNNING:
                move = _refused(move, name, did.reason, now_us)
        if move.state.past_pivot:
            return move.remember(Parked(reason=f"{HAD_TURNED_BACK}, past its pivot"), now_us)
        move = move.remember(CompensationBegan(reason=_why(traces)), now_us)
    for name in reversed(tuple(state.definition.steps)):
        did, step = traces.steps.get(name), move.state.steps[name]
        if did and step.phase is StepPhase.UNDOING and did.status in ("sealed", "undone"):
            undone = StepUndone(step=name, attempt=step.attempt, undone=did.status == "undone")
            move = move.remember(undone, now_us)
    return move


def _why(traces: Traces) -> str:
    """Give the reason that was told, or that the step which was refused has given."""
    if traces.told is not None and traces.told.reason:
        return traces.told.reason
    refused = (f"{n}: {d.reason}" for n, d in traces.steps.items() if d.status == "refused")
    return next(refused, HAD_TURNED_BACK)


def _closed(move: Move, traces: Traces, now_us: int) -> Move:
    """Let what was told stand; and what is finished without that, end."""
    told = traces.told
    if told is None:
        if move.state.phase is Phase.RUNNING:
            return saga.close_if_done(move, now_us)
        return compensation.close_if_undone(move, now_us)
    if Outcome(told.outcome) in FINAL:
        closed = Closed(outcome=Outcome(told.outcome), output=told.output, reason=told.reason)
        return move.remember(closed, now_us)
    if move.state.phase is not Phase.PARKED:
        return move.remember(Parked(reason=told.reason), now_us)
    return move
