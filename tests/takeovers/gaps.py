"""From what was seen of the shards, for how long nobody worked on them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple


class Seen(NamedTuple):
    """A shard's row in the log, and when it was first seen to be so."""

    at: float
    epoch: int
    offsets: tuple[int, int]


class Handover(NamedTuple):
    """From the last write under one epoch to the first under a higher one."""

    left: float
    claimed: float
    taken: float

    @property
    def gap(self) -> float:
        """For how long nobody wrote."""
        return self.taken - self.left


def taken_at(history: Sequence[Seen], epoch: int) -> float | None:
    """Tell when the shard was first written for under a higher epoch than this one.

    Claiming it raises the epoch, and moves no offset; work moves offsets.
    """
    return next((at for at, under in _writes(history) if under > epoch), None)


def handovers(history: Sequence[Seen], since: float) -> list[Handover]:
    """Find each change of owner since a time, and the writes on both of its sides."""
    found: list[Handover] = []
    for (left, before), (taken, after) in pairwise(_writes(history)):
        if after > before and taken >= since:
            claimed = next(seen.at for seen in history if seen.epoch == after)
            found.append(Handover(left, claimed, taken))
    return found


def ordinary(history: Sequence[Seen]) -> list[float]:
    """Measure the times between two writes under the same epoch."""
    return [
        at - before for (before, under), (at, over) in pairwise(_writes(history)) if under == over
    ]


def _writes(history: Sequence[Seen]) -> Iterator[tuple[float, int]]:
    for before, seen in pairwise(history):
        if seen.offsets != before.offsets:
            yield seen.at, seen.epoch


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is not below such a share of them all."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
