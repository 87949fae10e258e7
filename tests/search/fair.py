"""From every state, a fair world reaches an end.

All that was on its way is lost. From now on nothing is: messages arrive, and
timers fire once there is nothing else to do, the deadline last of all. Then
the transaction must end, or be parked, and no branch be left in doubt. What
has been seen to end once need not be followed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.search.explore import Step, Violation
from tests.search.shard import NONE, NOTHING, Action, Faults, Shard, State, bits

PATIENCE: Final = 300
CALM: Final = Faults(0, 0, 0, 0)
MOODS: Final = (0, -1)
"""Participants that say yes wherever they have a choice, and participants that say no."""


class Fairness:
    """Follows states to their ends."""

    def __init__(self, world: Shard) -> None:
        self._world = world
        self._ending: set[tuple[int, State]] = set()

    def check(self, state: State) -> None:
        """Insist that there is an end from here. Raises Violation."""
        parts = tuple((base, 0) for base, _ in state.parts)
        quiet = State(state.owner, state.log, parts, CALM)
        for mood in MOODS:
            if (mood, quiet) not in self._ending:
                self._follow(quiet, mood)

    def _follow(self, state: State, mood: int) -> None:
        seen: dict[State, int] = {}
        told: list[Action] = []
        while len(told) < PATIENCE:
            if (mood, state) in self._ending or self._is_over(state):
                self._ending.update((mood, state) for state in seen)
                return
            again = seen[state] = seen.get(state, -1) + 1
            steps = list(self._next(state, mood))
            if again >= len(steps):
                break
            action, state = steps[again]
            told.append(action)
        raise Violation("no end is reached, though nothing is lost any more", ("fairly", *told))

    def _is_over(self, state: State) -> bool:
        row = self._world.logs[state.log].row
        doubt = any(self._world.asks(0, base, 0) for base, _ in state.parts)
        return row is not None and not row.active and not doubt

    def _next(self, state: State, mood: int) -> Iterator[Step]:
        """Yield what may happen next, the most likely first."""
        world = self._world
        if state.owner == NONE:
            log, owner = world.take_over(state.log)
            yield from world.resume(state._replace(owner=owner, log=log), ("takeover",))
            return
        for part, (_, said) in enumerate(state.parts):
            for number in bits(said):
                yield self._arrives(state, part, number, mood)
                return
        owner = world.owners[state.owner]
        moves = sorted(world.moves(state), key=lambda move: _rank(move[0]))
        for action, move in moves:
            if action[0] != "hears" or owner.view == NOTHING or action[2] in self._asked(state):
                yield next(iter(world.apply(state, move, action)))

    def _asked(self, state: State) -> list[object]:
        world = self._world
        return [ask for i, (base, _) in enumerate(state.parts) for ask in world.asks(i, base, 0)]

    def _arrives(self, state: State, part: int, number: int, mood: int) -> Step:
        """Let one message arrive, once."""
        world, message = self._world, self._world.core.messages[part, number]
        base, said = state.parts[part]
        parts = list(state.parts)
        parts[part] = base, said & ~(1 << number)
        if 1 << number & world.core.messages.commands:
            ends = [e for e in world.ends(part, base, number) if not e.moods and not e.crashes]
            end = ends[mood]
            parts[part] = end.base, parts[part][1] | end.said
            action = (world.participant, part, number, end.how)
            return Step(action, state._replace(parts=tuple(parts)))
        left = state._replace(parts=tuple(parts))
        for action, move in world.hears(left, part, message):
            return next(iter(world.apply(left, move, action)))
        return Step(("hears", part, message, False), left)


def _rank(action: Action) -> int:
    kinds = ("begins", "published", "hears")
    if action[0] in kinds:
        return kinds.index(action[0])
    timer = str(action[1])
    return 3 + ("silent" in timer) + 2 * ("deadline" in timer)
