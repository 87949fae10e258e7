"""Transactions of other shapes: more branches, more steps, larger inputs.

Each is a definition and the inputs for it. No two transactions in flight
touch the same row, as in the workload that is compared with the floors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.truth import Untrue, ask
from tests.bench.workload import ACCOUNTS, BANKS, SERVICES, key

BALANCE: Final = "SELECT coalesce(sum(balance), 0)::bigint FROM account"
BOOKINGS: Final = "SELECT count(*) FROM booking"


@dataclass(frozen=True, slots=True)
class Shape:
    """A definition whose parts all do the same, and how much each is told."""

    name: str
    parts: int
    atomic: bool
    note_bytes: int = 200
    delay: str = ""

    @property
    def source(self) -> str:
        """The definition."""
        kind, what = ("atomic", "branches") if self.atomic else ("saga", "steps")
        start = [f"start: {{delay: {self.delay}}}"] if self.delay else []
        lines = [f"{kind}: {self.name}", "version: 1", *start, f"{what}:"]
        for part, where in enumerate(self._places):
            if self.atomic:
                call = f"{where.replace('_', '-')}.move"
                given = f'account: "${{ input.a{part} }}", amount: 1'
            else:
                call = f"{where}.book"
                given = f'id: "${{ input.a{part} }}", note: "${{ input.note }}"'
            undo = "" if self.atomic else f", undo: {where}.cancel"
            lines.append(f"  p{part}: {{call: {call}, with: {{{given}}}{undo}}}")
        return "\n".join(lines) + "\n"

    def event(self, n: int) -> dict[str, Any]:
        """Return the input of the n-th."""
        if self.atomic:
            return {f"a{part}": (n * self.parts + part) % ACCOUNTS for part in range(self.parts)}
        ids = {f"a{part}": f"{self.name}/{key(n)}/{part}" for part in range(self.parts)}
        return {**ids, "note": "x" * self.note_bytes}

    def effects(self, committed: int) -> Counter[str]:
        """Tell by how much each database's sum grows with so many."""
        return Counter({place: n * committed for place, n in Counter(self._places).items()})

    @property
    def _places(self) -> list[str]:
        databases = BANKS if self.atomic else SERVICES
        return [databases[part % len(databases)] for part in range(self.parts)]


BRANCHES: Final = {n: Shape(f"branches-{n}", n, atomic=True) for n in (2, 4, 8)}
STEPS: Final = {n: Shape(f"steps-{n}", n, atomic=False) for n in (3, 10, 30)}
PAYLOADS: Final = {
    n: Shape(f"payload-{n}", 3, atomic=False, note_bytes=n) for n in (400, 4_000, 40_000)
}
SLEEPER: Final = Shape("sleeper", 3, atomic=False, delay="3m")
DREAMER: Final = Shape("dreamer", 3, atomic=False, delay="12h")
ALL: Final[Mapping[str, Shape]] = {
    **{shape.name: shape for shapes in (BRANCHES, STEPS, PAYLOADS) for shape in shapes.values()},
    SLEEPER.name: SLEEPER,
    DREAMER.name: DREAMER,
}


def event(name: str, n: int) -> dict[str, Any]:
    """Return the input of the n-th transaction of a shape."""
    return ALL[name].event(n)


def write(directory: Path) -> Path:
    """Write all definitions to a folder."""
    directory.mkdir(parents=True, exist_ok=True)
    for shape in ALL.values():
        (directory / f"{shape.name}.yaml").write_text(shape.source, encoding="utf-8")
    return directory


class Sums:
    """What all databases together must hold."""

    def __init__(self) -> None:
        self._expected: Counter[str] = Counter()

    async def check(self, dsn: Any, shape: Shape, committed: int) -> None:
        """Raise Untrue unless each effect of these happened once."""
        self._expected += shape.effects(committed)
        for place in (*BANKS, *SERVICES):
            [[found]] = await ask(dsn(place), BALANCE if place in BANKS else BOOKINGS)
            if found != self._expected[place]:
                raise Untrue(f"{place}: {found} effects, not {self._expected[place]}")
