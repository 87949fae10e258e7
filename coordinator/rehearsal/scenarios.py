"""What can go wrong with a definition: one thing at a time, at each of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from coordinator.rehearsal.actors import Act, Part, Script
from sagas.model import AnyDefinition, Atomic, Saga


class Scenario(NamedTuple):
    """One run: what is wrong, and what the participants do."""

    name: str
    script: Script
    crash_after: str = ""
    """The step or branch whose first answer the coordinator does not survive."""


_STEP: Final = (
    ("{} is refused", (Act.REFUSED,)),
    ("{} is busy at first", (Act.BUSY, Act.DONE)),
    ("{} is busy for ever", (Act.BUSY,)),
    ("{} fails at first", (Act.FAILED, Act.DONE)),
    ("{} fails every time", (Act.FAILED,)),
    ("{}: its first answer is lost", (Act.LOST, Act.DONE)),
    ("{}: it is done, and no answer comes", (Act.LOST,)),
    ("{}: it is not done, and no answer comes", (Act.NOTHING,)),
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
    ("{}: it is prepared, and no vote comes", (Act.LOST,)),
    ("{}: it is not prepared, and no vote comes", (Act.NOTHING,)),
)
_END: Final = (
    ("{} does not hear the decision at first", (Act.NOTHING, Act.NOTHING, Act.DONE)),
    ("{}: that it has heard is lost at first", (Act.LOST, Act.DONE)),
)


def scenarios(definition: AnyDefinition) -> Iterator[Scenario]:
    """Yield the run in which nothing goes wrong, and then each in which one thing does."""
    yield Scenario("nothing goes wrong", {})
    yield from _of_saga(definition) if isinstance(definition, Saga) else _of_atomic(definition)


def _of_saga(saga: Saga) -> Iterator[Scenario]:
    for name in saga.steps:
        for said, acts in _STEP:
            yield Scenario(said.format(name), {(name, Part.DO): acts})
        yield Scenario(f"the coordinator crashes after {name}", {}, name)
    for name, step in saga.steps.items():
        if step.undo is None:
            continue
        # What is asked for last before the pivot goes wrong too: it all goes back.
        last = _last_before_pivot(saga)
        why = {(last, Part.DO): (Act.LOST if last == name else Act.REFUSED,)}
        for said, acts in _UNDO:
            yield Scenario(said.format(name), {**why, (name, Part.UNDO): acts})
        yield Scenario(f"the coordinator crashes while {name} is undone", why, f"undo {name}")


def _last_before_pivot(saga: Saga) -> str:
    if saga.pivot is not None:
        return saga.pivot.name
    return tuple(saga.steps)[-1]


def _of_atomic(atomic: Atomic) -> Iterator[Scenario]:
    for name in atomic.branches:
        for said, acts in _BRANCH:
            yield Scenario(said.format(name), {(name, Part.DO): acts})
        for said, acts in _END if len(atomic.branches) > 1 else ():
            yield Scenario(said.format(name), {(name, Part.END): acts})
        yield Scenario(f"the coordinator crashes after {name} has voted", {}, name)
