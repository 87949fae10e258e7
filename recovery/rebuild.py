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

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, TypeAlias

from msgspec import structs

from coordinator.core import children, compensation, locking, saga
from coordinator.core.machine import State
from coordinator.core.records import (
    AnyRecord,
    AttemptFailed,
    ChildBegan,
    ChildEnded,
    ChildRevoked,
    Closed,
    CompensationBegan,
    Locked,
    Outcome,
    Parked,
    StepDone,
    StepRefused,
    StepSkipped,
    StepUndone,
    Unanswered,
    UndoFailed,
)
from coordinator.core.saga_state import Phase, SagaState, StepPhase, StepState
from coordinator.core.transition import Spawn, Transition
from coordinator.core.two_phase_state import TwoPhase
from recovery import atomic
from recovery.traces import COMMITTED, FINAL, PREPARED, Part, Sent, Traces
from sagas.graph import ancestors
from sagas.model import EvaluationFailed, Gate, Group, OnRefused, SubSaga

HAD_NO_EFFECT: Final = "the log was restored, and no branch had committed"
WAY_IS_LOST: Final = (
    "the log was restored: {done} had been done, but what led there is not known,"
    " so that going back would leave it standing; `twofold retry` goes on"
)
WENT_ON: Final = (
    "the log was restored: since it was parked ({reason}) a person had let it go on or back,"
    " as {done} shows; find out which, and order the same again"
)
PART_UNKNOWN: Final = (
    "the log was restored, and what {part} has done, which is its step {step}, is not known"
)
ASKED_AGAIN: Final = "the log was restored; it had ended without effect, and was asked for again"
HAD_TURNED_BACK: Final = "the log was restored; it had turned back"

Move: TypeAlias = Transition[Any]


def rebuild(state: State, traces: Traces, now_us: int) -> tuple[State, tuple[AnyRecord, ...]]:
    """Return the state that the traces prove, and the records that lead to it."""
    move = proven(state, traces, now_us)
    return move.state, move.records


def proven(state: State, traces: Traces, now_us: int) -> Move:
    """Return the same, with those that have begun as part of it, as errands."""
    move: Move = Transition(state)
    if isinstance(state, TwoPhase):
        return atomic.decided(move, traces, now_us)
    return _saga(move, traces, now_us)


def _saga(move: Move, traces: Traces, now_us: int) -> Move:
    if _stands(move.state, traces):
        return move
    if (stranger := _stranger(move.state, traces)) is not None and _final(traces) is None:
        parked = move.state.phase is Phase.PARKED
        return move if parked else move.remember(Parked(reason=stranger), now_us)
    if traces.steps or traces.sent or traces.parts or traces.came_to is Outcome.COMMITTED:
        move = _past_locks(move, now_us)
    move = _heard(move, traces, now_us)
    if move.state.phase is Phase.PARKED:
        if (since := _since_parked(move.state, traces)) and _final(traces) is None:
            went_on = WENT_ON.format(done=", ".join(since), reason=move.state.reason)
            move = move.remember(Parked(reason=went_on), now_us)
    else:
        move = _forward(move, traces, now_us)
        if (unknown := _unknown(move.state, traces)) and _final(traces) is None:
            parked = Parked(reason=WAY_IS_LOST.format(done=", ".join(unknown)))
            move = move.remember(parked, now_us)
        elif _turned_back(move.state, traces):
            move = _back(move, traces, now_us)
    move = _closed(move, traces, now_us)
    return locking.end_if_over(move, now_us) if move.state.begun.parent else move


def _stands(state: SagaState, traces: Traces) -> bool:
    """Tell whether its end is known. A part that is done may have gone back since."""
    if state.held:
        return not _turned_back(state, traces)
    return state.phase in (Phase.CLOSED, Phase.ENDED)


def _final(traces: Traces) -> Outcome | None:
    """Return the outcome that was told, if it stands."""
    told = Outcome(traces.told.outcome) if traces.told is not None else None
    return told if told in FINAL else None


def _stranger(state: SagaState, traces: Traces) -> str | None:
    """Name a saga that is a step and has not ended, if its traces are not among these."""
    found = {part.gid for part in traces.parts}
    for name, step in state.steps.items():
        child, work = step.child, state.definition.steps[name].work
        open_ = child is not None and child.outcome is None and child.gid not in found
        if child is not None and open_ and isinstance(work, SubSaga):
            return PART_UNKNOWN.format(part=child.gid, step=name)
    return None


