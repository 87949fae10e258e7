"""What is wrong with a definition, where, and what to do about it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, TypeAlias

_SHOWN: Final = 160
_UNSEEN: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
"""What a terminal would obey, or not show."""

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
    "own-topic",
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
    """Show a line, or what of a long one is about a place in it, and point at the place."""
    left = max(0, column - 1 - _SHOWN // 2) if len(excerpt) > _SHOWN else 0
    shown = _UNSEEN.sub("\ufffd", excerpt[left : left + _SHOWN])
    begun, ended = "…" * (left > 0), "…" * (len(excerpt) > left + _SHOWN)
    # A tab below a tab is as wide as that.
    before = re.sub(r"[^\t]", " ", begun + shown[: column - 1 - left])
    caret = f"{before}^{f' {hint}' if hint else ''}"
    return f" {line} | {begun}{shown}{ended}\n{' ' * (len(str(line)) + 2)}| {caret}"


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
