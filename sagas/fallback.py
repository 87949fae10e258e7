"""Whether an expression has a value although a reply may be lost.

An undo may name its own step's result, but the reply with it may never have
come, and then it is null. So each use must be kept behind a question:
`steps.pay == null ? 0 : steps.pay.fee`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from sagas.expressions import ExpressionInvalid, can_do_without, compiles, truth_if_null
from sagas.templates import Hole, split

_MOST_SIGNS: Final = 20


def always_has_a_value(text: str, name: str, names: Collection[str]) -> bool:
    """Tell whether a text with `${ … }` in it never needs that one of these names."""
    try:
        holes = [part.source for part in split(text) if isinstance(part, Hole)]
        return all(has_fallback(source, name, names) for source in holes)
    except ExpressionInvalid:
        return True  # reported already


def has_fallback(source: str, name: str, names: Collection[str]) -> bool:
    """Tell whether an expression, which compiles with these names, never needs that one.

    It is cautious: a question inside a function's argument is not understood.
    """
    source = source.strip()
    if can_do_without(source, name, names):
        return True
    if truth_if_null(source, name, names) is not None:
        return True  # it only asks
    if source[0] == "(" and source[-1] == ")" and compiles(source[1:-1], names):
        return has_fallback(source[1:-1], name, names)
    if _signs(source) > _MOST_SIGNS:
        return False
    parts = _conditional(source, names)
    if parts is None:
        joined = _joined(source, names)
        return joined != [source] and all(has_fallback(part, name, names) for part in joined)
    question, then, otherwise = parts
    match truth_if_null(question, name, names):
        case True:
            return has_fallback(then, name, names)
        case False:
            return has_fallback(otherwise, name, names)
        case None:
            return all(has_fallback(part, name, names) for part in parts)


def _conditional(source: str, names: Collection[str]) -> tuple[str, str, str] | None:
    """Cut `a ? b : c` at its own signs: where each of the parts is an expression."""
    for mark in _places(source, "?"):
        question = source[:mark]
        if not compiles(question, names):
            continue
        for colon in _places(source, ":", mark + 1):
            then, otherwise = source[mark + 1 : colon], source[colon + 1 :]
            if compiles(then, names) and compiles(otherwise, names):
                return question, then, otherwise
    return None


def _joined(source: str, names: Collection[str]) -> list[str]:
    """Cut at an `&&` or `||`. Only where there is no question around it: that binds less."""
    for sign in ("&&", "||"):
        for place in _places(source, sign):
            parts = [source[:place], source[place + len(sign) :]]
            if all(compiles(part, names) for part in parts):
                return parts
    return [source]


def _signs(source: str) -> int:
    """Count the signs to cut at: each is tried, and of questions each pair."""
    return max(source.count(sign) for sign in ("?", ":", "&&", "||"))


def _places(text: str, sign: str, start: int = 0) -> Iterator[int]:
    while (start := text.find(sign, start)) >= 0:
        yield start
        start += 1
