"""Moving a parked saga to a newer version: when that is sound, and what it is then.

A step is known by its name: in the log, and in the barrier of the participant
that did it. So a step of the same name is the same step, and nothing else is.
What has begun must be in the new version, be asked of the same participant,
and keep its way back; what has not begun is as the new version says. The rules
are a table: by where a step stands, what must be so. Whatever is in no rule is
refused: a person can still retry, skip, compensate or resolve.

Nothing here awaits, reads a clock, or logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from msgspec.structs import replace

from coordinator.core import children, compensation, locking
from coordinator.core.events import Moving
from coordinator.core.orders import obeyed
from coordinator.core.records import Moved
from coordinator.core.saga import Move, close_if_done, scope, wanted
from coordinator.core.saga_state import OVER, Phase, SagaState, StepPhase
from sagas import graph
from sagas.model import (
    AnyDefinition,
    Call,
    EvaluationFailed,
    Expression,
    Group,
    InputRefused,
    Json,
    Saga,
    Step,
    SubSaga,
    Work,
)

MOST_TOLD: Final = 5
"""Objections in one answer."""


def move(saga: SagaState, event: Moving, now_us: int) -> Move:
    """Go on by another version where the saga was parked, or say why that would not be sound."""
    order, to = event.order, event.definition
    if to is None:
        refused = f"{saga.begun.name} version {order.to} is not published"
        return obeyed(saga, order, now_us, refused)
    if against := objections(saga, to):
        more = [f"and {len(against) - MOST_TOLD} more"] if len(against) > MOST_TOLD else []
        return obeyed(saga, order, now_us, "; ".join([*against[:MOST_TOLD], *more]))
    assert isinstance(to, Saga), f"{saga.gid} is a saga"
    step: Move = obeyed(saga, order, now_us)
    step = step.noting(_knowing(step.state, to))
    step = step.remember(Moved(definition=to.hash, version=to.version), now_us)
    if step.state.phase is Phase.RUNNING:
        return close_if_done(step, now_us)
    return compensation.close_if_undone(step, now_us)


def objections(saga: SagaState, to: AnyDefinition) -> list[str]:
    """Say all that speaks against moving a parked saga to this version; nothing if it may be."""
    before = saga.before
    if before is None:
        return ["only what is parked can be moved"]
    if saga.begun.parent:
        return [f"it is a part of {saga.begun.parent}"]
    if children.open_children(saga):
        return ["a transaction that is a part of it has not ended"]
    if before.phase not in (Phase.RUNNING, Phase.COMPENSATING):
        return [f"it was parked while {before.phase}"]
    if not isinstance(to, Saga) or to.name != saga.begun.name:
        return [f"{to.name} version {to.version} is no version of the saga {saga.begun.name}"]
    if to.version <= saga.begun.version:
        return [f"it goes by version {saga.begun.version}, and {to.version} is no newer one"]
    pair = Pair(before, moved(before, to))
    try:
        to.check_input(before.begun.input)
    except InputRefused as error:
        said = pair.new.veiled(before.veiled(str(error)))
        return [f"{pair.version} does not take its input: {said}"]
    rules = (_lock, _lists, _pivot, _steps, _confirms, _order)
    return [against for rule in rules for against in rule(pair)]


def moved(saga: SagaState, to: Saga) -> SagaState:
    """Return what a saga is under another version, as if it went on at once."""
    record = Moved(definition=to.hash, version=to.version)
    return _knowing(saga, to).evolve(record, saga.clock_us)


def _knowing(saga: SagaState, to: Saga) -> SagaState:
    now = saga.definition.as_written or saga.definition
    return replace(saga, versions={**saga.versions, now.hash: now, to.hash: to})


class Pair(NamedTuple):
    """A saga as it was before it was parked, and as it would be."""

    old: SagaState
    new: SagaState

    @property
    def version(self) -> str:
        return f"version {self.new.begun.version}"


# ── of the whole ─────────────────────────────────────────────────────────────


def _lock(pair: Pair) -> Iterator[str]:
    """It has the locks that the new version needs, and no others that nobody would give back."""
    lock, had = pair.new.definition.lock, pair.old.definition.lock
    if (lock is None) != (had is None):
        yield f"{pair.version} {'has no' if lock is None else 'needs a'} lock"
    elif lock is not None:
        try:
            same = locking.names(lock, scope(pair.new)) == pair.old.locks
        except EvaluationFailed:
            same = False
        if not same:
            yield f"{pair.version} needs other locks than {', '.join(pair.old.locks) or 'none'}"


def _lists(pair: Pair) -> Iterator[str]:
    """What is done for each element is done for the same elements."""
    old, new = pair.old.definition, pair.new.definition
    for name, step in (old.as_written or old).steps.items():
        if step.each is None or old.steps[name].each is not None:
            continue
        other = (new.as_written or new).steps.get(name)
        each = None if other is None else other.each
        if each is None or not _same(pair, step.each.elements, each.elements):
            yield f"{name} has begun for each of a list that {pair.version} does not have"


def _pivot(pair: Pair) -> Iterator[str]:
    """The point of no return stays where it is, once it is passed, or nobody knows."""
    names = [state.definition.pivot for state in pair]
    old, new = ("" if pivot is None else pivot.name for pivot in names)
    if old != new:
        for name in (old, new):
            if name and pair.old.has_begun(name) and _standing(pair.old, name) is not Standing.NO:
                yield f"{name} has begun, and is the pivot in one of both versions only"


def _confirms(pair: Pair) -> Iterator[str]:
    """What was tried is confirmed, and by the same call."""
    for name, step in pair.old.definition.steps.items():
        if step.confirms is None or not pair.old.has_begun(step.confirms):
            continue
        other = pair.new.definition.steps.get(name)
        if other is None or (other.confirms, other.work) != (step.confirms, step.work):
            yield f"{step.confirms} was tried, and {pair.version} does not confirm it as before"


def _order(pair: Pair) -> Iterator[str]:
    """What has begun follows what it needs, and was built on the same steps: so it is undone."""
    back = pair.old.phase is Phase.COMPENSATING
    begun = [name for name in pair.new.definition.steps if pair.old.has_begun(name)]
    effects = {name for name in begun if pair.old.definition.steps[name].has_effect}
    old, new = (_needs(state.definition) for state in pair)
    for name in begun:
        for need in new[name]:
            over = pair.new.has_begun(need) if back else pair.new.steps[need].phase in OVER
            if not over:
                yield f"{name} has begun, and in {pair.version} needs {need}, which is not done"
        built = [graph.ancestors(needs, name) & effects for needs in (old, new)]
        if name in effects and built[0] != built[1]:
            other = ", ".join(sorted(built[0] ^ built[1]))
            yield f"{name} has begun, and {pair.version} has another order between it and {other}"


def _needs(definition: Saga) -> Mapping[str, tuple[str, ...]]:
    return {step.name: step.needs for step in definition.steps.values()}


# ── of each step that has begun ──────────────────────────────────────────────


class Standing(StrEnum):
    """What is known of a step that has begun. The text is for the person who wants to move it."""

    ASKED = "was asked for, and nobody knows whether it is done"
    FAILED = "was not done, as its participant says"
    NO = "was refused, which its participant remembers"
    DONE = "is done"
    PASSED = "is over"
    STANDS = "stands, though the saga goes back"
    TO_UNDO = "is to be undone"
    UNDOING = "is being undone, and nobody knows whether it is"
    NOT_UNDONE = "was not undone, as its participant says"
    UNDONE = "is undone"


def _standing(saga: SagaState, name: str) -> Standing:
    state, known = saga.steps[name], saga.steps[name].said_no
    match state.phase:
        case StepPhase.SKIPPED:
            return Standing.PASSED
        case StepPhase.DONE:
            effect = saga.definition.steps[name].has_effect
            return Standing.DONE if effect else Standing.PASSED
        case StepPhase.EXHAUSTED:
            return Standing.FAILED if known else Standing.ASKED
        case StepPhase.STUCK:
            return Standing.NOT_UNDONE if known else Standing.UNDOING
        case _:
            return _PLAIN[state.phase]


_PLAIN: Final = {
    StepPhase.RUNNING: Standing.ASKED,
    StepPhase.REFUSED: Standing.NO,
    StepPhase.STANDING: Standing.STANDS,
    StepPhase.TO_UNDO: Standing.TO_UNDO,
    StepPhase.UNDOING: Standing.UNDOING,
    StepPhase.UNDONE: Standing.UNDONE,
}

Check: TypeAlias = Callable[[Pair, Step, Step], str]
"""The step as it was and as it would be → what speaks against it, or nothing."""


def _same_call(pair: Pair, old: Step, new: Step) -> str:
    """Its effect is what the new version takes it for."""
    if new.each is not None:  # of the whole there would be nothing to undo
        return f"{pair.version} does it for each of a list"
    if _alike(old.work, new.work) and old.confirms == new.confirms:
        return ""
    return f"{pair.version} does `{new.work}` there, and not `{old.work}`"


def _same_participant(pair: Pair, old: Step, new: Step) -> str:
    """Whoever would answer an old attempt answers the new one: so one of them is done at most."""
    if old.call and new.call and old.call.participant == new.call.participant:
        return "" if old.confirms == new.confirms else f"in {pair.version} it confirms another step"
    return f"{pair.version} asks `{new.work}`, and an old message may still reach `{old.work}`"


def _still_asked(pair: Pair, _old: Step, new: Step) -> str:
    """It is asked for again, and not passed by: an old message may still let it be done."""
    values = scope(pair.new)
    try:
        asked = new.each is None and wanted(pair.new, new, values)
        _ = new.key and new.key(values)
    except EvaluationFailed as error:
        return f"{pair.version} could not ask for it again: {pair.new.veiled(str(error))}"
    return "" if asked else f"{pair.version} would not ask for it again"


def _same_data(pair: Pair, old: Step, new: Step) -> str:
    same = _same(pair, old.data, new.data)
    return "" if same else f"its `with` is another one in {pair.version}"


def _way_back(pair: Pair, old: Step, new: Step) -> str:
    """All of it can still be undone: of branches that commit together, each that could be."""
    if _undone(old) <= _undone(new):
        return ""
    return f"{pair.version} has no undo for it"


def _same_way_back(pair: Pair, old: Step, new: Step) -> str:
    return "" if _undone(old) == _undone(new) else f"{pair.version} has another undo for it"


def _undone(step: Step) -> frozenset[str]:
    """Name the parts of a step that its undo undoes."""
    if step.undo is None:
        return frozenset()
    work = step.undo.work
    return frozenset(work.definition.branches if isinstance(work, Group) else (step.name,))


def _undo_fits(pair: Pair, old: Step, new: Step) -> str:
    """An undo without a `with` of its own gets what its step got."""
    own = new.undo is not None and new.undo.data is not None and new.undo.call is not None
    if new.undo is None or own or _same(pair, old.data, new.data):
        return ""
    return f"its undo in {pair.version} would get another `with` than it got: give it its own"


def _same_undo(pair: Pair, old: Step, new: Step) -> str:
    if old.undo and new.undo and _alike(old.undo.work, new.undo.work):
        before, after = old.undo.data or old.data, new.undo.data or new.data
        if _same(pair, before, after):
            return ""
    return f"its undo is another one in {pair.version}"


def _gone(pair: Pair, old: Step, _new: Step) -> str:
    """What is a transaction of its own is asked as another one, and remembers no no."""
    if pair.old.phase is Phase.COMPENSATING or old.is_apart:
        return ""
    return f"it would be again: give it another name in {pair.version}, or skip it"


RULES: Final[Mapping[Standing, tuple[Check, ...]]] = {
    Standing.ASKED: (_same_call, _same_data, _still_asked, _way_back),
    Standing.FAILED: (_same_participant, _still_asked, _way_back),
    Standing.NO: (_gone,),
    Standing.DONE: (_same_call, _way_back, _undo_fits),
    Standing.STANDS: (_same_call, _same_way_back),
    Standing.TO_UNDO: (_same_call, _way_back, _undo_fits),
    Standing.UNDOING: (_same_call, _same_undo),
    Standing.NOT_UNDONE: (_same_call, _way_back, _undo_fits),
    Standing.UNDONE: (_same_call,),
    Standing.PASSED: (),
}
"""For each standing, what must be so of a step that is in both versions."""

MAY_GO: Final = frozenset({Standing.NO, Standing.PASSED})
"""Of which nothing is left that anybody would have to see to."""


def _steps(pair: Pair) -> Iterator[str]:
    for name, old in pair.old.definition.steps.items():
        if not pair.old.has_begun(name):
            continue
        stands, new = _standing(pair.old, name), pair.new.definition.steps.get(name)
        if new is None:
            if stands not in MAY_GO:
                yield f"{name} {stands}; {pair.version} has no such step"
        elif stands is Standing.PASSED and type(old.work) is not type(new.work):
            yield f"{name} {stands}; {pair.version} does `{new.work}` there, and not `{old.work}`"
        else:
            for check in RULES[stands]:
                if against := check(pair, old, new):
                    yield f"{name} {stands}; {against}"
                    break


def _alike(old: Work, new: Work) -> bool:
    """Tell whether both ask the same of the same participants."""
    if isinstance(old, Group) and isinstance(new, Group):
        before, after = old.definition.branches, new.definition.branches
        return {n: b.call for n, b in before.items()} == {n: b.call for n, b in after.items()}
    return isinstance(old, Call | SubSaga) and old == new


def _same(pair: Pair, old: Expression, new: Expression) -> bool:
    """Tell whether both give the same for this saga."""
    return _value(old, pair.old) == _value(new, pair.new) is not None


def _value(expression: Expression, saga: SagaState) -> Json:
    try:
        return [expression(scope(saga))]
    except EvaluationFailed:
        return None
