"""Commands of several participants through one reader, none of whom can hold up the others."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from wire.kafka import GroupReader


class CommandReader(GroupReader):
    """A group's reader that can leave some topics be for a while."""

    _left = False

    def leave(self, topics: AbstractSet[str]) -> None:
        """Read no more of these topics for now, and of all others again.

        To be said before each poll, since a rebalance forgets it.
        """
        if not topics and not self._left:
            return
        for place in self._inner.assignment():
            if place.topic in topics:
                self._inner.pause(place)
            else:
                self._inner.resume(place)
        self._left = bool(topics)
