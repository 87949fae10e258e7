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
_OF_TXN: Final = re.compile(r"(?<![\w.'\"])txn\s*\.\s*([A-Za-z_]\w*)(?!\w|\s*\()")
_TXN: Final = ("gid", "key", "definition", "version")
_ELSEWHERE: Final = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties"})
"""Where a schema has one of these, it may name fields in other places."""

NEAR: Final = 0.8
"""How like two words are that are taken for one; see `difflib`."""


def slips(source: Source) -> Iterator[Problem]:
    """Find names that are nearly fields of the input."""
    schema = source.value.get("input")
    known = _named(schema)
    yield from _misnamed(source, schema)
    yield from _never_starts(source, schema)
    for part in ("lock", "steps", "branches", "output"):
        for text, path in texts(source.value.get(part), (part,)):
            written = _expressions(text, path)
            for name in dict.fromkeys(_OF_TXN.findall(written)):
                if name not in _TXN:
                    said, hint = f"`txn` has no `{name}`", f"it has {', '.join(_TXN)}"
                    yield source.problem("expression", said, hint, path=path)
            found: list[str] = _FIELD.findall(written)
            for name in dict.fromkeys(found):
                if near := _near(name, known):
                    said = f"`input` has no `{name}`: did you mean `{near}`?"
                    yield source.problem("unknown-input", said, _both(name), path=path)


def _never_starts(source: Source, schema: Any) -> Iterator[Problem]:
    """Find what no event could ever fulfil, or would never be asked about one."""
    said = cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}
    kind = said.get("type", "object")
    if "object" not in (kind if isinstance(kind, list) else [kind]):
        text, hint = "the input is always an object, as the body of an event", "`type: object`"
        yield source.problem("input-schema", text, hint, path=("input", "type"))
    start = source.value.get("start", {})
    for word in ("when", "key"):
        if word in start and not {"topic", "every"} & start.keys():
            text = f"`topic` is missing: no event is asked for its `{word}`"
            hint = "add `topic: …`, the topic whose events start one"
            yield source.problem("missing", text, hint, path=("start", word), key=True)


def _misnamed(source: Source, schema: Any) -> Iterator[Problem]:
    """Find what is required or searched by, and is nearly a field that there is."""
    said = cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}
    known = set(said.get("properties", ())) if _ELSEWHERE.isdisjoint(said) else set[str]()
    for i, name in enumerate(said.get("required", ()) if known else ()):
        if near := _near(name, known):
            text = f"`{name}` is required: did you mean `{near}`?"
            yield source.problem("unknown-input", text, _both(name), path=("input", "required", i))
    known = _named(schema)
    for i, name in enumerate(source.value.get("index", ())):
        field = str(name).partition(".")[0]
        if field == "input" and "input" not in known:
            text, hint = f"`{name}` is a field `input` of the input", "write it without `input.`"
            yield source.problem("unknown-input", text, hint, path=("index", i))
        elif near := _near(field, known):
            text = f"`input` has no `{field}`: did you mean `{near}`?"
            yield source.problem("unknown-input", text, _both(field), path=("index", i))


def _near(name: str, known: set[str]) -> str:
    """Return the field that is probably meant, if this is none itself."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=NEAR)
    return near[0] if near and name not in known else ""


def _both(name: str) -> str:
    return f"if both are meant, name `{name}` below `properties` as well"


def _named(schema: Any) -> set[str]:
    """Return the fields that a schema names, if it names them here."""
    said = cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}
    if not _ELSEWHERE.isdisjoint(said):
        return set()
    return {*said.get("properties", ()), *said.get("required", ())}


def _expressions(text: str, path: Path) -> str:
    return text if path[-1] in _EXPRESSIONS else " ".join(_HOLE.findall(text))
