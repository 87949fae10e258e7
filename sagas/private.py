"""What of a transaction is not to be shown: where it is in an input, and what it looks like.

A value is hidden by its place where that is known, and by its looks wherever
else it may turn up: in a reason that a participant gives, in what a later step
returns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

Json: TypeAlias = Any
Path: TypeAlias = tuple[str | int, ...]
Schema: TypeAlias = Mapping[str, Any]

HIDDEN: Final = "[hidden]"
SHORTEST: Final = 3
"""What is shorter is hidden in its place, and not looked for elsewhere: it is everywhere."""

_SAME_LISTS: Final = ("allOf", "anyOf", "oneOf")
_SAME: Final = ("if", "then", "else")

Find: TypeAlias = Callable[[Json], Iterator[Path]]
"""Yields the places in an input that are not to be shown."""


@dataclass(frozen=True, slots=True)
class Private:
    """What a definition declares as sensitive: places in the input, and results of parts."""

    find: Find
    parts: Collection[str]

    def shown(self, given: Json) -> Json:
        """Return an input without what is hidden in it."""
        for path in list(self.find(given)):
            given = _without(given, path)
        return given

    def veil(self, given: Json, results: Mapping[str, Json]) -> Veil:
        """Return what hides this transaction's values, wherever they turn up."""
        values = [_at(given, path) for path in self.find(given)]
        values += [results[name] for name in self.parts if results.get(name) is not None]
        return Veil(values)


class Veil:
    """Hides values by what they look like."""

    def __init__(self, values: Iterable[Json]) -> None:
        texts = {text for value in values for text in _leaves(value) if len(text) >= SHORTEST}
        longest_first = sorted(texts, key=lambda text: (-len(text), text))
        self._found = re.compile("|".join(map(re.escape, longest_first))) if texts else None

    def text(self, text: str) -> str:
        """Return a text with the values taken out of it."""
        return text if self._found is None else self._found.sub(HIDDEN, text)

    def json(self, value: Json) -> Json:
        """Return a value with the values taken out of it."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            pairs = cast("dict[str, Json]", value)
            return {self.text(key): self.json(one) for key, one in pairs.items()}
        if isinstance(value, list | tuple):
            return [self.json(one) for one in cast("list[Json]", value)]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value if self.text(str(value)) == str(value) else HIDDEN
        return value


def no_places(_value: Json) -> Iterator[Path]:
    """Find nothing."""
    return iter(())


def finder(schema: Schema, resolve: Callable[[str], Any]) -> Find | None:
    """Make what finds the sensitive places of an input; None if the schema has none.

    Where it depends on the value which part of a schema applies, all of them do.
    """

    def find(part: Any, value: Json, path: Path) -> Iterator[Path]:
        if not isinstance(part, dict):
            return
        schema = cast("dict[str, Any]", part)
        if schema.get("sensitive") is True:
            yield path
            return
        for same in _same(schema, resolve):
            yield from find(same, value, path)
        for inner, key, one in _inner(schema, value):
            yield from find(inner, one, (*path, key))

    return lambda value: find(schema, value, ())


def _same(schema: Mapping[str, Any], resolve: Callable[[str], Any]) -> Iterator[Any]:
    """Yield the schemas that speak of the same value."""
    yield from (resolve(schema[word]) for word in ("$ref", "$dynamicRef") if word in schema)
    yield from (schema[word] for word in _SAME if word in schema)
    yield from (one for word in _SAME_LISTS for one in schema.get(word, ()))
    yield from schema.get("dependentSchemas", {}).values()


def _inner(schema: Mapping[str, Any], value: Json) -> Iterator[tuple[Any, str | int, Json]]:
    """Yield the schemas that speak of parts of the value, each with the part."""
    if isinstance(value, dict):
        for key, one in cast("dict[str, Json]", value).items():
            for inner in _of_member(schema, key):
                yield inner, key, one
    elif isinstance(value, list):
        first = schema.get("prefixItems", ())
        rest = [schema[w] for w in ("items", "contains", "unevaluatedItems") if w in schema]
        for i, one in enumerate(cast("list[Json]", value)):
            for inner in (*first[i : i + 1], *rest):
                yield inner, i, one


def _of_member(schema: Mapping[str, Any], key: str) -> Iterator[Any]:
    known = schema.get("properties", {})
    if key in known:
        yield known[key]
    else:
        others = ("additionalProperties", "unevaluatedProperties")
        yield from (schema[word] for word in others if word in schema)
    for pattern, inner in schema.get("patternProperties", {}).items():
        if re.search(pattern, key):
            yield inner


def _at(value: Json, path: Path) -> Json:
    for key in path:
        value = value[key]
    return value


def _without(value: Json, path: Path) -> Json:
    if not path:
        return HIDDEN
    changed: Any = copy(value)
    if changed[path[0]] != HIDDEN:
        changed[path[0]] = _without(changed[path[0]], path[1:])
    return changed


def _leaves(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in cast("dict[str, Json]", value).values():
            yield from _leaves(one)
    elif isinstance(value, list):
        for one in cast("list[Json]", value):
            yield from _leaves(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
