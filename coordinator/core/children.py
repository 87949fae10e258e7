"""Steps that are transactions of their own: begun, ended, and taken back.

A child lives in its parent's shard, under a name that is made of the parent's.
That it has begun is a fact of the parent, in the same commit as its own
beginning; that it has ended is one as well, in the same commit as its end. So
neither asks the other anything, and a new owner finds them agreed.

A child is never left behind: where its parent goes back while it is undecided,
it is aborted; where it has committed, what it did is undone by another child.
A child that is a saga undoes itself. So it is kept, also when it is done, until
its parent has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from msgspec.structs import replace

from coordinator.core import compensation
from coordinator.core.events import Returned, Spawned
from coordinator.core.records import (
    AnyRecord,
    Begun,
    ChildBegan,
    ChildEnded,
    ChildRevoked,
    Closed,
    Ended,
    LetGo,
    Ordered,
    Outcome,
    StepUndone,
)
from coordinator.core.saga_state import Asked, Child, Phase, SagaState, StepPhase, StepState
from coordinator.core.transition import Dismiss, Errand, Heed, Return, Revoke, Spawn, Transition
from sagas.model import AnyDefinition, EvaluationFailed, Group, InputRefused, Saga, Step, SubSaga
from wire import gids
from wire.messages import Action, Compensated, Result

Move: TypeAlias = Transition[SagaState]


def begins(saga: SagaState, event: Spawned, now_us: int) -> Move:
    """A child that is a saga may begin: from here on it has."""
    state = saga.steps[event.step]
    if state.phase is not StepPhase.RUNNING or state.attempt != event.attempt:
        return Transition(saga, dropped=f"step {event.step} is not wanted any more")
    began = ChildBegan(step=event.step, child=event.child, attempt=event.attempt)
    return Transition(saga).remember(began, now_us)


def objection(parent: SagaState, spawn: Spawn, name: str, found: AnyDefinition | None) -> str:
    """Say why a saga must not begin as this child, if it must not."""
    if not isinstance(found, Saga):
        return f"no saga {name!r} is published"
    if found.pivot is not None and parent.definition.steps[spawn.step].undo is not None:
        return f"{name} has a pivot, and past it could not be taken back; but {spawn.step} may be"
    try:
        found.check_input(spawn.input)
    except InputRefused as error:
        return str(error)
    return ""


def has(parent: Any, spawn: Spawn) -> bool:
    """Tell whether the parent says that this child has begun."""
    child = parent.steps[spawn.step].child
    return child is not None and child.gid == spawn.gid


def errands(step: Transition[Any]) -> Iterator[Errand]:
    """Tell what follows in the same turn for what a transaction is a part of, and for its parts."""
    yield from step.errands
    state, saga = step.state, isinstance(step.state, SagaState)
    over = any(isinstance(record, Closed if saga else Ended) for record in step.records)
    goes_on = saga and any(_goes_on(record) for record in step.records)
    if state.begun.parent and goes_on and (not over or state.held):
        yield Heed()
    elif state.begun.parent and over:
        yield Return()
    # Its end as well: a log that was restored may know of that, and not have let them go.
    freed = any(isinstance(record, Closed | LetGo | Ended) for record in step.records)
    if saga and freed and state.phase in (Phase.CLOSED, Phase.ENDED) and not state.held:
        for name, one in state.steps.items():
            if one.child is not None and isinstance(state.definition.steps[name].work, SubSaga):
                yield Dismiss(one.child.gid)


def _goes_on(record: AnyRecord) -> bool:
    if not isinstance(record, Ordered) or record.refused:
        return False
    return record.action in (Action.RETRY, Action.SKIP)


def is_revoked(parent: Any, step: str, gid: str) -> bool:
    """Tell whether the parent waits for this child to undo itself."""
    child = parent.steps[step].child
    return child is not None and child.gid == gid and child.undoing and child.outcome is None


def ended(saga: SagaState, event: Returned, now_us: int) -> Move:
    """A child has ended, in this turn. What follows from it is taken up once it may be."""
    child = saga.steps[event.step].child
    if child is not None and child.gid == event.child and child.outcome is not None:
        return Transition(saga, dropped="known since the log was restored")
    record = ChildEnded(
        step=event.step,
        child=event.child,
        outcome=event.outcome,
        data=event.data,
        reason=event.reason,
    )
    return Transition(saga).remember(record, now_us)


def returned(saga: SagaState) -> Iterator[tuple[Step, StepState]]:
    """Yield the steps of which a child has brought the answer."""
    wanted = {Phase.RUNNING: StepPhase.RUNNING, Phase.COMPENSATING: StepPhase.UNDOING}
    if saga.phase in wanted:
        for step, state in saga.in_phase(wanted[saga.phase]):
            if brings(state):
                yield step, state


def brings(state: StepState) -> bool:
    """Tell whether a step's child has ended as this attempt of it."""
    child = state.child
    return child is not None and child.outcome is not None and _is_for(child, state)


def _is_for(child: Child, state: StepState) -> bool:
    undoing = state.phase is StepPhase.UNDOING
    return (child.undoing, child.attempt) == (undoing, state.attempt)


def waited_for(step: Step, state: StepState) -> bool:
    """Tell whether a child does the step, or its undo: it has limits of time of its own."""
    if state.phase is StepPhase.UNDOING:
        return step.undo is not None and isinstance(step.undo.work, Group | SubSaga)
    return step.is_apart


def open_children(saga: SagaState) -> bool:
    """Tell whether a child has begun and not ended."""
    children = (state.child for state in saga.steps.values())
    return any(child is not None and child.outcome is None for child in children)


