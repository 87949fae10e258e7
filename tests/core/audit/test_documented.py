"""Operations names every kind of finding."""

from __future__ import annotations

from pathlib import Path

from audit.findings import Kind


def test_every_finding_is_in_the_manual() -> None:
    """Whoever sees one can look it up."""
    text = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    assert [kind for kind in Kind if f"`{kind}`" not in text] == []
