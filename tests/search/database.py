"""A branch's database as Postgres keeps it, and the participant's real rules at work on it.

A participant is the coroutine of `pursue`. It is told from the start what it
has seen so far, so that it can be put up anywhere: what it asks for next is a
function of that.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from participants.branch import Answer, Asked, Came, Do, Report, Seen, Sight, pursue

NOBODY: Final = -1


class Base(NamedTuple):
    """What one branch's database says: its marker, what is prepared, and who is at work."""

    marker: Seen | None = None
    prepared: bool = False
    effects: int = 0
    at_work: int = NOBODY
    """Whose row is there, and not committed."""

    def without(self, me: int) -> Base:
        """Return it as a rollback of what was not prepared leaves it."""
        return self._replace(at_work=NOBODY) if self.at_work == me else self

    def is_held(self, me: int) -> bool:
        """Whether somebody else's row keeps this one out."""
        return self.prepared or self.at_work not in (NOBODY, me)


class Deed(NamedTuple):
    """What a participant asks of its database."""

    do: Do
    patience: int


class Look(NamedTuple):
    """A participant looks: first at what is prepared, then at the marker."""


Wish: TypeAlias = Deed | Look | Answer | None
Seen_: TypeAlias = Report | Sight
History: TypeAlias = tuple[Seen_, ...]

_DECISIONS: Final = frozenset({Asked.COMMIT, Asked.ROLLBACK})


@types.coroutine
def _suspended(wanted: Wish) -> Generator[Wish, Any, Any]:
    """Hand a wish out of the coroutine, and what came of it in again."""
    return (yield wanted)


class _Database:
    """The database as `pursue` sees it."""

    async def look(self) -> Sight:
        found: Sight = await _suspended(Look())
        return found

    async def perform(self, do: Do, reason: str, patience: int) -> Report:
        del reason
        found: Report = await _suspended(Deed(do, patience))
        return found


class Wishes:
    """What participants want, by what they were asked and have seen."""

    def __init__(self) -> None:
        self._known: dict[tuple[Asked, History], Wish] = {}

    def __call__(self, asked: Asked, history: History) -> Wish:
        """Tell what comes next: the answer, at the end."""
        place = (asked, history)
        if place not in self._known:
            expected = Seen.PREPARED if asked in _DECISIONS else Seen.FRESH
            self._known[place] = _after(pursue(asked, expected, _Database()), history)
        return self._known[place]


def _after(coroutine: Coroutine[Any, Any, Answer | None], history: History) -> Wish:
    try:
        wanted: Wish = coroutine.send(None)
        for seen in history:
            wanted = coroutine.send(seen)
    except StopIteration as stop:
        answer: Answer | None = stop.value
        return answer and Answer(answer.answer)
    coroutine.close()
    return wanted


SETTLES_NOTHING: Final = frozenset({Came.BUSY, Came.FAILED})


def perform(base: Base, me: int, deed: Deed) -> Iterator[tuple[Base, Came]]:
    """Yield what may become of a deed: wholly done, or not at all."""
    match deed.do:
        case Do.WORK:
            yield from _work(base, me, deed.patience)
        case Do.PREPARE:
            yield base.without(me)._replace(prepared=True), Came.TOOK
            yield base.without(me), Came.BUSY
        case Do.COMMIT_WORK:
            done = base.without(me)._replace(marker=Seen.COMMITTED, effects=base.effects + 1)
            yield done, Came.TOOK
            yield base.without(me), Came.FAILED
        case Do.MARK:
            clean = base.without(me)
            if clean.marker is not None or clean.is_held(me):
                yield clean, Came.STALE
            else:
                yield clean._replace(marker=Seen.ROLLED_BACK), Came.TOOK
        case Do.COMMIT_PREPARED if base.prepared:
            done = base._replace(marker=Seen.COMMITTED, prepared=False, effects=base.effects + 1)
            yield done, Came.TOOK
        case Do.ROLL_BACK_PREPARED if base.prepared:
            yield base._replace(prepared=False), Came.TOOK
        case Do.COMMIT_PREPARED | Do.ROLL_BACK_PREPARED:
            yield base, Came.STALE
        case Do.DISCARD | Do.NOTHING:
            yield base.without(me), Came.TOOK


def _work(base: Base, me: int, patience: int) -> Iterator[tuple[Base, Came]]:
    if base.marker is not None:
        yield base, Came.STALE
    elif base.is_held(me):
        yield base, Came.BUSY if patience else Came.STALE
    else:
        mine = base._replace(at_work=me)
        for came in (Came.DONE, Came.READ_ONLY, Came.REFUSED, Came.FAILED, Came.BUSY):
            yield mine, came


def sight(base: Base, prepared: bool) -> Sight:  # noqa: FBT001
    """Tell what was seen: the marker as it is now, else what was prepared a moment ago."""
    if base.marker is not None:
        return Sight(base.marker)
    return Sight(Seen.PREPARED if prepared else Seen.FRESH)
