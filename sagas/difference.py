"""What differs between two versions of a definition, in the words in which they are written.

A step is known by its name. What it needs without saying so is said, since a
step that is put between two others changes what the second one waits for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple, cast

from sagas.source import Source

LONGEST: Final = 60
"""Characters of a value that are shown."""

_NOTHING: Final = object()


class How(StrEnum):
    """What became of a step in the newer version."""

    SAME = "same"
    CHANGED = "changed"
    NEW = "new"
    GONE = "gone"


class StepDifference(NamedTuple):
    """A step, and its words that differ: `with.sum: ${ input.a } → ${ input.b }`."""

    name: str
    how: How
    words: tuple[str, ...] = ()


class Difference(NamedTuple):
    """Words outside of steps, and all steps: in the newer version's order, then what is gone."""

    words: tuple[str, ...]
    steps: tuple[StepDifference, ...]


def difference(old: str, new: str) -> Difference:
    """Compare the sources of two definitions, both of which were published once."""
    before, after = (Source(text, "").value for text in (old, new))
    was, now = _steps(before), _steps(after)
    steps = [_step(name, was.get(name), step) for name, step in now.items()]
    steps += [StepDifference(name, How.GONE) for name in was if name not in now]
    return Difference(tuple(_words(_rest(before), _rest(after))), tuple(steps))


def _step(name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> StepDifference:
    if old is None:
        return StepDifference(name, How.NEW)
    words = tuple(_words(old, new))
    return StepDifference(name, How.CHANGED if words else How.SAME, words)


def _steps(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    steps: dict[str, dict[str, Any]] = {}
    before: list[str] = []
    for name, step in document.get("steps", {}).items():
        steps[name] = {"needs": before, **step}
        before = [name]
    return steps


def _rest(document: Mapping[str, Any]) -> dict[str, Any]:
    return {word: said for word, said in document.items() if word not in ("steps", "version")}


def _words(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    before, after = dict(_flat(old)), dict(_flat(new))
    for path in dict.fromkeys([*after, *before]):
        was, now = before.get(path, _NOTHING), after.get(path, _NOTHING)
        if was != now:
            yield f"{path}: {_shown(was)} → {_shown(now)}"


def _flat(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for word, said in value.items():
        if isinstance(said, dict) and said:
            yield from _flat(cast("dict[str, Any]", said), f"{path}{word}.")
        else:
            yield f"{path}{word}", said


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
