"""The gallery: definitions from real life that are right, rehearsed, and explained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from coordinator.cli import main
from coordinator.rehearsal.run import Verdict, rehearse
from coordinator.rehearsal.sample import sample_input, sample_results
from sagas.loader import load

ROOT = Path(__file__).parents[3]
GALLERY = sorted((ROOT / "sagas" / "gallery").glob("*.yaml"))
SCENARIOS = ROOT / "sagas" / "gallery" / "scenarios"
RESULTS: Final[dict[str, dict[str, Any]]] = {"loan-payout": {"score": {"points": 70}}}
"""What steps return where a made-up text would not do."""


def name_of(file: Path) -> str:
    return file.stem


@pytest.mark.parametrize("file", GALLERY, ids=name_of)
def test_a_definition_is_whole_whatever_goes_wrong(file: Path) -> None:
    """It is right, commits if nothing goes wrong, and never ends half done."""
    definition = load(file.read_text(), file.name)
    assert definition.name == file.stem
    made = sample_input(definition)
    definition.check_input(made)
    data = {**sample_results(definition), **RESULTS.get(file.stem, {})}
    found = rehearse(definition, made, data)

    assert found[0].outcome == "COMMITTED", found[0].reason
    assert {end.verdict for end in found} <= {Verdict.WHOLE, Verdict.WAITS}


@pytest.mark.parametrize("file", GALLERY, ids=name_of)
def test_its_scenarios_pass(file: Path) -> None:
    """Each has some, and they are played as `twofold test` plays them."""
    result = CliRunner().invoke(main.app, ["test", str(SCENARIOS / file.name)])
    assert result.exit_code == 0, result.output
    assert result.output.count("  passed  ") >= 3


def test_the_page_explains_each_of_them() -> None:
    """In two paragraphs."""
    page = (ROOT / "docs" / "gallery.md").read_text()
    told = re.findall(r"(?ms)^## \[([a-z-]+)\]\(\S+\)\n\n(.*?)(?=^## |\Z)", page)
    assert sorted(name for name, _ in told) == [file.stem for file in GALLERY]
    assert {len(text.strip().split("\n\n")) for _, text in told} == {2}
