"""An input that fits a definition, and results that its expressions can use."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, cast

from sagas.model import AnyDefinition
from sagas.schedule import event_of
from sagas.source import Source
from wire.messages import Json

_RESULT: Final = re.compile(r"\b(?:steps|branches)((?:\.[A-Za-z_]\w*)+)")
_LIST: Final = re.compile(r"\beach: *[\"']?steps((?:\.[A-Za-z_]\w*)+)")
_MOST_DEPTH: Final = 10
_PLAIN: Final[Mapping[str, Json]] = {
    "boolean": True,
    "null": None,
}


def sample_input(definition: AnyDefinition) -> dict[str, Json]:
    """Make up an input by the definition's schema. It need not fit one that is fancy."""
    if definition.start.every is not None:
        return event_of(0)
    schema: Any = Source(definition.source, definition.name).value.get("input")
    made = _sample(schema, "input", 0)
    return cast("dict[str, Json]", made) if isinstance(made, dict) else {}


def sample_results(definition: AnyDefinition) -> dict[str, Json]:
    """Return, for each step or branch, the fields that the definition names of its result."""
    paths = {tuple(f[1].strip(".").split(".")) for f in _RESULT.finditer(definition.source)}
    made = _nested(paths)
    for found in _LIST.finditer(definition.source):
        *above, last = found[1].strip(".").split(".")
        holder: Any = made
        for name in above:
            holder = holder[name]
        if isinstance(holder[last], str):
            holder[last] = [last]
    return made


def _nested(paths: Collection[tuple[str, ...]]) -> dict[str, Json]:
    """Make an object that has all these paths; what is at their ends are their own names."""
    roots = sorted({path[0] for path in paths if path})
    inner = {root: {path[1:] for path in paths if path[:1] == (root,)} - {()} for root in roots}
    return {root: _nested(rest) if rest else root for root, rest in inner.items()}


def _sample(schema: Any, name: str, depth: int) -> Json:
    if not isinstance(schema, dict) or depth > _MOST_DEPTH:
        return {} if depth == 0 else name
    said = cast("dict[str, Any]", schema)
    for word in ("const", "default"):
        if word in said:
            return said[word]
    for word in ("examples", "enum"):
        if said.get(word):
            return said[word][0]
    match _kind(said, depth):
        case "object":
            return _object(said, depth)
        case "array":
            return [_sample(said.get("items"), name, depth + 1)] * max(1, said.get("minItems", 1))
        case "integer" | "number":
            return _number(said)
        case "string":
            return name.ljust(said.get("minLength", 0), "x")[: said.get("maxLength", None)]
        case kind:
            return _PLAIN.get(kind, name)


def _kind(schema: Mapping[str, Any], depth: int) -> str:
    assumed = "object" if "properties" in schema or depth == 0 else "string"
    kind: Any = schema.get("type", assumed)
    return str(cast("list[Any]", kind)[0] if isinstance(kind, list) else kind)


def _object(schema: Mapping[str, Any], depth: int) -> dict[str, Json]:
    parts: dict[str, Any] = dict(schema.get("properties", {}))
    for name in schema.get("required", ()):
        parts.setdefault(name, {})
    return {name: _sample(part, name, depth + 1) for name, part in parts.items()}


def _number(schema: Mapping[str, Any]) -> int | float:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    step = schema.get("multipleOf", 1)
    above = low + step if low in (0, schema.get("exclusiveMinimum")) else low
    high = schema.get("maximum", above)
    return min(above, high)