def _unknown(state: SagaState, traces: Traces) -> list[str]:
    """Name what was done, if it is not known to have been its turn: it would not be undone.

    How a part ended, and what it has said, may be known to the lost log alone.
    """
    if state.phase is not Phase.RUNNING or not any(
        s.is_apart for s in state.definition.steps.values()
    ):
        return []
    done = [name for name, did in traces.steps.items() if did.status == "done"]
    begun = [name for name in state.steps if _has_begun(traces, name)]
    never = (StepPhase.WAITING, StepPhase.RUNNING)
    unknown = [
        name
        for name in begun
        if state.steps[name].child is None and state.steps[name].phase in never
    ]
    waiting = StepState()
    unknown += [name for name in done if state.steps.get(name, waiting).phase is StepPhase.WAITING]
    return unknown


def _since_parked(state: SagaState, traces: Traces) -> list[str]:
    """Name what shows that a person had let it go on, or back: that order is lost."""
    before = state.before
    if before is None or before.phase is Phase.COMPENSATING:
        return []
    known = {name for name, step in before.steps.items() if step.phase is not StepPhase.WAITING}
    done = {name for name, did in traces.steps.items() if did.status == "done"} - known
    begun = {part.step for part in traces.parts} - known
    return sorted(done | begun | traces.going_back)


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
        elif _has_begun(traces, name):
            move = _past_part(move, name, traces, now_us)
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


def _has_begun(traces: Traces, name: str, *, undoing: bool = False) -> bool:
    """Tell whether a transaction has begun that does a step, or undoes it."""
    return any((part.step, part.undoing) == (name, undoing) for part in traces.parts)


def _last(traces: Traces, name: str, *, undoing: bool = False) -> int:
    """Return the last attempt of a step that is known to have begun, or of its undo."""
    parts = (part for part in traces.parts if (part.step, part.undoing) == (name, undoing))
    return max((part.attempt for part in parts), default=0)


def _traced(state: SagaState, traces: Traces) -> set[str]:
    """Name the steps that have left a trace."""
    return {*traces.steps, *(name for name in state.steps if _has_begun(traces, name))}


def _is_over(state: SagaState, name: str, traces: Traces) -> bool:
    """Tell whether something has begun that comes after a step."""
    if Outcome.COMMITTED in (traces.came_to, _final(traces)):
        return True
    needs = {one.name: one.needs for one in state.definition.steps.values()}
    return any(name in ancestors(needs, one) for one in _traced(state, traces) if one in needs)


def inherited(state: SagaState, traces: Traces, part: Part) -> Traces:
    """Return the traces of a part, with what those of its saga say of its end."""
    step, final = state.definition.steps.get(part.step), _final(traces)
    taken_back = final not in (None, Outcome.COMMITTED) and step is not None and step.undo
    if taken_back or part.attempt < _last(traces, part.step):
        return replace(part.traces, came_to=Outcome.COMPENSATED)
    if _is_over(state, part.step, traces):
        return replace(part.traces, came_to=Outcome.COMMITTED)
    return part.traces


def _heard(move: Move, traces: Traces, now_us: int) -> Move:
    """Know of those parts how they have ended of which it is found out."""
    for part in traces.parts:
        step = move.state.steps.get(part.step)
        child, end = step.child if step is not None else None, part.end
        if end and child and (child.gid, child.outcome) == (part.gid, None):
            move = move.remember(
                _ended(part.step, part.gid, end.outcome, end.data, end.reason), now_us
            )
    return move


def _ended(step: str, gid: str, outcome: Outcome, data: Any = None, reason: str = "") -> ChildEnded:
    return ChildEnded(step=step, child=gid, outcome=outcome, data=data, reason=reason)


def _past_part(move: Move, name: str, traces: Traces, now_us: int) -> Move:
    """Know a transaction that does a step, and how it has ended, if that is found out."""
    move = _caught_up(move, name, _last(traces, name), now_us)
    over = _is_over(move.state, name, traces)
    if isinstance(move.state.definition.steps[name].work, Group):
        past = _past_group if over else _with_child
        return past(move, name, traces, now_us)
    return _past_saga(_with_child(move, name, traces, now_us), name, traces, now_us, over=over)


