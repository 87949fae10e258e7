"""JSON values with `${ … }` in their texts.

Alone, a hole keeps the type of its value; inside a text it is put in as text.
What stands in a hole is an expression: what it may name and whether it can be
compiled is the business of `expressions.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias, cast

from sagas.expressions import ExpressionInvalid
from sagas.model import EvaluationFailed, Expression, Json, Scope
from sagas.source import Path

Compile: TypeAlias = Callable[[str], Expression]

STRING: Final = re.compile(
    r"[rR]?[bB]?[rR]?(\"\"\"|''')(?s:.*?)\1"
    r"|[bB]?[rR][bB]?(?:\"[^\"\n]*\"|'[^'\n]*')"
    r"|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
)


class Hole(NamedTuple):
    """The expression of one `${ … }`."""

    source: str


def build(value: Json, path: Path, text: Callable[[str, Path], Expression]) -> Expression:
    """Make an expression of a JSON value; ``text`` makes one of each text in it."""
    if isinstance(value, str):
        return text(value, path)
    if isinstance(value, dict):
        pairs = cast("dict[str, Json]", value)
        members = {key: build(one, (*path, key), text) for key, one in pairs.items()}
        return lambda scope: {key: member(scope) for key, member in members.items()}
    if isinstance(value, list):
        values = cast("list[Json]", value)
        items = [build(item, (*path, i), text) for i, item in enumerate(values)]
        return lambda scope: [item(scope) for item in items]
    return lambda _scope: value


def compile_text(text: str, compile_hole: Compile) -> Expression:
    """Make an expression of one text.

    Raises:
        ExpressionInvalid: a hole is not closed, or cannot be compiled.

    """
    parts = [compile_hole(part.source) if isinstance(part, Hole) else part for part in split(text)]
    if all(isinstance(part, str) for part in parts):
        return lambda _scope: text
    if len(parts) == 1:
        return cast("Expression", parts[0])

    def fill(scope: Scope) -> Json:
        return "".join(part if isinstance(part, str) else _as_text(part(scope)) for part in parts)

    return fill


def split(text: str) -> list[str | Hole]:
    """Cut a text into what stands as it is, and holes.

    Raises:
        ExpressionInvalid: a hole is not closed.

    """
    parts: list[str | Hole] = []
    position = 0
    while (start := text.find("${", position)) >= 0:
        if start > position:
            parts.append(text[position:start])
        end = _closing(text, start + 2)
        parts.append(Hole(text[start + 2 : end]))
        position = end + 1
    if position < len(text):
        parts.append(text[position:])
    return parts


def texts(value: Any, path: Path) -> Iterator[tuple[str, Path]]:
    """Return all texts of a value, each with its place."""
    if isinstance(value, str):
        yield value, path
    elif isinstance(value, dict):
        for key, one in cast("dict[str, Any]", value).items():
            yield from texts(one, (*path, key))
    elif isinstance(value, list):
        for i, one in enumerate(cast("list[Any]", value)):
            yield from texts(one, (*path, i))


def keys_with_holes(value: Any, path: Path) -> Iterator[Path]:
    """Return the places of keys that look like a template; a key is never one."""
    if isinstance(value, dict):
        for key, one in cast("dict[str, Any]", value).items():
            if "${" in key:
                yield (*path, key)
            yield from keys_with_holes(one, (*path, key))
    elif isinstance(value, list):
        for i, one in enumerate(cast("list[Any]", value)):
            yield from keys_with_holes(one, (*path, i))


def _closing(text: str, start: int) -> int:
    """Find the brace that closes, past strings and the braces of maps."""
    depth, position = 0, start
    while position < len(text):
        if (string := STRING.match(text, position)) is not None:
            position = string.end()
            continue
        if text[position] == "{":
            depth += 1
        elif text[position] == "}":
            if depth == 0:
                return position
            depth -= 1
        position += 1
    raise ExpressionInvalid("`${` is not closed", "end it with ` }`")


def _as_text(value: Json) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case int() | float():
            return str(value)
        case _:
            raise EvaluationFailed("only a text, number or boolean can be put into a text")
