"""How far each partition is finished. Pure.

Commands of a partition finish in any order, and a consumer group keeps one
number a partition: the next offset to read. So that number is the lowest
offset that is not finished, and what is above it may be read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

Place: TypeAlias = tuple[str, int]


class Watermark:
    """The unfinished offsets of the partitions that are read."""

    def __init__(self) -> None:
        self._open: dict[Place, dict[int, None]] = {}  # in order of arrival
        self._next: dict[Place, int] = {}
        self._told: dict[Place, int] = {}
        self._held: set[Place] = set()

    def hold(self, places: Iterable[Place]) -> None:
        """Take up partitions that are ours to read from now on."""
        self._held |= set(places)

    def begin(self, place: Place, offset: int) -> None:
        """Note that an offset was read. Offsets of a partition are read in order."""
        if place not in self._held:
            return  # it was lost while this was on its way
        if offset >= self._next.get(place, 0):
            self._next[place] = offset + 1
        self._open.setdefault(place, {})[offset] = None

    def finish(self, place: Place, offset: int) -> None:
        """Note that it is done with. One of a partition that was lost is of no interest."""
        self._open.get(place, {}).pop(offset, None)

    def advances(self) -> Mapping[Place, int]:
        """Return the next offset to read of each partition where it is not yet told."""
        found: dict[Place, int] = {}
        for place, following in self._next.items():
            offset = min(self._open.get(place, ()), default=following)
            if self._told.get(place) != offset:
                found[place] = offset
        return found

    def told(self, advances: Mapping[Place, int]) -> None:
        """Note what the group knows by now."""
        self._told.update({p: o for p, o in advances.items() if p in self._held})

    def forget(self, places: Iterable[Place]) -> None:
        """Drop partitions that somebody else reads from now on."""
        for place in places:
            self._held.discard(place)
            for kept in (self._open, self._next, self._told):
                kept.pop(place, None)

    @property
    def unfinished(self) -> int:
        """How many offsets are not finished."""
        return sum(map(len, self._open.values()))
