"""A step of a saga, participant side.

One row a step and transaction, the barrier, is written in the same local
transaction as the step's effect. What the row says, and what the coordinator
asks, make a rule; every pair is in RULES. So an effect happens once however
often it is asked for, an undo that overtakes its step seals it, and a step
that comes after its undo is refused, never answered as done.

Nothing here awaits, reads a clock, or logs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from wire.messages import Json, Result


class Asked(StrEnum):
    """What the coordinator asks of a step."""

    EXECUTE = "execute"
    COMPENSATE = "compensate"


class Status(StrEnum):
    """What the barrier says of a step."""

    FRESH = "fresh"  # no row
    DONE = "done"
    REFUSED = "refused"  # a business no, for good
    SEALED = "sealed"  # the undo came first, and did nothing
    UNDONE = "undone"


class Do(StrEnum):
    """What is to be done, in the transaction that holds the row."""

    RUN = "run"  # the step's handler
    UNDO = "undo"  # the undo's handler
    SEAL = "seal"  # so that the step cannot run later
    NOTHING = "nothing"


class Rule(NamedTuple):
    """What to do; what to answer where no handler runs; and why."""

    do: Do
    result: Result | None
    reason: str
    undone: bool = False


_A, _S = Asked, Status

RULES: Final[Mapping[tuple[Status, Asked], Rule]] = {
    (_S.FRESH, _A.EXECUTE): Rule(Do.RUN, None, "asked for the first time"),
    (_S.DONE, _A.EXECUTE): Rule(Do.NOTHING, Result.DONE, "done already: told again"),
    (_S.REFUSED, _A.EXECUTE): Rule(Do.NOTHING, Result.REFUSED, "refused already: told again"),
    (_S.SEALED, _A.EXECUTE): Rule(Do.NOTHING, Result.REFUSED, "its undo came before it"),
    (_S.UNDONE, _A.EXECUTE): Rule(Do.NOTHING, Result.REFUSED, "it was done, and undone"),
    (_S.FRESH, _A.COMPENSATE): Rule(Do.SEAL, Result.DONE, "never done, and now never will be"),
    (_S.DONE, _A.COMPENSATE): Rule(Do.UNDO, None, "done, so it is undone"),
    (_S.REFUSED, _A.COMPENSATE): Rule(Do.NOTHING, Result.DONE, "refused: nothing to undo"),
    (_S.SEALED, _A.COMPENSATE): Rule(Do.NOTHING, Result.DONE, "never done: told again"),
    (_S.UNDONE, _A.COMPENSATE): Rule(
        Do.NOTHING, Result.DONE, "undone already: told again", undone=True
    ),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the barrier. ``data`` is what the step returned, ``reason`` why it refused."""

    status: Status = Status.FRESH
    data: Json = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the coordinator is told of a step."""

    result: Result
    data: Json = None
    reason: str = ""
    undone: bool = False


def settle(entry: Entry, asked: Asked) -> tuple[Entry, Reply] | None:
    """Answer without a handler, where the row allows it."""
    rule = RULES[entry.status, asked]
    if rule.result is None:
        return None
    if rule.do is Do.SEAL:
        return Entry(Status.SEALED), Reply(rule.result)
    if asked is Asked.EXECUTE:
        reason = "" if rule.result is Result.DONE else entry.reason or rule.reason
        return entry, Reply(rule.result, entry.data, reason)
    return entry, Reply(rule.result, undone=rule.undone)


def absorb(entry: Entry, asked: Asked, reply: Reply) -> Entry:
    """Return what the row says once the handler has answered so.

    Busy and failed leave no trace: the step was not done, and may be tried
    again. Nor does an undo that is refused: the effect still stands.
    """
    match (asked, reply.result):
        case (Asked.EXECUTE, Result.DONE):
            return Entry(Status.DONE, reply.data)
        case (Asked.EXECUTE, Result.REFUSED):
            return Entry(Status.REFUSED, reason=reply.reason)
        case (Asked.COMPENSATE, Result.DONE):
            return Entry(Status.UNDONE, entry.data)
        case _:
            return entry
