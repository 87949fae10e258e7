"""What a mutant is, and how it is planted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
TREE: Final = (
    "wire",
    "sagas",
    "coordinator",
    "participants",
    "compose",
    "audit",
    "recovery",
    "tests",
    "docs",
)


class Mutant(NamedTuple):
    """One bug: where, what was there, what is there instead, and what that breaks."""

    name: str
    file: str
    old: str
    new: str
    breaks: str


class Rotten(Exception):
    """The text that a mutant replaces is not there exactly once."""


def mutated(mutant: Mutant) -> str:
    """Return the file with the bug in it. Raises Rotten."""
    text = (ROOT / mutant.file).read_text()
    found = text.count(mutant.old)
    if found != 1:
        raise Rotten(f"{mutant.name}: its text is {found} times in {mutant.file}")
    return text.replace(mutant.old, mutant.new)


def plant(mutant: Mutant, into: Path) -> None:
    """Copy the source tree, with the bug in it."""
    for name in TREE:
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(ROOT / name, into / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):  # tests read the definitions in it
        shutil.copy(ROOT / name, into)
    (into / mutant.file).write_text(mutated(mutant))