def _caught_up(move: Move, name: str, last: int, now_us: int, *, undoing: bool = False) -> Move:
    """Count the attempts that were made: only what has had no effect is asked for again."""
    kind = UndoFailed if undoing else AttemptFailed
    while (attempt := move.state.steps[name].attempt) < last:
        failed = kind(
            step=name,
            attempt=attempt,
            why=Unanswered.FAILED,
            reason=ASKED_AGAIN,
            retry_at_us=now_us,
        )
        move = move.remember(failed, now_us)
    return move


def _with_child(move: Move, name: str, traces: Traces, now_us: int) -> Move:
    """Know a transaction that does a step: what came of it, it knows itself."""
    step, state = move.state.definition.steps[name], move.state.steps[name]
    part = _present(move.state, name, traces)
    if part is None or (state.child is not None and state.child.gid == part.gid):
        return move
    try:
        data = step.data(saga.scope(move.state))
    except EvaluationFailed:
        return move  # then nobody knows what it was given
    began = ChildBegan(step=name, child=part.gid, attempt=part.attempt)
    label = children.label(name, part.attempt, undoing=False)
    assert isinstance(step.work, Group | SubSaga), f"{name} has no child"
    work = step.work.definition if isinstance(step.work, Group) else step.work
    spawn = Spawn(name, label, part.gid, part.attempt, work, data)
    move = move.remember(began, now_us)
    return structs.replace(move, errands=(*move.errands, spawn))


def _present(state: SagaState, name: str, traces: Traces) -> Part | None:
    """Return the part that does a step in its present attempt."""
    now = (name, False, state.steps[name].attempt)
    found = (part for part in traces.parts if (part.step, part.undoing, part.attempt) == now)
    return next(found, None)


def _past_saga(move: Move, name: str, traces: Traces, now_us: int, *, over: bool) -> Move:
    """Know how a saga has ended that does a step, if it has: then what comes after may be known."""
    child, part = move.state.steps[name].child, _present(move.state, name, traces)
    if child is None or part is None or child.gid != part.gid:
        return move
    if over and part.gone and child.outcome is None and not _goes_without(move.state, name):
        # What came after it shows that it was done; it has been revoked since.
        move = move.remember(_ended(name, part.gid, Outcome.COMMITTED), now_us)
    move = _heard(move, traces, now_us)
    child, attempt = move.state.steps[name].child, move.state.steps[name].attempt
    if child.outcome is Outcome.COMMITTED:
        return move.remember(StepDone(step=name, attempt=attempt, data=child.data), now_us)
    ended = child.outcome is not None or (over and part.gone)
    if ended and _goes_without(move.state, name):
        move = _refused(move, name, child.reason or HAD_TURNED_BACK, now_us)
        return move.remember(StepSkipped(step=name, refused=True), now_us)
    return move


def _past_group(move: Move, name: str, traces: Traces, now_us: int) -> Move:
    """Know how a transaction has ended that does a step: what came after it shows that it has.

    Where nothing of it is committed, it has no effect: it had only read, or it was gone without.
    """
    part = _present(move.state, name, traces)
    branches = part.traces.branches.values() if part is not None else ()
    if PREPARED in branches:
        return _with_child(move, name, traces, now_us)  # then it cannot have ended
    if COMMITTED in branches:
        move = _with_child(move, name, traces, now_us)
        child = move.state.steps[name].child
        if child is None:
            return move
        if child.outcome is None:
            data = atomic.result(part)
            move = move.remember(_ended(name, child.gid, Outcome.COMMITTED, data), now_us)
    elif _goes_without(move.state, name):
        move = _refused(move, name, HAD_NO_EFFECT, now_us)
        return move.remember(StepSkipped(step=name, refused=True), now_us)
    state = move.state.steps[name]
    data = state.child.data if state.child is not None else None
    return move.remember(StepDone(step=name, attempt=state.attempt, data=data), now_us)


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
    step, over = move.state.definition.steps[name], _is_over(move.state, name, traces)
    try:
        wanted = saga.wanted(move.state, step, saga.scope(move.state))
    except EvaluationFailed:
        return move
    if not wanted:
        return move.remember(StepSkipped(step=name), now_us)
    if over and (step.is_apart or (step.has_effect and _goes_without(move.state, name))):
        return _past_group(move, name, traces, now_us)
    if step.has_effect or not over:
        return move
    # What it had waited for is lost; that it had come is not.
    return move.remember(StepDone(step=name, attempt=1), now_us)


