"""The table of crash points and the code name the same ones."""

from __future__ import annotations

import re
from pathlib import Path

from tests.crashpoints.points import NOT_INJECTED, all_points

ROOT = Path(__file__).parents[2]
SOURCES = [
    *(ROOT / "participants").glob("*.py"),
    ROOT / "coordinator" / "engine.py",
    ROOT / "coordinator" / "work.py",
]


def test_the_table_lists_what_the_code_has() -> None:
    """A point that nobody can look up, or that nobody can reach, is no use."""
    quoted = {name for file in SOURCES for name in re.findall(r'"([CP]\d+)"', file.read_text())}
    listed = {point.name for point in all_points() if not point.of_database}

    assert listed == quoted
    assert not listed & NOT_INJECTED.keys()