def label(step: str, attempt: int, *, undoing: bool) -> str:
    """Name a child among all that its parent ever begins."""
    return f"{'undo' if undoing else 'step'}/{step}/{attempt}"


def named(parent: str, spawn: Spawn, definition: AnyDefinition) -> Spawn:
    """Name a child that is a saga: after its version as well, which a lost log could not tell."""
    return spawn._replace(gid=gids.child(parent, versioned(spawn.label, definition)))


def versioned(label: str, definition: AnyDefinition) -> str:
    """Name a child that follows this version among all that its parent ever begins."""
    return f"{label}/{definition.hash}"


def begun(
    parent: Begun, gid: str, spawn: Spawn, definition: AnyDefinition, generation: int
) -> Begun:
    """Return the first record of a child; its place in the trace is yet its parent's.

    ``generation`` is the log's: where it is not that of the names, a log was lost.
    """
    name = gids.parse(gid)
    assert name is not None, f"{gid} is no name"
    return Begun(
        definition=definition.hash,
        name=definition.name,
        version=definition.version,
        key=gids.child_key(gid, spawn.label),
        input=spawn.input,
        traceparent=parent.traceparent,
        parent=gid,
        step=spawn.step,
        again=name.generation != generation,
    )


def ask(move: Move, step: Step, state: StepState, data: Any, now_us: int) -> Move:
    """Begin a child, unless it has begun."""
    if state.child is not None and _is_for(state.child, state):
        return _noted(move, step, state, now_us)  # it is under way
    return _spawn(move, step, state, data, now_us)


def take_back(
    move: Move, step: Step, state: StepState, values: Mapping[str, Any], now_us: int
) -> Move:
    """Undo what a child has done, or see that it does nothing."""
    assert step.undo is not None, f"{step.name} is not to be undone"
    child = state.child
    if isinstance(step.undo.work, SubSaga):
        return _undo_itself(move, step, state, now_us)
    if child is None or (not child.undoing and child.outcome not in (None, Outcome.COMMITTED)):
        nothing = StepUndone(step=step.name, attempt=state.attempt, undone=False)
        return compensation.close_if_undone(move.remember(nothing, now_us), now_us)
    if child.outcome is None and not child.undoing:
        revoke = Revoke(child.gid)
        return replace(_noted(move, step, state, now_us), errands=(*move.errands, revoke))
    if _is_for(child, state):
        return _noted(move, step, state, now_us)  # it is under way
    try:
        data = (step.undo.data or step.data)(values)
    except EvaluationFailed as error:
        return compensation.cannot_be_asked(move, step, state, str(error), now_us)
    return _spawn(move, step, state, data, now_us)


def _undo_itself(move: Move, step: Step, state: StepState, now_us: int) -> Move:
    """Let a child that is a saga go back, unless it has, or is on its way."""
    child = state.child
    if child is None or child.outcome not in (None, Outcome.COMMITTED):
        nothing = StepUndone(step=step.name, attempt=state.attempt, undone=False)
        return compensation.close_if_undone(move.remember(nothing, now_us), now_us)
    move = _noted(move, step, state, now_us)
    if _is_for(child, state):
        return move  # it is under way
    revoked = ChildRevoked(step=step.name, child=child.gid, attempt=state.attempt)
    move = move.remember(revoked, now_us)
    return replace(move, errands=(*move.errands, Revoke(child.gid)))


def taken_back(move: Move, step: Step, state: StepState, now_us: int) -> Move:
    """Conclude from how the child ended that was to undo a step."""
    child = state.child
    assert child is not None, f"{step.name} has no child"
    assert step.undo is not None, f"{step.name} is not to be undone"
    itself, committed = isinstance(step.undo.work, SubSaga), child.outcome is Outcome.COMMITTED
    if itself is not committed:
        undone = not itself or child.outcome is Outcome.COMPENSATED
        record = StepUndone(step=step.name, attempt=state.attempt, undone=undone)
        return compensation.close_if_undone(move.remember(record, now_us), now_us)
    answer = Compensated(
        gid=move.state.gid,
        step=step.name,
        attempt=state.attempt,
        result=Result.REFUSED if itself else Result.FAILED,
        reason=f"{child.gid} stands" if itself else child.reason,
    )
    fail = compensation.refused if itself else compensation.failed
    further = fail(move.state, answer, now_us)
    return replace(move, state=further.state, records=(*move.records, *further.records))


def _spawn(move: Move, step: Step, state: StepState, data: Any, now_us: int) -> Move:
    """Let a child begin. That it has is true from here on: the same commit holds both."""
    undoing = state.phase is StepPhase.UNDOING
    work = step.undo.work if undoing and step.undo is not None else step.work
    name = label(step.name, state.attempt, undoing=undoing)
    move = _noted(move, step, state, now_us)
    if isinstance(work, SubSaga):  # what is published by this name, the turn will say
        spawn = Spawn(step.name, name, "", state.attempt, work, data)
    else:
        assert isinstance(work, Group), f"{step.name} has no child"
        gid = gids.child(move.state.gid, name)
        began = ChildBegan(step=step.name, child=gid, attempt=state.attempt, undoing=undoing)
        move = move.remember(began, now_us)
        spawn = Spawn(step.name, name, gid, state.attempt, work.definition, data)
    return replace(move, errands=(*move.errands, spawn))


def _noted(move: Move, step: Step, state: StepState, now_us: int) -> Move:
    """Note that a step's attempt is seen to."""
    sent = Asked((state.phase, state.attempt, state.since_us), now_us)
    asked = {**move.state.asked, step.name: sent}
    return replace(move, state=replace(move.state, asked=asked))
