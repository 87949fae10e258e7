"""Expressions: CEL (https://cel.dev), compiled once, checked when a file loads.

The only module that knows the CEL library. Its habits that matter here: an
error at run time is a value and not an exception; int and double do not mix
(`double(input.n) * 1.5`); integers have 64 bits; it follows nested data on the
C stack, so what is nested too deeply would end the process; and it cuts texts
at a zero character, so that what differs would be equal.

What an expression may name is declared to CEL as it stands: `steps.book` is
one name. So CEL itself finds a reference to a step that is not there.

Most expressions only follow a path (`input.sku`). Those are walked directly,
with the same meaning and at a tenth of the cost.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

from cel_expr_python import cel

from sagas.hints import foreign_syntax, hyphenated, unknown_call, unknown_name
from sagas.model import EvaluationFailed, Expression, Json, Scope
from sagas.reasons import kind_of, said_at_load, said_at_run

MAX_LENGTH: Final = 4_000
MAX_DEPTH: Final = 200

_PATH: Final = re.compile(r"[a-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_WORD: Final = re.compile(r"\w+")
_UNDECLARED: Final = re.compile(r"undeclared reference to '\.?([^']+)'")
_TYPE: Final = re.compile(r"[\w.]+")
_JSON_TYPES: Final = frozenset(
    {"BOOL", "INT", "UINT", "DOUBLE", "STRING", "NULL", "DYN", "LIST", "MAP"}
)
_LIBRARY_ERRORS: Final = (RuntimeError, ValueError, TypeError, OverflowError)


class ExpressionInvalid(Exception):
    """An expression that cannot be compiled: what is wrong, and a hint.

    ``unknown`` are the names that it uses and may not: `steps.pay.id`.
    """

    def __init__(self, message: str, hint: str = "", unknown: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message, self.hint, self.unknown = message, hint, unknown


def compile_expression(text: str, names: Collection[str]) -> Expression:
    """Compile one CEL expression that may use these names: `input`, `steps.book`.

    Raises:
        ExpressionInvalid: syntax, types, an unknown name, or no JSON result.

    """
    return _compiled(text, names)[0]


def compile_condition(text: str, names: Collection[str]) -> Expression:
    """Compile an expression that is true or false, and nothing else."""
    evaluate, type_name = _compiled(text, names)
    if type_name not in ("BOOL", "DYN"):
        raise ExpressionInvalid(f"this is of type {type_name.lower()}, not true or false")

    def condition(scope: Scope) -> Json:
        value = evaluate(scope)
        if not isinstance(value, bool):
            raise EvaluationFailed(f"`{text.strip()}` is {kind_of(value)}, not true or false")
        return value

    return condition


def compile_key(text: str, names: Collection[str]) -> Expression:
    """Compile an expression that gives a key: a text or an integer.

    Anything else would make one key of many: every event whose id is null
    would be the same start.
    """
    evaluate, type_name = _compiled(text, names)
    if type_name not in ("STRING", "INT", "UINT", "DYN"):
        said = f"this is of type {type_name.lower()}; a key is a text or an integer"
        raise ExpressionInvalid(said, "use string(…)")

    def key(scope: Scope) -> Json:
        value = evaluate(scope)
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise EvaluationFailed(
                f"`{text.strip()}` is {kind_of(value)}, and a key is a text or an integer"
            )
        return value

    return key


def can_do_without(source: str, name: str, names: Collection[str]) -> bool:
    """Tell whether an expression that may use these names compiles without that one."""
    try:
        _program(source, [one for one in names if one != name])
    except ExpressionInvalid:
        return False
    return True


def compiles(source: str, names: Collection[str]) -> bool:
    """Tell whether this text alone is an expression."""
    return can_do_without(source, "", names)


def truth_if_null(source: str, name: str, names: Collection[str]) -> bool | None:
    """Tell whether it is true or false as soon as that name is null, whatever the others are.

    None if it depends on others. CEL answers that by itself: nothing else is
    bound, and `&&` and `||` have a value wherever one side decides.
    """
    program, _ = _program(source, names)
    try:
        value: object = program.eval(data={name: None}).plain_value()
    except _LIBRARY_ERRORS:
        return None
    return value if isinstance(value, bool) else None


# ── compiling ────────────────────────────────────────────────────────────────


def _compiled(text: str, names: Collection[str]) -> tuple[Expression, str]:
    source = text.strip()
    program, used = _program(source, names)
    type_name = program.return_type().name().upper()
    _check_result(type_name)
    if _PATH.fullmatch(source):
        root, *path = source.split(".")
        return _walk(source, root, tuple(path)), type_name
    return _run(source, program, tuple(_binding(source, name) for name in used)), type_name


def _program(source: str, names: Collection[str]) -> tuple[cel.Expression, list[str]]:
    """Compile, and tell which names it can be using."""
    if len(source) > MAX_LENGTH:
        raise ExpressionInvalid(f"the expression has over {MAX_LENGTH} characters")
    if not source:
        raise ExpressionInvalid("there is no expression here")
    words = set(_WORD.findall(source))
    used = sorted(name for name in names if words.issuperset(name.split(".")))
    try:
        return _environment(tuple(used)).compile(source), used
    except _LIBRARY_ERRORS as error:
        raise _invalid(source, str(error), names) from error


@lru_cache(maxsize=256)
def _environment(names: tuple[str, ...]) -> cel.Env:
    return cel.NewEnv(variables=dict.fromkeys(names, cel.Type.DYN))


def _invalid(source: str, error: str, names: Collection[str]) -> ExpressionInvalid:
    unknown = tuple(dict.fromkeys(match[1] for match in _UNDECLARED.finditer(error)))
    if not unknown:
        said, hint = said_at_load(error)
        return ExpressionInvalid(said, hint or foreign_syntax(source))
    root = unknown[0].partition(".")[0]
    if re.search(rf"\b{re.escape(root)}\s*\(", source):
        return ExpressionInvalid(f"there is no function `{root}`", unknown_call(root), unknown)
    hint = hyphenated(source, root) or unknown_name(root, names)
    return ExpressionInvalid(f"unknown name `{root}`", hint, unknown)


def _check_result(type_name: str) -> None:
    for part in _TYPE.findall(type_name):
        if part not in _JSON_TYPES:
            raise ExpressionInvalid(f"a {part.lower()} is no JSON value", "use string(…)")
    if re.search(r"MAP<(?!STRING|DYN)", type_name):
        raise ExpressionInvalid("the keys of a JSON object are texts", "use string(…)")


# ── evaluation ───────────────────────────────────────────────────────────────


def _walk(source: str, root: str, path: tuple[str, ...]) -> Expression:
    def walk(scope: Scope) -> Json:
        value: Any = scope.get(root)
        for name in path:
            if not isinstance(value, dict):
                raise EvaluationFailed(
                    f"`{source}`: there is no `{name}`: what holds it is {kind_of(value)}"
                )
            if name not in value:
                raise EvaluationFailed(f"`{source}`: there is no `{name}`")
            value = value[name]  # pyright: ignore[reportUnknownVariableType]
        return value  # pyright: ignore[reportUnknownVariableType]

    return walk


class _Binding(NamedTuple):
    """A name that an expression uses, and the fields of it, if it uses no others."""

    name: str
    path: tuple[str, ...]
    fields: frozenset[str] | None


def _binding(source: str, name: str) -> _Binding:
    """Find out what of a name has to be handed to CEL: it copies whatever it is given."""
    path = tuple(name.split("."))
    pattern = r"\s*\.\s*".join(rf"\b{part}\b" for part in path)
    fields = re.findall(pattern + r"\s*\.\s*([A-Za-z_]\w*)\b(?!\s*\()", source)
    whole = len(fields) != len(re.findall(rf"\b{path[-1]}\b", source))
    return _Binding(name, path, None if whole else frozenset(fields))


def _run(source: str, program: cel.Expression, used: tuple[_Binding, ...]) -> Expression:
    def run(scope: Scope) -> Json:
        try:
            result = program.eval(data=_bound(source, used, scope))
            if result.type() != cel.Type.ERROR:
                return _as_json(source, result.plain_value())
            reason = str(result.value())
        except _LIBRARY_ERRORS as error:
            raise EvaluationFailed(f"`{source}`: {said_at_run(str(error))}") from error
        raise EvaluationFailed(f"`{source}`: {said_at_run(reason)}")

    return run


def _bound(source: str, used: tuple[_Binding, ...], scope: Scope) -> dict[str, Any]:
    """Collect the values of the names; what is not there is for CEL to miss."""
    data: dict[str, Any] = {}
    for name, path, fields in used:
        value: Any = scope
        for part in path:
            if not isinstance(value, dict) or part not in value:
                break
            value = value[part]  # pyright: ignore[reportUnknownVariableType]
        else:
            if isinstance(value, dict):
                value = _narrowed(cast("dict[str, Any]", value), fields)
            if against := _unfit(value, MAX_DEPTH):
                raise EvaluationFailed(f"`{source}`: `{name}` {against}")
            data[name] = value
    return data


def _narrowed(value: Mapping[str, Any], fields: frozenset[str] | None) -> dict[str, Any]:
    if fields is None:
        return dict(value)
    return {field: value[field] for field in fields if field in value}


def _unfit(value: Any, levels: int) -> str:
    """Say why a value must not be handed to CEL, if it must not."""
    if isinstance(value, str):
        return "has a text with a zero character, and would be cut there" if "\0" in value else ""
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value)
        inner: Iterable[Any] = (*pairs, *pairs.values())
    elif isinstance(value, list):
        inner = cast("list[Any]", value)
    else:
        return ""
    if levels == 0:
        return "is nested too deeply"
    return next(filter(None, (_unfit(one, levels - 1) for one in inner)), "")


def _as_json(source: str, value: Any) -> Json:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise EvaluationFailed(f"`{source}`: {value} is no JSON number")
            return value
        case list():
            return [_as_json(source, item) for item in cast("list[Any]", value)]
        case dict():
            pairs = cast("dict[Any, Any]", value)
            return {_key(source, k): _as_json(source, v) for k, v in pairs.items()}
        case _:
            raise EvaluationFailed(f"`{source}`: {type(value).__name__} is no JSON: use string(…)")


def _key(source: str, key: Any) -> str:
    if not isinstance(key, str):
        raise EvaluationFailed(f"`{source}`: {key!r} is no key of a JSON object")
    return key


Evaluate = Callable[[Scope], Json]
