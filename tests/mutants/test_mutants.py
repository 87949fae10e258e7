"""No mutant rots: each text is still there, once, and what replaces it is still Python."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.command import MUTANTS, judge
from tests.mutants.mutant import Mutant, Rotten, mutated, plant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_can_be_planted(mutant: Mutant) -> None:
    ast.parse(mutated(mutant))


def test_names_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25


def test_a_mutant_whose_text_is_gone_is_an_error() -> None:
    with pytest.raises(Rotten, match="0 times"):
        mutated(MUTANTS[0]._replace(old="no such text"))


def test_the_killers_run_where_a_mutant_is_planted(tmp_path: Path) -> None:
    """What cannot be collected there would count every mutant as found."""
    plant(MUTANTS[0], tmp_path)
    asked = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/core"]
    there = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(
        asked, cwd=tmp_path, env=there, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-2000:]


def test_a_mutant_is_found() -> None:
    """One of them, as a sample: `make mutants` judges all."""
    (mutant,) = (m for m in MUTANTS if m.name == "takes silence for a yes")

    verdict = judge(mutant, seeds=1)

    assert verdict.killer == "search"
    assert verdict.violated == "decided to commit without a durable yes"
