"""What CEL says, in our words. It speaks of types and overloads; people of fields and numbers."""

from __future__ import annotations

import re
from typing import Any, Final

_POSITION: Final = re.compile(r"ERROR: <input>:\d+:\d+: (.*)")
_OVERLOAD: Final = re.compile(r"No matching overloads found : (\w+|\W+|_\S+_)(?:\((.*)\))?$")
_MISSING_OVERLOAD: Final = re.compile(
    r"found no matching overload for '(.+)' applied to '\((.*)\)'"
)
_INDEX: Final = re.compile(r"Index error: index=(-?\d+) size=(\d+)")
_UNBOUND: Final = re.compile(r'No value with name "([^"]+)"')
_TYPES: Final = {
    "bool": "a boolean",
    "bytes": "bytes",
    "double": "a decimal",
    "duration": "a duration",
    "int": "an integer",
    "int64": "an integer",
    "list": "a list",
    "map": "an object",
    "null_type": "null",
    "string": "a text",
    "timestamp": "a timestamp",
    "uint": "an unsigned integer",
    "uint64": "an unsigned integer",
}
_NUMBERS: Final = {"a decimal", "an integer", "an unsigned integer"}


def said_at_load(error: str) -> tuple[str, str]:
    """Return a sentence and a hint for why an expression cannot be compiled."""
    match = _POSITION.search(error)
    said = (match[1] if match else error.splitlines()[0]).removesuffix(" [INVALID_ARGUMENT]")
    if "recursion limit" in said or "recursion depth" in said:
        return "the expression is nested too deeply", ""
    if (overload := _MISSING_OVERLOAD.search(said)) is not None:
        return _no_overload(overload[1], overload[2])
    if said.startswith("Syntax error: "):
        said = said.removeprefix("Syntax error: ").partition(" expecting")[0]
        hint = "equality is `==`" if "'= '" in said else ""
        hint = hint or ("write `&&`, `||`, `!`" if re.search(r"'(and|or|not)'", said) else "")
        said = said.replace("mismatched input '<EOF>'", "it ends too early")
        return f"this is not a CEL expression: {said}", hint
    return said, ""


def said_at_run(error: str) -> str:
    """Return a sentence for why an expression has no value."""
    _, _, text = error.partition(": ")
    if (match := _INDEX.search(error)) is not None:
        return f"there is no element {match[1]}: the list has {match[2]}"
    if (match := _UNBOUND.search(error)) is not None:
        return f"`{match[1]}` has no value here"
    if (match := _OVERLOAD.search(error)) is not None:
        said, hint = _no_overload(match[1], match[2] or "")
        return f"{said}: {hint}" if hint else said
    if "Key not found in map" in text:
        return f"there is no {text.rpartition(':')[2].strip().replace(chr(34), '`')}"
    if "Applying SELECT to non-message" in text:
        return "a field is asked of what is no object"
    if "Integer value" in text and "out of range" in text:
        return "an integer has more than 64 bits"
    if "Iteration budget" in text:
        return "it takes too many iterations"
    if "construction from null" in error:
        return "a text is not valid Unicode"
    return text or error


def kind_of(value: Any) -> str:
    """Name what a JSON value is."""
    match value:
        case None:
            return "null"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case bool():
            return "a boolean"
        case _:
            return "a number"


def _no_overload(function: str, arguments: str) -> tuple[str, str]:
    name = function.strip("_").replace("_", "") or function
    kinds = [_TYPES.get(one.strip(), one.strip()) for one in arguments.split(",") if one.strip()]
    if not kinds:
        return f"`{name}` cannot be used on these", ""
    mixed = len(set(kinds)) > 1 and set(kinds) <= _NUMBERS
    hint = "convert one with `double(…)` or `int(…)`" if mixed else ""
    return f"`{name}` cannot be used on {' and '.join(kinds)}", hint
