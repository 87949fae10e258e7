"""Whether this process can coordinate, for its probes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from coordinator.shards import LEASE_US

Age = Callable[[], float]
"""Seconds since a part was last seen to work."""


class Readiness:
    """Each part of the process: at work, or away and why."""

    def __init__(self) -> None:
        self._away: dict[str, str] = {}
        self._ages: dict[str, Age] = {}

    def expect(self, parts: Iterable[str]) -> None:
        """Name the parts that there are: each says by itself when it has begun."""
        self._away |= dict.fromkeys(parts, "it has not begun yet")

    def begun(self, part: str, age: Age = lambda: 0.0) -> None:
        """See a part begin to work."""
        self._away.pop(part, None)
        self._ages[part] = age

    def ended(self, part: str, why: str) -> None:
        """See a part stop, and hear why."""
        self._ages.pop(part, None)
        self._away[part] = why

    def unready(self) -> Iterator[str]:
        """Say what is away, or has not heard of its log for as long as others wait for it."""
        for part, why in self._away.items():
            yield f"{part}: {why}"
        for part, age in self._ages.items():
            if (silent_s := age()) * 1_000_000 > LEASE_US:
                yield f"{part}: its log has not answered for {silent_s:.1f} s"
