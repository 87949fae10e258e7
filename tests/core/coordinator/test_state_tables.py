"""The published tables are those that run."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def test_the_state_tables_are_current() -> None:
    """Run ``python docs/state_tables.py`` after changing a rule."""
    page = runpy.run_path(str(DOCS / "state_tables.py"))["render"]()

    assert (DOCS / "state-tables.md").read_text() == page
