"""What is wrong with a definition, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

Code: TypeAlias = Literal[
    # the text
    "alias",
    "documents",
    "duplicate-key",
    "empty",
    "encoding",
    "tag",
    "too-deep",
    "too-large",
    "yaml",
    # its shape
    "kind",
    "missing",
    "name",
    "shape",
    "two-works",
    "unknown-word",
    # what it refers to
    "cycle",
    "expression",
    "input-schema",
    "may-be-skipped",
    "match-key",
    "not-done-yet",
    "part-cycle",
    "part-unknown",
    "not-evaluated",
    "schedule",
    "schedule-input",
    "unknown-input",
    "unknown-step",
    # how it could end
    "asks-nobody",
    "budget-short",
    "confirm-elsewhere",
    "deadline-short",
    "each-misplaced",
    "max-short",
    "no-way-back",
    "pivot-concurrent",
    "pivot-undo",
    "reply-loop",
    "tcc-past-pivot",
    "tcc-undo",
    "sensitive-key",
    "two-pivots",
    "two-starts",
    "undo-after-pivot",
    "undo-cannot-fail",
    "undo-elsewhere",
    "undo-missing",
    "undo-needs-reply",
    "version-twice",
]
"""Every code that `twofold check` gives. They are stable; docs/codes.md explains each."""


class Problem(NamedTuple):
    """One thing that is wrong. ``line`` and ``column`` count from 1."""

    code: Code
    message: str
    hint: str
    file: str
    line: int
    column: int
    excerpt: str

    def __str__(self) -> str:
        """Write it as compilers do: place, sentence, the line, and a caret with the hint."""
        what = f"{self.file}:{self.line}:{self.column}: error[{self.code}]: {self.message}"
        return f"{what}\n{pointed(self.line, self.column, self.excerpt, self.hint)}"

    def as_json(self) -> dict[str, str | int]:
        """Return it as an object for other tools."""
        return self._asdict()


def pointed(line: int, column: int, excerpt: str, hint: str = "") -> str:
    """Show a line, and point at a place in it."""
    margin = " " * (len(str(line)) + 2)
    caret = " " * (column - 1) + "^" + (f" {hint}" if hint else "")
    return f" {line} | {excerpt}\n{margin}| {caret}"


class DefinitionInvalid(Exception):
    """A definition that may not be published; holds all its problems, first things first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems), key=lambda p: (p.line, p.column, p.code))
        super().__init__("\n".join(map(str, self.problems)))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggest the nearest of the known words, or list them."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"known here: {', '.join(words)}" if words else ""