def _turned_back(state: SagaState, traces: Traces) -> bool:
    final = _final(traces)
    if final is not None:
        return final is not Outcome.COMMITTED
    back = any(
        did.status in ("sealed", "undone")
        or (did.status == "refused" and not _goes_without(state, name))
        for name, did in traces.steps.items()
    )
    undone = any(part.undoing for part in traces.parts)
    revoked = next(_revoked(state, traces), None) is not None
    came_back = traces.came_to is Outcome.COMPENSATED
    return back or undone or revoked or came_back or Sent.UNDO in traces.sent


def _revoked(state: SagaState, traces: Traces) -> Iterator[Part]:
    """Yield the sagas that are steps, were done, and have gone back: only their saga says so."""
    for part in traces.parts:
        step = state.steps.get(part.step)
        child = step.child if step is not None else None
        if part.gone and child and (child.gid, child.outcome) == (part.gid, Outcome.COMMITTED):
            yield part


def _back(move: Move, traces: Traces, now_us: int) -> Move:
    """Know what was refused and undone; what is left of it is asked for again."""
    state: SagaState = move.state
    if state.phase in (Phase.LOCKING, Phase.RUNNING, Phase.CLOSED):
        for name, did in traces.steps.items():
            step = state.steps.get(name)
            if did.status == "refused" and step and step.phase is StepPhase.RUNNING:
                move = _refused(move, name, did.reason, now_us)
        if move.state.past_pivot:
            return move.remember(Parked(reason=f"{HAD_TURNED_BACK}, past its pivot"), now_us)
        move = move.remember(CompensationBegan(reason=_why(traces)), now_us)
    move = _taken_back(move, traces, now_us)
    for name in reversed(tuple(state.definition.steps)):
        did, step = traces.steps.get(name), move.state.steps[name]
        if did and step.phase is StepPhase.UNDOING and did.status in ("sealed", "undone"):
            undone = StepUndone(step=name, attempt=step.attempt, undone=did.status == "undone")
            move = move.remember(undone, now_us)
        elif step.phase is StepPhase.UNDOING and _is_undone(move.state, name, traces):
            move = move.remember(StepUndone(step=name, attempt=step.attempt, undone=False), now_us)
        elif step.phase is StepPhase.UNDOING:
            last = _last(traces, name, undoing=True)
            move = _caught_up(move, name, last, now_us, undoing=True)
    return move


def _is_undone(state: SagaState, name: str, traces: Traces) -> bool:
    """Tell whether something is being undone that a step needs, which left no trace itself.

    That comes after its own undo: so it had been undone, or never been asked.
    """
    if name in traces.steps or any(part.step == name for part in traces.parts):
        return False
    needs = {one.name: one.needs for one in state.definition.steps.values()}
    return not traces.going_back.isdisjoint(ancestors(needs, name))


def _taken_back(move: Move, traces: Traces, now_us: int) -> Move:
    """Know what sagas that are steps are on their way back, or have gone it to the end."""
    for part in tuple(_revoked(move.state, traces)):
        step = move.state.steps[part.step]
        if step.phase in (StepPhase.TO_UNDO, StepPhase.UNDOING):
            attempt = max(1, step.attempt if step.phase is StepPhase.UNDOING else 1)
            revoked = ChildRevoked(step=part.step, child=part.gid, attempt=attempt)
            move = move.remember(revoked, now_us)
    return _heard(move, traces, now_us)


def _why(traces: Traces) -> str:
    """Give the reason that was told, or that the step which was refused has given."""
    if traces.told is not None and traces.told.reason:
        return traces.told.reason
    refused = (f"{n}: {d.reason}" for n, d in traces.steps.items() if d.status == "refused")
    return next(refused, HAD_TURNED_BACK)


def _closed(move: Move, traces: Traces, now_us: int) -> Move:
    """Let what was told stand; and what is finished without that, end."""
    told, final = traces.told, _final(traces)
    if told is not None and final is not None:
        closed = Closed(outcome=final, output=told.output, reason=told.reason)
        return move.remember(closed, now_us)
    if told is None or move.state.begun.parent:  # of a part, nothing is told that came later
        if move.state.phase is Phase.RUNNING:
            move = saga.close_if_done(move, now_us)
        else:
            move = compensation.close_if_undone(move, now_us)
    if told is not None and move.state.phase in (Phase.RUNNING, Phase.COMPENSATING, Phase.LOCKING):
        return move.remember(Parked(reason=told.reason), now_us)
    return move
