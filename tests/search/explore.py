"""Breadth first, so that the first trace to a violation is a shortest one."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


class Violation(Exception):
    """An invariant does not hold; the text says which, and where."""


class Step(NamedTuple):
    """One thing that can happen, and the state that it leads to."""

    action: tuple[Any, ...]
    state: Any


class World(Protocol):
    """A small world: its beginning, what can happen in it, and what must be true."""

    @property
    def name(self) -> str: ...

    def start(self) -> Hashable:
        """Return the first state."""
        ...

    def steps(self, state: Any, /) -> Iterable[Step]:
        """Yield all that can happen next. Raises Violation."""
        ...

    def canonical(self, state: Any, /) -> tuple[Any, tuple[int, ...]]:
        """Return the state that stands for all that differ in names alone, and the renaming."""
        ...

    def check(self, state: Any, /) -> None:
        """Insist on what must be true of every state. Raises Violation."""
        ...

    def tell(self, action: tuple[Any, ...], names: tuple[int, ...], /) -> str:
        """Say in words what happened; names map the state's parts to those of the first."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to. ``trace`` is empty where nothing is violated."""

    name: str
    states: int
    transitions: int
    depth: int
    took_s: float
    violated: str = ""
    trace: tuple[str, ...] = ()


@dataclass(slots=True)
class Search:
    """One search through one world."""

    world: World
    at_most: int = 1_000_000
    came_from: dict[Any, tuple[Any, tuple[Any, ...]] | None] = field(
        default_factory=dict[Any, tuple[Any, tuple[Any, ...]] | None]
    )
    transitions: int = 0
    depth: int = 0

    def run(self) -> Found:
        """Visit every state there is, or stop at the first that must not be."""
        began = time.monotonic()
        violated, trace = "", ()
        for state, wrong in self._visit():
            violated, trace = wrong.args[0], tuple(self._trace(state, wrong))
        return Found(
            self.world.name,
            len(self.came_from),
            self.transitions,
            self.depth,
            time.monotonic() - began,
            violated,
            trace,
        )

    def _visit(self) -> Iterator[tuple[Any, Violation]]:
        world, came_from = self.world, self.came_from
        first = world.start()
        came_from[first] = None
        layer = [first]
        while layer:
            following: list[Any] = []
            for state in layer:
                try:
                    world.check(state)
                    for action, raw in world.steps(state):
                        self.transitions += 1
                        after = world.canonical(raw)[0]
                        if after not in came_from:
                            came_from[after] = (state, action)
                            following.append(after)
                except Violation as wrong:
                    yield state, wrong
                    return
            assert len(came_from) < self.at_most, f"{world.name}: more states than expected"
            layer = following
            self.depth += bool(layer)

    def _trace(self, last: Any, wrong: Violation) -> Iterator[str]:
        path: list[tuple[Any, tuple[Any, ...], Any]] = []
        state = last
        while (origin := self.came_from[state]) is not None:
            path.append((origin[0], origin[1], state))
            state = origin[0]
        names = tuple(range(9))
        for before, action, after in reversed(path):
            yield self.world.tell(action, names)
            names = self._renamed(before, action, after, names)
        action = wrong.args[1] if len(wrong.args) > 1 else None
        if action is not None:
            yield self.world.tell(action, names)

    def _renamed(
        self, before: Any, action: tuple[Any, ...], after: Any, names: tuple[int, ...]
    ) -> tuple[int, ...]:
        for found, raw in self.world.steps(before):
            state, order = self.world.canonical(raw)
            if found == action and state == after:
                return tuple(names[i] for i in order) or names
        raise AssertionError("a step that was there is not there")
