"""The parts of the log: records by the time in their transaction's name, on a ring.

A part is emptied as a whole, whatever it holds, which costs about as much as
deleting one row. So it must hold nothing more that is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

SLOTS: Final = 32
"""As many as the schema has."""

DAY_US: Final = 86_400_000_000
"""What a part holds, unless the log says otherwise."""

REACH: Final = SLOTS - 2
"""For so many parts' time, what has ended can be kept: the rest are the one that is being
filled, and one to be emptied."""


def born_us(gid: str) -> int:
    """Read the time in a transaction's name; 0 if it is none."""
    try:
        return int(gid[-32:-20], 16) * 1000
    except ValueError:
        return 0


def slot_of(gid: str, part_us: int) -> int:
    """Tell where a transaction's records are."""
    return born_us(gid) // part_us % SLOTS


def slots_of(gids: Iterable[str], part_us: int) -> list[int]:
    """Tell where these transactions' records are: nobody need look elsewhere."""
    return sorted({slot_of(gid, part_us) for gid in gids})


class Part(NamedTuple):
    """The records of transactions that were born in one span of time."""

    slot: int
    number: int
    """Of all parts since 1970."""
    end_us: int


def ripe(now_us: int, longest_us: int, part_us: int) -> Iterator[Part]:
    """Yield the parts, oldest first, in which everything that ended in time may go."""
    filling = now_us // part_us
    for number in range(max(0, filling - SLOTS + 1), filling):
        end_us = (number + 1) * part_us
        if end_us + longest_us <= now_us:
            yield Part(number % SLOTS, number, end_us)


def goes_with_its_part(name: str, keep: Mapping[str, int], part_us: int) -> bool:
    """Tell whether records may stay until their part is emptied, which is soon.

    Where others of the same time are kept for much longer, or for longer than
    the ring has parts, they are deleted one by one.
    """
    longest_us = max(keep.values())
    return longest_us <= REACH * part_us and keep[name] + part_us >= longest_us
