"""What can go wrong with a definition: one thing at a time, at each of its parts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from coordinator.rehearsal.actors import Act, Answer, Part, Script
from coordinator.rehearsal.play import Crash
from sagas.graph import ancestors
from sagas.model import (
    AnyDefinition,
    Approve,
    Atomic,
    Group,
    OnRefused,
    OnTimeout,
    OnUnknown,
    Saga,
    Step,
    Wait,
)

Acts: TypeAlias = Mapping[tuple[str, Part], tuple[Act, ...]]


class Scenario(NamedTuple):
    """One run: what is wrong, and what the participants do."""

    name: str
    acts: Acts
    crash: Crash | None = None
    held: bool = False
    """Whether somebody else has its locks."""

    @property
    def script(self) -> Script:
        """What the participants are told to do."""
        return {what: tuple(map(Answer, acts)) for what, acts in self.acts.items()}


_STEP: Final = (
    ("{} is refused", (Act.REFUSED,)),
    ("{} is busy at first", (Act.BUSY, Act.DONE)),
    ("{} is busy for ever", (Act.BUSY,)),
    ("{} fails at first", (Act.FAILED, Act.DONE)),
    ("{} fails every time", (Act.FAILED,)),
    ("{}: its first answer is lost", (Act.LOST, Act.DONE)),
    ("{} answers only after the deadline", (Act.LATE,)),
    ("{}: it is done, and no answer comes", (Act.LOST,)),
    ("{}: it is not done, and no answer comes", (Act.NOTHING,)),
)
_WAIT: Final = (
    ("{}: its event comes too early", (Act.EARLY,)),
    ("{}: its event never comes", (Act.NOTHING,)),
)
_APPROVE: Final = (
    ("{} is refused by a person", (Act.REFUSED,)),
    ("{}: nobody decides", (Act.NOTHING,)),
)
_UNDO: Final = (
    ("undoing {} fails at first", (Act.FAILED, Act.DONE)),
    ("undoing {} fails every time", (Act.FAILED,)),
    ("undoing {} is refused", (Act.REFUSED,)),
    ("undoing {}: it is undone, and no answer comes", (Act.LOST,)),
)
_BRANCH: Final = (
    ("{} votes no", (Act.REFUSED,)),
    ("{} is busy at first", (Act.BUSY, Act.DONE)),
    ("{} only reads", (Act.READ_ONLY,)),
    ("{}: its first vote is lost", (Act.LOST, Act.DONE)),
    ("{} votes only after the deadline", (Act.LATE,)),
    ("{}: it is prepared, and no vote comes", (Act.LOST,)),
    ("{}: it is not prepared, and no vote comes", (Act.NOTHING,)),
)
_END: Final = (
    ("{} does not hear the decision at first", (Act.NOTHING, Act.NOTHING, Act.DONE)),
    ("{}: that it has heard is lost at first", (Act.LOST, Act.DONE)),
)
_CRASH: Final = "the coordinator crashes {}"
_UNSENT: Final = "the coordinator crashes before it sends {}"


HEALTHY: Final = Scenario("nothing goes wrong", {})


def scenarios(
    definition: AnyDefinition, wanted: Collection[str], of: Collection[str] | None = None
) -> Iterator[Scenario]:
    """Yield each run in which one thing goes wrong, with one ``of`` these parts, or any.

    A step that is not ``wanted`` is never asked for, so nothing can be wrong with it.
    """
    if isinstance(definition, Saga):
        names = [name for name in definition.steps if name in wanted]
        if definition.lock is not None and of is None:
            yield Scenario("another transaction has its lock", {}, held=True)
        yield from _of_saga(definition, names, names if of is None else of)
    else:
        yield from _of_atomic(definition)


def without(step: Step) -> Iterator[Scenario]:
    """Yield the runs in which the saga goes on without a step, perhaps elsewhere."""
    if step.on_refused is OnRefused.CONTINUE:
        yield Scenario(f"{step.name} is refused", {(step.name, Part.DO): (Act.REFUSED,)})
    if isinstance(step.work, Wait | Approve) and step.work.on_timeout is OnTimeout.CONTINUE:
        said, acts = (_WAIT if isinstance(step.work, Wait) else _APPROVE)[-1]
        yield Scenario(said.format(step.name), {(step.name, Part.DO): acts})


def both(first: Scenario, then: Scenario) -> Scenario:
    """Return the run in which two things go wrong."""
    return then._replace(name=f"{first.name}, and {then.name}", acts={**first.acts, **then.acts})


def _of_saga(saga: Saga, wanted: Collection[str], of: Collection[str]) -> Iterator[Scenario]:
    for name in of:
        work = saga.steps[name].work
        if isinstance(work, Group):
            yield from _of_atomic(work.definition, f"{name}.")
            continue
        if not saga.steps[name].has_effect:
            yield from _of_waiting(saga.steps[name])
            continue
        for said, acts in _STEP:
            yield Scenario(said.format(name), {(name, Part.DO): acts})
        yield Scenario(_UNSENT.format(name), {}, Crash(name, Part.DO, answered=False))
        yield Scenario(_CRASH.format(f"after {name}"), {}, Crash(name, Part.DO, answered=True))
    for name in of:
        if saga.steps[name].undo is None:
            continue
        # Something goes wrong only after this step is done, so that it is undone.
        last = _last_before_pivot(saga, name, wanted)
        if _never_turns(saga.steps[last]):
            continue
        why: Acts = {(_asked_first(saga, last), Part.DO): (_turns(saga.steps[last], name),)}
        if isinstance(saga.steps[name].work, Group):
            yield from _undo_of_group(saga.steps[name], why if last != name else {})
            continue
        for said, acts in _UNDO:
            yield Scenario(said.format(name), {**why, (name, Part.UNDO): acts})
        undo = _UNSENT.format(f"the undo of {name}")
        yield Scenario(undo, why, Crash(name, Part.UNDO, answered=False))
        undo = _CRASH.format(f"after {name} is undone")
        yield Scenario(undo, why, Crash(name, Part.UNDO, answered=True))


def _never_turns(step: Step) -> bool:
    """Tell whether a saga goes on whatever becomes of a step: of a part, silence is a no."""
    return step.is_apart and step.on_refused is OnRefused.CONTINUE


def _turns(last: Step, name: str) -> Act:
    """Tell what of the last step turns a saga back, so that a step is undone."""
    if last.name != name and last.on_refused is not OnRefused.CONTINUE:
        return Act.REFUSED
    # Of its own step that leaves nothing to undo; but it is asked for all the same.
    return Act.FAILED if last.on_unknown is OnUnknown.PARK else Act.LOST


def _of_waiting(step: Step) -> Iterator[Scenario]:
    """What may come for a step that asks nobody."""
    kinds = _WAIT if isinstance(step.work, Wait) else _APPROVE
    for said, acts in kinds if isinstance(step.work, Wait | Approve) else ():
        yield Scenario(said.format(step.name), {(step.name, Part.DO): acts})
    if isinstance(step.work, Wait):
        said = f"the coordinator crashes as {step.name} begins to wait"
        yield Scenario(said, {}, Crash(step.name, Part.DO, answered=False))


def _last_before_pivot(saga: Saga, name: str, wanted: Collection[str]) -> str:
    """Find the last step that needs this one and may still turn the saga back, or itself."""
    turns = saga.pivot is not None and saga.pivot.on_refused is not OnRefused.CONTINUE
    if saga.pivot is not None and turns and saga.pivot.name in wanted:
        return saga.pivot.name
    needs = {step.name: step.needs for step in saga.steps.values()}
    before = {one: ancestors(needs, one) for one in wanted}
    pivot = saga.pivot.name if saga.pivot is not None else None
    later = [
        one
        for one in wanted
        if name in before[one]
        and one != pivot
        and pivot not in before[one]
        and saga.steps[one].has_effect
        and not _never_turns(saga.steps[one])
    ]
    return later[-1] if later else name


def _asked_first(saga: Saga, step: str) -> str:
    """Name what is asked for a step: the step, or the first branch of an atomic one."""
    work = saga.steps[step].work
    return f"{step}.{next(iter(work.definition.branches))}" if isinstance(work, Group) else step


def _undo_of_group(step: Step, why: Acts) -> Iterator[Scenario]:
    """Yield what can go wrong with undoing an atomic step, if anything comes after it."""
    work = step.undo.work if step.undo is not None else None
    for branch in work.definition.branches if why and isinstance(work, Group) else ():
        no: Acts = {
            (f"{step.name}.undo.{n}.{branch}", Part.DO): (Act.REFUSED,) for n in range(1, 6)
        }
        first = dict(list(no.items())[:1])
        what = f"undoing {step.name}: {branch}"
        yield Scenario(f"{what} votes no at first", {**why, **first})
        yield Scenario(f"{what} votes no every time", {**why, **no})
        ask = Crash(f"{step.name}.undo.1.{branch}", Part.DO, answered=True)
        yield Scenario(_CRASH.format(f"after {what} has voted"), why, ask)


def _of_atomic(atomic: Atomic, prefix: str = "") -> Iterator[Scenario]:
    for name in (f"{prefix}{branch}" for branch in atomic.branches):
        for said, acts in _BRANCH:
            yield Scenario(said.format(name), {(name, Part.DO): acts})
        for said, acts in _END if len(atomic.branches) > 1 else ():
            yield Scenario(said.format(name), {(name, Part.END): acts})
        yield Scenario(_UNSENT.format(name), {}, Crash(name, Part.DO, answered=False))
        voted = _CRASH.format(f"after {name} has voted")
        yield Scenario(voted, {}, Crash(name, Part.DO, answered=True))
        if len(atomic.branches) > 1:
            said = _UNSENT.format(f"the decision to {name}")
            yield Scenario(said, {}, Crash(name, Part.END, answered=False))
