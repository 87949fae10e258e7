"""Expressions: CEL (https://cel.dev), compiled once, checked when a file loads.

The only module that knows the CEL library. Its habits that matter here: an
error at run time is a value and not an exception; int and double do not mix
(`double(input.n) * 1.5`); integers have 64 bits.

Most expressions only follow a path (`input.sku`). Those are walked directly,
with the same meaning and at a tenth of the cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, cast

from cel_expr_python import cel

from sagas.model import EvaluationFailed, Expression, Json, Scope
from sagas.problems import did_you_mean

_PATH: Final = re.compile(r"[a-z_]\w*(\.[A-Za-z_]\w*)+")
_STRING: Final = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")
_NAMED: Final = re.compile(r"(?<![\w.])(steps|branches)\b\s*(?:\.\s*([A-Za-z_]\w*))?")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^'.]+)")
_POSITION: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_WORDS: Final = frozenset({"true", "false", "null", "in"})
_JSON_TYPES: Final = ("BOOL", "INT", "UINT", "DOUBLE", "STRING", "NULL", "DYN")
_MAX_LENGTH: Final = 4_000


class ExpressionInvalid(Exception):
    """An expression that cannot be compiled: what is wrong, where in it, and a hint."""

    def __init__(self, message: str, hint: str = "", column: int = 0) -> None:
        super().__init__(message)
        self.message, self.hint, self.column = message, hint, column


class Compiled(NamedTuple):
    """An expression, and the steps or branches that it names."""

    evaluate: Expression
    names: frozenset[tuple[str, str]]


def compile_expression(text: str, roots: Collection[str]) -> Compiled:
    """Compile one CEL expression that may name these roots.

    Raises:
        ExpressionInvalid: syntax, types, an unknown root, or no JSON result.

    """
    if len(text) > _MAX_LENGTH:
        raise ExpressionInvalid(f"the expression has over {_MAX_LENGTH} characters")
    source = text.strip()
    environment = cel.NewEnv(variables=dict.fromkeys(roots, cel.Type.DYN))
    try:
        program = environment.compile(source)
    except (RuntimeError, ValueError, UnicodeError) as error:
        raise _explained(str(error), roots) from error
    _check_result(program.return_type().name())
    names = _names(source)
    root, *path = source.split(".") if _PATH.fullmatch(source) else (source,)
    if path and root in roots:
        return Compiled(_walk(source, root, tuple(path)), names)
    used = tuple(root for root in roots if re.search(rf"(?<![\w.]){root}\b", source))
    return Compiled(_run(source, program, used), names)


def compile_template(value: Json, roots: Collection[str]) -> Compiled:
    """Compile a JSON value whose texts may hold ``${ … }``, at any depth.

    Raises:
        ExpressionInvalid: one of them cannot be compiled.

    """
    names: set[tuple[str, str]] = set()
    return Compiled(_template(value, roots, names), frozenset(names))


# ── templates ────────────────────────────────────────────────────────────────


def _template(value: Json, roots: Collection[str], names: set[tuple[str, str]]) -> Expression:
    if isinstance(value, str):
        return _text(value, roots, names)
    if isinstance(value, dict):
        pairs = cast("dict[str, Json]", value)
        members = {key: _template(one, roots, names) for key, one in pairs.items()}

        def build(scope: Scope) -> Json:
            return {key: member(scope) for key, member in members.items()}

        return build
    if isinstance(value, list):
        values = cast("list[Json]", value)
        items = [_template(item, roots, names) for item in values]
        return lambda scope: [item(scope) for item in items]
    return lambda _scope: value


def _text(text: str, roots: Collection[str], names: set[tuple[str, str]]) -> Expression:
    """Alone, ``${ … }`` keeps its type; inside a text it is put in as text."""
    parts = _split(text)
    if all(isinstance(part, str) for part in parts):
        return lambda _scope: text
    compiled: list[str | Expression] = []
    for part in parts:
        if isinstance(part, str):
            compiled.append(part)
        else:
            one = compile_expression(part.source, roots)
            names |= one.names
            compiled.append(one.evaluate)
    if len(compiled) == 1 and callable(compiled[0]):
        return compiled[0]
    return lambda scope: "".join(
        part if isinstance(part, str) else _as_text(part(scope)) for part in compiled
    )


class _Hole(NamedTuple):
    source: str


def _split(text: str) -> list[str | _Hole]:
    parts: list[str | _Hole] = []
    position = 0
    while (start := text.find("${", position)) >= 0:
        if start > position:
            parts.append(text[position:start])
        end = _closing(text, start + 2)
        parts.append(_Hole(text[start + 2 : end]))
        position = end + 1
    if position < len(text):
        parts.append(text[position:])
    return parts


def _closing(text: str, start: int) -> int:
    """Find the brace that closes, past strings and the braces of maps."""
    depth, position = 0, start
    while position < len(text):
        if (string := _STRING.match(text, position)) is not None:
            position = string.end()
            continue
        if text[position] == "{":
            depth += 1
        elif text[position] == "}":
            if depth == 0:
                return position
            depth -= 1
        position += 1
    raise ExpressionInvalid("`${` is not closed", "end it with ` }`", start - 2)


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


# ── evaluation ───────────────────────────────────────────────────────────────


def _walk(source: str, root: str, path: tuple[str, ...]) -> Expression:
    def walk(scope: Scope) -> Json:
        value: Any = scope.get(root)
        for name in path:
            if not isinstance(value, dict):
                raise EvaluationFailed(
                    f"`{source}`: there is no `{name}`: what holds it is {_kind(value)}"
                )
            if name not in value:
                raise EvaluationFailed(f"`{source}`: there is no `{name}`")
            value = value[name]  # pyright: ignore[reportUnknownVariableType]
        return value  # pyright: ignore[reportUnknownVariableType]

    return walk


def _run(source: str, program: cel.Expression, used: tuple[str, ...]) -> Expression:
    def run(scope: Scope) -> Json:
        try:
            result = program.eval(data={root: _object(scope.get(root)) for root in used})
        except (RuntimeError, ValueError, TypeError, UnicodeError) as error:
            raise EvaluationFailed(f"`{source}`: {error}") from error
        if result.type() == cel.Type.ERROR:
            raise EvaluationFailed(f"`{source}`: {_said(str(result.value()))}")
        return _as_json(source, result.plain_value())

    return run


def _object(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _as_json(source: str, value: Any) -> Json:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list():
            return [_as_json(source, item) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case dict():
            return {_key(source, k): _as_json(source, v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case _:
            raise EvaluationFailed(f"`{source}`: {type(value).__name__} is no JSON: use string(…)")


def _key(source: str, key: Any) -> str:
    if not isinstance(key, str):
        raise EvaluationFailed(f"`{source}`: {key!r} is no key of a JSON object")
    return key


def _said(error: str) -> str:
    """Say CEL's error at run time in our words."""
    _, _, text = error.partition(": ")
    if "Key not found in map" in text:
        return f"there is no {text.rpartition(':')[2].strip().replace(chr(34), '`')}"
    return text or error


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case str():
            return "a text"
        case list():
            return "a list"
        case bool():
            return "a boolean"
        case _:
            return "a number"


