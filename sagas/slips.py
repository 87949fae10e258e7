"""Slips of the pen: an expression names a field of the input almost as the schema does.

A field that the schema does not name may come all the same, so only what is
nearly one of its names is taken for a mistake. Without this, it would be found
when the first start is aborted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any, Final, cast

from sagas.problems import Problem
from sagas.source import Path, Source
from sagas.templates import texts

_EXPRESSIONS: Final = frozenset({"if", "key", "each", "match"})
"""Words whose whole text is an expression; elsewhere, it stands between `${` and `}`."""

_HOLE: Final = re.compile(r"\$\{(.*?)\}", re.DOTALL)
_FIELD: Final = re.compile(r"(?<![\w.'\"])input\s*\.\s*([A-Za-z_]\w*)")
_ELSEWHERE: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties"})
"""Where a schema has one of these, it may name fields in other places."""

NEAR: Final = 0.8
"""How like two words are that are taken for one; see `difflib`."""


def slips(source: Source) -> Iterator[Problem]:
    """Find names that are nearly fields of the input."""
    known = _named(source.value.get("input"))
    for part in ("lock", "steps", "branches", "output"):
        for text, path in texts(source.value.get(part), (part,)):
            found: list[str] = _FIELD.findall(_expressions(text, path))
            for name in dict.fromkeys(found):
                near = difflib.get_close_matches(name, known - {name}, n=1, cutoff=NEAR)
                if near and name not in known:
                    said = f"`input` has no `{name}`: did you mean `{near[0]}`?"
                    hint = f"if both are meant, name `{name}` below `properties` as well"
                    yield source.problem("unknown-input", said, hint, path=path)


def _named(schema: Any) -> set[str]:
    """Return the fields that a schema names, if it names them here."""
    said = cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}
    if not _ELSEWHERE.isdisjoint(said):
        return set()
    return {*said.get("properties", ()), *said.get("required", ())}


def _expressions(text: str, path: Path) -> str:
    return text if path[-1] in _EXPRESSIONS else " ".join(_HOLE.findall(text))
