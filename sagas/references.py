"""What a JSON Schema may say and an `input` may not.

A schema is checked by itself: it reads nothing from elsewhere, so `$ref`
stays in the file, and it comes to an end, so no part refers to itself for
the same value.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias, cast

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from sagas.problems import Code, did_you_mean

Path: TypeAlias = tuple[str | int, ...]
Schema: TypeAlias = Mapping[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

# Where a schema holds others: for the same value, or for a part of it.
_SAME: Final = ("not", "if", "then", "else")
_SAME_LISTS: Final = ("allOf", "anyOf", "oneOf")
_SAME_MAPS: Final = ("dependentSchemas",)
_PARTS: Final = (
    "additionalProperties",
    "contains",
    "contentSchema",
    "items",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_PART_LISTS: Final = ("prefixItems",)
_PART_MAPS: Final = ("$defs", "definitions", "patternProperties", "properties")
_REFERENCES: Final = ("$ref", "$dynamicRef")
_MOST: Final = 10_000
"""Places that are looked at for what is sensitive: parts that share parts have no end of them."""


_WORDS: Final = frozenset(cast("Any", Draft202012Validator).VALIDATORS) | {
    *("$anchor", "$comment", "$defs", "$dynamicAnchor", "$id", "$schema", "$vocabulary"),
    *("contentEncoding", "contentMediaType", "contentSchema", "default", "definitions"),
    *("deprecated", "description", "else", "examples", "maxContains", "minContains"),
    *("readOnly", "sensitive", "then", "title", "writeOnly"),
}


_TYPES: Final = {
    "bool": "boolean",
    "decimal": "number",
    "dict": "object",
    "float": "number",
    "int": "integer",
    "list": "array",
    "map": "object",
    "none": "null",
    "str": "string",
    "text": "string",
}


class SchemaInvalid(Exception):
    """An `input` that is no usable JSON Schema: what is wrong, and where in it."""

    def __init__(
        self,
        message: str,
        path: Path,
        *,
        code: Code = "input-schema",
        hint: str = "",
        key: bool = False,
    ) -> None:
        super().__init__(message)
        self.code: Code = code
        self.path, self.hint, self.key = path, hint, key


def unheeded(schema: Schema) -> Iterator[SchemaInvalid]:
    """Find the words of a usable schema that mean nothing: fields that miss their `properties`."""
    for part, path in _subschemas(schema, ()):
        for word in sorted(part.keys() - _WORDS):
            if not word.startswith("x-"):
                near = difflib.get_close_matches(word, _WORDS - {"$id"}, n=1, cutoff=0.75)
                hint = f"did you mean `{near[0]}`?" if near else "fields stand below `properties`"
                said = f"`{word}` is no word of JSON Schema"
                yield SchemaInvalid(said, (*path, word), hint=hint, key=True)


def no_schema(error: Any) -> tuple[str, str]:
    """Return a sentence and a hint for what JSON Schema says of a schema that is none."""
    value, word = error.instance, next(reversed(error.absolute_path), "")
    if word == "type" and isinstance(value, str):
        return f"`{value}` is no type", did_you_mean(_TYPES.get(value, value), {*_TYPES.values()})
    if word == "required":
        return "`required` is a list of names", "it stands beside `properties`: `required: [id]`"
    if error.validator == "type" and "boolean" in error.validator_value and isinstance(value, str):
        return f"`{value}` is no schema", f"write `{{type: {value}}}`"
    return str(error.message), ""


def refuse_unusable(schema: Schema) -> Any:
    """Return the registry that the schema is to be checked with: it holds nothing else.

    Raises:
        SchemaInvalid: it reaches beyond itself, or has no end.

    """
    registry: Any = cast("Any", Registry)()
    resolver: Any = registry.resolver_with_root(DRAFT202012.create_resource(schema))
    parts = list(_subschemas(schema, ()))
    known = {id(part) for part, _ in parts}
    targets: dict[int, list[Any]] = {}
    for part, path in parts:
        _refuse_words(part, path)
        targets[id(part)] = [
            _resolved(resolver, part[word], (*path, word), known)
            for word in _REFERENCES
            if word in part
        ]
    finished: set[int] = set()
    for part, path in parts:
        if _endless(part, targets, set(), finished):
            said = "this schema refers to itself for the same value: checking it has no end"
            raise SchemaInvalid(said, path)
    return registry


def _refuse_words(part: Schema, path: Path) -> None:
    if not isinstance(part.get("sensitive", True), bool):
        raise SchemaInvalid("`sensitive` is true or false", (*path, "sensitive"))
    if "$id" in part:
        said = "`$id` is not allowed: a definition's schema has no other address"
        raise SchemaInvalid(said, (*path, "$id"), hint="refer to `#/$defs/…`", key=True)
    if part.get("$schema", DIALECT) not in (DIALECT, DIALECT + "#"):
        raise SchemaInvalid("only JSON Schema 2020-12 is read", (*path, "$schema"), hint=DIALECT)


def has_sensitive(schema: Schema) -> bool:
    """Tell whether a schema declares anything as sensitive."""
    return any(part.get("sensitive") is True for part, _ in _subschemas(schema, ()))


def sensitive_names(schema: Schema) -> list[str]:
    """Name, with dots, the properties that are sensitive, or may be: wherever that is said."""
    registry: Any = cast("Any", Registry)()
    resolver: Any = registry.resolver_with_root(DRAFT202012.create_resource(schema))
    found = _sensitive(schema, (), resolver, (), set())
    return [*dict.fromkeys(".".join(names) for names in found)]


def _sensitive(
    schema: Any,
    names: tuple[str, ...],
    resolver: Any,
    opened: tuple[int, ...],
    seen: set[tuple[int, tuple[str, ...]]],
) -> Iterator[tuple[str, ...]]:
    """Follow references, each once on the way: what holds itself has no last name."""
    me = id(schema)
    if not isinstance(schema, dict) or me in opened or (me, names) in seen or len(seen) > _MOST:
        return
    part = cast("dict[str, Any]", schema)
    if part.get("sensitive") is True:
        yield names
        return
    opened = (*opened, me)
    seen.add((me, names))
    same = [inner for inner, _ in _inner(part, (_SAME, _SAME_LISTS, _SAME_MAPS))]
    same += [resolver.lookup(part[word]).contents for word in _REFERENCES if word in part]
    for inner in same:
        yield from _sensitive(inner, names, resolver, opened, seen)
    for name, inner in part.get("properties", {}).items():
        yield from _sensitive(inner, (*names, name), resolver, opened, seen)


def _resolved(resolver: Any, reference: str, path: Path, known: set[int]) -> Any:
    if not reference.startswith("#"):
        said = f"`{reference}` is elsewhere: a definition is checked by itself"
        raise SchemaInvalid(said, path, hint="copy it to `$defs`, and refer to `#/$defs/…`")
    try:
        target = resolver.lookup(reference).contents
    except (Unresolvable, ValueError, TypeError, LookupError, AttributeError) as error:
        raise SchemaInvalid(f"there is nothing at `{reference}`", path) from error
    if not isinstance(target, bool) and id(target) not in known:
        raise SchemaInvalid(f"what is at `{reference}` is no schema", path)
    return target


def _subschemas(schema: Any, path: Path) -> Iterator[tuple[Schema, Path]]:
    """Return a schema and all in it, each with its place."""
    if not isinstance(schema, dict):
        return
    part = cast("dict[str, Any]", schema)
    yield part, path
    for inner, where in _inner(part, (_SAME, _SAME_LISTS, _SAME_MAPS)):
        yield from _subschemas(inner, (*path, *where))
    for inner, where in _inner(part, (_PARTS, _PART_LISTS, _PART_MAPS)):
        yield from _subschemas(inner, (*path, *where))


def _inner(part: Schema, words: tuple[tuple[str, ...], ...]) -> Iterator[tuple[Any, Path]]:
    alone, lists, maps = words
    for word in alone:
        if word in part:
            yield part[word], (word,)
    for word in lists:
        for i, one in enumerate(part.get(word, ())):
            yield one, (word, i)
    for word in maps:
        for name, one in part.get(word, {}).items():
            yield one, (word, name)


def _endless(
    schema: Any, targets: Mapping[int, list[Any]], opened: set[int], finished: set[int]
) -> bool:
    """Tell whether checking one value leads back to the same schema and the same value."""
    if not isinstance(schema, dict) or id(cast("Any", schema)) in finished:
        return False
    part = cast("dict[str, Any]", schema)
    me = id(part)
    if me in opened:
        return True
    opened.add(me)
    same = [inner for inner, _ in _inner(part, (_SAME, _SAME_LISTS, _SAME_MAPS))]
    endless = any(_endless(one, targets, opened, finished) for one in same + targets[me])
    opened.discard(me)
    finished.add(me)
    return endless