# ── checks at load ───────────────────────────────────────────────────────────


def _names(source: str) -> frozenset[tuple[str, str]]:
    bare = _STRING.sub("''", source)
    found: set[tuple[str, str]] = set()
    for match in _NAMED.finditer(bare):
        if match[2] is None:
            raise ExpressionInvalid(
                f"`{match[1]}` alone has no value", f"name one: `{match[1]}.<id>`", match.start()
            )
        found.add((match[1], match[2]))
    return frozenset(found)


def _check_result(type_name: str) -> None:
    base = type_name.upper().partition("<")[0]
    if base not in _JSON_TYPES and base not in ("LIST", "MAP"):
        raise ExpressionInvalid(f"a {type_name.lower()} is no JSON value", "use string(…)")


def _explained(error: str, roots: Collection[str]) -> ExpressionInvalid:
    match = _POSITION.search(error)
    column = int(match[2]) - 1 if match else 0
    said = match[3] if match else error.splitlines()[0]
    if (undeclared := _UNDECLARED.search(said)) is not None:
        return ExpressionInvalid(
            f"unknown name `{undeclared[1]}`", did_you_mean(undeclared[1], roots), column
        )
    if said.startswith("Syntax error"):
        said = "this is not a CEL expression: " + said.partition(": ")[2].partition(" expecting")[0]
    return ExpressionInvalid(said, "", column)


Evaluate = Callable[[Scope], Json]
