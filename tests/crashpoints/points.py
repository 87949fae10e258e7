"""The crash points, as docs/guarantees.md lists them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

GUARANTEES: Final = Path(__file__).parents[2] / "docs" / "guarantees.md"
_ROW: Final = re.compile(r"^\| ([CP]\d+) \| (.+?) \|", re.MULTILINE)

OFTEN: Final = frozenset({"C4", "C5", "C10", "P1", "P2", "P3", "P4", "P6", "P7", "P12"})
"""Passed many times a second, so that it matters which time it is."""

NOT_INJECTED: Final = {
    "C8": "a decision that the log's standby lacks when it takes over: there is one Postgres,"
    " and no standby",
    "C18": "an operator's order, half carried out: it is a message like all others, and written"
    " down with what it leads to, so C4 to C7 are its points as well",
    "P13": "an effect outside the participant's database, before it is noted: it is not"
    " promised, and the services here have none",
}


class Point(NamedTuple):
    """A crash point: its name, and between what and what it lies."""

    name: str
    between: str

    @property
    def of_coordinator(self) -> bool:
        return self.name.startswith("C")

    @property
    def of_database(self) -> bool:
        return self.name == "P11"

    @property
    def nth(self) -> range:
        """How many times it may be passed before the process dies there."""
        return range(1, 9) if self.name in OFTEN else range(1, 3)


def all_points() -> list[Point]:
    """Read the table."""
    return [Point(*row) for row in _ROW.findall(GUARANTEES.read_text(encoding="utf-8"))]
