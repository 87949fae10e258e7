"""What is known of one transaction: from the log, and from its definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from coordinator.core.records import (
    AnyRecord,
    Begun,
    Closed,
    Decision,
    LetGo,
    Moved,
    StepSpread,
)
from coordinator.core.records import Outcome as Ending
from sagas.each import spread, spread_alike
from sagas.model import AnyDefinition, Atomic, Saga
from tests.simulation.database import Database
from wire import gids

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
    """For good: nobody takes it back any more."""
    let_go: bool = False
    steps_done: set[str] = field(default_factory=set[str])
    children: set[str] = field(default_factory=set[str])
    """All that ever began."""
    returned: set[str] = field(default_factory=set[str])
    """Those of them that have ended."""
    without: set[str] = field(default_factory=set[str])
    """Steps that were refused, and are gone without."""
    stuck: set[str] = field(default_factory=set[str])
    """Steps that could not be undone, which is not to keep others from it."""

    told: set[Ending] = field(default_factory=set[Ending])
    """What it was to tell: also that it was parked, before it was moved."""
    moved: bool = False
    short: bool = False
    """Whether it was moved to a version that leaves out a step, and the step's money with it."""

    def goes_otherwise(
        self, record: StepSpread | Moved, by_hash: Mapping[str, AnyDefinition]
    ) -> bool:
        """Note by which definition it goes from now on; False if that does not fit what is done."""
        if isinstance(record, StepSpread):
            self.definition = spread(self.saga, record.step, record.count)
            return True
        old, newer = self.saga, by_hash[record.definition]
        assert isinstance(newer, Saga)
        new = spread_alike(newer, old)
        self.short |= any(
            wanted(old, name) and not wanted(new, name)
            for name in new.steps.keys() & old.steps.keys() - self.steps_done
        )
        self.definition, self.moved = self._settled(new), True
        done = [name for name in self.steps_done if name in new.steps]
        ready = all(self.steps_done.issuperset(new.steps[name].needs) for name in done)
        acts = {name for name in done if old.steps[name].has_effect}
        return ready and all(built_on(old, n) & acts == built_on(new, n) & acts for n in acts)

    def _settled(self, new: Saga) -> Saga:
        """Let what is done, or was passed by, be so whatever a newer version wants."""
        steps = {
            name: replace(step, condition=self.saga.steps[name].condition)
            if name in self.steps_done
            else step
            for name, step in new.steps.items()
        }
        return replace(new, steps=steps)

    def does(self, step: str) -> bool:
        """Note that a step is done; False if it was before."""
        first = step not in self.steps_done
        self.steps_done.add(step)
        return first

    def tells(self, outcome: Ending) -> None:
        """Note how it has ended, or that it is parked."""
        self.outcome = outcome
        self.told.add(outcome)

    def goes_without(self, name: str) -> bool:
        """Tell whether a step was refused, or the try was that it would confirm."""
        return not {name, self.saga.steps[name].confirms}.isdisjoint(self.without)

    def closes(self, record: AnyRecord) -> None:
        """Note whether it is over for good."""
        if isinstance(record, Closed):
            self.closed = (
                record.outcome is not Ending.COMMITTED or self.part_of is None or self.let_go
            )
        elif isinstance(record, LetGo):
            self.let_go, self.closed = True, self.outcome not in (None, Ending.PARKED)

    @property
    def held(self) -> bool:
        """Whether it is done, and may yet have to go back."""
        saga = isinstance(self.definition, Saga)
        return (
            saga
            and self.part_of is not None
            and self.outcome is Ending.COMMITTED
            and not self.closed
        )

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


def of_saga(begun: Begun) -> tuple[str, str, bool] | None:
    """Tell which saga a transaction is a part of, of which step, and whether it undoes it."""
    return (begun.parent, begun.step, "undo/" in begun.key) if begun.parent else None


def named(name: str) -> Part:
    """Read the name of a prepared transaction."""
    parsed = gids.parse_prepared(name)
    assert parsed is not None, name
    return str(parsed[0]), parsed[1]


def has_row(database: Database, gid: str, branch: str, status: str) -> bool:
    """Tell whether a database says this of a branch."""
    row: Any = database.rows.get(("branch", gid, branch))
    return row is not None and row.status == status


def wanted(definition: Saga, step: str) -> bool:
    """Tell whether a step is there, and its condition holds; here, none asks anything."""
    if step not in definition.steps:
        return False
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
