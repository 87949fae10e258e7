"""How an event and who waits for it find each other: an equality in `match` is their key.

    event.order == input.order_id && event.paid >= input.total
    ─────────── of the event  ─────────────── of who waits

The event's side is evaluated when an event comes, the other when a wait
begins. Nobody has to try each event on each transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from sagas.expressions import compiles
from sagas.templates import STRING

_OPERATORS: Final = ("||", "&&", "==", "!=", "<=", ">=", "<", ">", "?")
_PAIRS: Final = {"(": ")", "[": "]", "{": "}"}


class Equality(NamedTuple):
    """The two sides of the key."""

    of_event: str
    of_waiter: str


def equality(source: str, names: Collection[str]) -> Equality | None:
    """Find the first of its conjuncts that is a key; ``names`` are what only a waiter knows."""
    for conjunct in _conjuncts(source.strip()):
        places = [(at, sign) for at, sign in _operators(conjunct) if sign != "&&"]
        if [sign for _, sign in places] != ["=="]:
            continue
        at = places[0][0]
        left, right = conjunct[:at].strip(), conjunct[at + 2 :].strip()
        for one, other in ((left, right), (right, left)):
            if _is_of(one, ("event",)) and _is_of(other, names):
                return Equality(one, other)
    return None


def _is_of(side: str, names: Collection[str]) -> bool:
    """Tell whether it can be said with these names alone, and not without any."""
    return compiles(side, names) and not compiles(side, ())


def _conjuncts(source: str) -> Iterator[str]:
    """Cut at each `&&` that stands for the whole, inside brackets around the whole as well."""
    while source[:1] == "(" and _closes(source) == len(source) - 1:
        source = source[1:-1].strip()
    found = list(_operators(source))
    if any(sign in ("||", "?") for _, sign in found):
        return
    cuts = [at for at, sign in found if sign == "&&"]
    if not cuts:
        yield source
        return
    for begin, end in zip([0, *(at + 2 for at in cuts)], [*cuts, len(source)], strict=True):
        yield from _conjuncts(source[begin:end].strip())


def _operators(source: str) -> Iterator[tuple[int, str]]:
    """Find the operators outside of all brackets and texts, each with its place."""
    at = 0
    while at < len(source):
        if (text := STRING.match(source, at)) is not None:
            at = text.end()
        elif source[at] in _PAIRS:
            at = _closes(source[at:]) + at + 1
        elif (sign := next((s for s in _OPERATORS if source.startswith(s, at)), None)) is not None:
            yield at, sign
            at += len(sign)
        else:
            at += 1


def _closes(source: str) -> int:
    """Find what closes the bracket at the beginning; the end if nothing does."""
    open_, at = 0, 0
    while at < len(source):
        if (text := STRING.match(source, at)) is not None:
            at = text.end()
            continue
        open_ += (source[at] in _PAIRS) - (source[at] in _PAIRS.values())
        if open_ == 0:
            return at
        at += 1
    return len(source)
