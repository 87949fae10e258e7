"""What an owner knows of the transaction, and what the real machines make of it.

A view is a machine's state of which only so much is kept as can matter again:
a time is due or it is not, and reasons and results are gone. Each view has a
number, and each answer of a machine to it is asked for once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec import structs

from coordinator.core import machine
from coordinator.core.events import Event
from coordinator.core.machine import State
from coordinator.core.records import Begun, Entry, encode
from coordinator.core.transition import Summary, Transition
from sagas.model import AnyDefinition
from tests.core.coordinator.builders import GID, SECOND, begun
from tests.search.explore import Violation
from tests.search.log import NOW
from wire.messages import Command, Message, Outcome, Reply

FAR: Final = NOW + 3_600 * SECOND
"""Not due yet. What is due is at 0."""

LONG_AGO: Final = 0

NOTHING: Final = -1
"""The number of no view: the owner has no such transaction in memory."""

Said: TypeAlias = tuple[int, int]
"""A message: whose (a branch, or a step, by its place), and which."""


class Move(NamedTuple):
    """A machine's answer: what is known then, what is to be written, and what is then said."""

    view: int
    records: tuple[str, ...]
    said: tuple[Said, ...]
    tells: bool
    summary: Summary
    durable: Hashable
    """What must be known again from the log alone."""


class Messages:
    """All messages ever seen, without their names: the same for every branch, or step."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._numbers: dict[Message, int] = {}
        self._known: list[Any] = []
        self._whole: dict[Said, Any] = {}
        self.commands = self.replies = 0

    def number(self, message: Any) -> Said:
        """Number a message."""
        what = "branch" if hasattr(message, "branch") else "step"
        part = self._names.index(getattr(message, what))
        blank = _blank(message, **{what: ""})
        number = self._numbers.setdefault(blank, len(self._known))
        if number == len(self._known):
            self._known.append(blank)
            self.commands |= isinstance(message, Command) << number
            self.replies |= isinstance(message, Reply) << number
        return part, number

    def __getitem__(self, said: Said) -> Any:
        """Return a message in full."""
        found = self._whole.get(said)
        if found is None:
            blank = self._known[said[1]]
            what = "branch" if hasattr(blank, "branch") else "step"
            found = structs.replace(blank, **{what: self._names[said[0]]})
            self._whole[said] = found
        return found

    def bits(self, test: Callable[[Any], bool]) -> int:
        """Return the set, as bits, of the messages known so far that pass a test."""
        return sum(1 << n for n, message in enumerate(self._known) if test(message))


_BLANK: Final = {
    "reason": "",
    "data": None,
    "result": None,
    "output": None,
    "command": "",
    "participant": "",
}


def _blank(fact: Any, **more: Any) -> Any:
    """Leave out what is only for people or for handlers."""
    blank = {name: _BLANK[name] for name in _BLANK if hasattr(fact, name)}
    if isinstance(getattr(fact, "result", None), str):
        del blank["result"]  # it is the answer itself
    if getattr(fact, "retry_at_us", None) is not None:
        more["retry_at_us"] = FAR
    return structs.replace(fact, **blank, **more)


class Kind(NamedTuple):
    """How the states of one machine are made comparable."""

    simplify: Callable[[Any], Any]
    key: Callable[[Any], Hashable]
    durable: Callable[[Any], Hashable]


class Core:
    """The machines, for one definition."""

    def __init__(self, definition: AnyDefinition, names: tuple[str, ...], kind: Kind) -> None:
        self.definition, self.names, self._kind = definition, names, kind
        self.messages = Messages(names)
        self._begun: Begun = begun(definition)
        self._views: list[State] = []
        self._numbers: dict[Hashable, int] = {}
        self._moves: dict[Any, Move | None] = {}

    def __getitem__(self, view: int) -> Any:
        """Return the state that a number stands for."""
        return self._views[view]

    def number(self, state: State) -> int:
        """Number a state, leaving out what cannot matter again."""
        state = self._kind.simplify(state)
        key = self._kind.key(state)
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self._views)
            self._views.append(state)
            self._check(state)
        return found

    def _check(self, state: State) -> None:
        """Whatever needs an owner has a time at which it will be looked at again."""
        if machine.summary(state).active and machine.wake_at_us(state) is None:
            raise Violation(f"nothing would ever wake it: {self._kind.key(state)}")
        once = machine.wake(state, NOW)
        twice = machine.wake(once.state, NOW)
        if twice.records or twice.sends:
            raise Violation(f"it would spin: {self._kind.key(state)}")

    # ── what the machines answer; None: it changes nothing ───────────────────

    def begin(self) -> Move:
        """Start the transaction."""
        move = self._moves.get("begin")
        if move is None:
            made = machine.begin(GID, self.definition, self._begun, NOW)
            move = self._moves["begin"] = self._move(made)
        return move

    def react(self, view: int, event: Event, key: Hashable, *, late: bool = False) -> Move | None:
        """Hear of an event; ``key`` names it."""
        place = (view, key, late)
        if place not in self._moves:
            state: Any = self._views[view]
            if late:
                state = structs.replace(state, began_us=LONG_AGO)
            self._moves[place] = self._unless_idle(view, machine.react(state, event, NOW))
        return self._moves[place]

    def wake(self, view: int, timer: Hashable, state: State) -> Move | None:
        """Let a timer fire: ``state`` is the view, with that timer due."""
        place = (view, "wake", timer)
        if place not in self._moves:
            self._moves[place] = self._unless_idle(view, machine.wake(state, NOW))
        return self._moves[place]

    def resume(self, view: int) -> Move:
        """Go on with what was just recovered."""
        place = (view, "resume")
        move = self._moves.get(place)
        if move is None:
            move = self._moves[place] = self._move(machine.resume(self._views[view], NOW))
        return move

    def recover(self, entries: Iterable[Entry]) -> int:
        """Replay the log."""
        return self.number(machine.recover(GID, self.definition, entries))

    def durable(self, entries: Iterable[Entry]) -> Hashable:
        """Tell what the log says."""
        state = machine.recover(GID, self.definition, entries)
        return self._kind.durable(self._kind.simplify(state))

    def _unless_idle(self, view: int, step: Transition[Any]) -> Move | None:
        move = self._move(step)
        idle = move.view == view and not (move.records or move.said or move.tells)
        return None if idle else move

    def _move(self, step: Transition[Any]) -> Move:
        summary = machine.summary(step.state)
        simple = self._kind.simplify(step.state)
        sends = [send.message for send in step.sends]
        for message in sends:
            if isinstance(message, Outcome) and message.outcome != step.state.outcome:
                raise Violation("an outcome is told that is not so")
        return Move(
            view=self.number(step.state) if summary.active else NOTHING,
            records=tuple(encode(_blank(record)) for record in step.records),
            said=tuple(self.messages.number(m) for m in sends if not isinstance(m, Outcome)),
            tells=any(isinstance(m, Outcome) for m in sends),
            summary=summary,
            durable=self._kind.durable(simple),
        )
