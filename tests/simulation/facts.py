"""What is known of one transaction: from the log, and from its definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from coordinator.core.records import Decision
from coordinator.core.records import Outcome as Ending
from sagas.model import AnyDefinition, Atomic, Saga

Part = tuple[str, str]
"""A gid, and the name of a branch or step."""


@dataclass
class Facts:
    """What the log durably says of one transaction."""

    definition: AnyDefinition
    part_of: tuple[str, str, bool] | None = None
    """Its saga, which step of that it does, and whether it undoes it."""
    entries: int = 0
    decision: Decision | None = None
    withdrawn: bool = False
    going_back: bool = False
    outcome: Ending | None = None
    closed: bool = False
    steps_done: set[str] = field(default_factory=set[str])
    children: set[str] = field(default_factory=set[str])
    """All that ever began."""
    returned: set[str] = field(default_factory=set[str])
    """Those of them that have ended."""
    without: set[str] = field(default_factory=set[str])
    """Steps that were refused, and are gone without."""
    stuck: set[str] = field(default_factory=set[str])
    """Steps that could not be undone, which is not to keep others from it."""

    def goes_without(self, name: str) -> bool:
        """Tell whether a step was refused, or the try was that it would confirm."""
        return not {name, self.saga.steps[name].confirms}.isdisjoint(self.without)

    @property
    def saga(self) -> Saga:
        assert isinstance(self.definition, Saga)
        return self.definition

    @property
    def atomic(self) -> Atomic:
        assert isinstance(self.definition, Atomic)
        return self.definition


def did(known: Mapping[str, Facts], gid: str, step: str, *, undoing: bool = False) -> bool:
    """Tell whether a transaction has committed that does a step of a saga, or undoes it."""
    part = (gid, step, undoing)
    return any(f.part_of == part and f.outcome is Ending.COMMITTED for f in known.values())


def wanted(definition: Saga, step: str) -> bool:
    """Tell whether a step's condition holds; here, no condition asks anything."""
    condition = definition.steps[step].condition
    return condition is None or bool(condition({}))


def built_on(definition: Saga, step: str) -> set[str]:
    """Name the steps that need this one, or need one that does."""
    above: set[str] = set()
    todo = [step]
    while todo:
        new = set(definition.dependents[todo.pop()]) - above
        above |= new
        todo += new
    return above
