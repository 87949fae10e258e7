"""When a definition starts by the clock: `every: 15m`, or `every: "30 3 * * 1-5"`.

All in UTC, and a function of the clock alone: whoever asks gets the same times.
Nothing here reads it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sagas.document import SECOND_US, duration_us
from sagas.model import Schedule

_DAY_S: Final = 86_400
_LONGEST_DAYS: Final = 8 * 366 + 1
"""The 29th of February may be as long ago as this: 1900 and 2100 have none."""


class ScheduleInvalid(Exception):
    """It is no length of time and no cron line; the text says why."""


@dataclass(frozen=True, slots=True)
class Interval:
    """At every multiple of a length of time since 1970: an hour's are the full hours."""

    length_us: int

    def last(self, until_us: int) -> int:
        return until_us // self.length_us * self.length_us


@dataclass(frozen=True, slots=True)
class Cron:
    """At the minutes that all five fields name; of two restricted kinds of day, either will do."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """From Sunday, 0."""
    either: bool

    def last(self, until_us: int) -> int | None:
        minute = until_us // SECOND_US // 60
        day, within = divmod(minute, _DAY_S // 60)
        for one in range(day, day - _LONGEST_DAYS, -1):
            if self._has(one):
                for at in self._times(within if one == day else _DAY_S):
                    return (one * _DAY_S + at * 60) * SECOND_US
        return None

    def _times(self, within: int) -> list[int]:
        """Return the day's minutes up to one of them, the last first."""
        times = (hour * 60 + minute for hour in self.hours for minute in self.minutes)
        return sorted((at for at in times if at <= within), reverse=True)

    def _has(self, day: int) -> bool:
        _, month, of_month = civil(day)
        if month not in self.months:
            return False
        fits = (of_month in self.days, (day + 4) % 7 in self.weekdays)  # 1970 began on a Thursday
        return any(fits) if self.either else all(fits)


def due(schedule: Schedule, after_us: int, until_us: int, most: int) -> tuple[Sequence[int], bool]:
    """Return the times after one and up to another, in order, and whether there are more.

    Of more than ``most`` it is the last ones.
    """
    found: list[int] = []
    at = schedule.last(until_us)
    while at is not None and at > after_us:
        if len(found) == most:
            return found[::-1], True
        found.append(at)
        at = schedule.last(at - 1)
    return found[::-1], False


def schedule(text: str) -> Schedule:
    """Read a length of time, or a cron line.

    Raises:
        ScheduleInvalid: it is neither, or names no time at all.

    """
    try:
        length_us = duration_us(text)
    except ValueError:
        return cron(text)
    if length_us == 0 or length_us % SECOND_US:
        raise ScheduleInvalid("the clock is looked at by the second: write whole ones")
    return Interval(length_us)


_FIELDS: Final = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day", 1, 31),
    ("month", 1, 12),
    ("weekday", 0, 7),
)
_PART: Final = re.compile(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?")


def cron(text: str) -> Cron:
    """Read a cron line of five fields: minute, hour, day, month, weekday.

    Raises:
        ScheduleInvalid: it is none, or names no time at all.

    """
    words = text.split()
    if len(words) != len(_FIELDS):
        said = "this is no length of time, and no cron line: minute hour day month weekday"
        raise ScheduleInvalid(said)
    minutes, hours, days, months, weekdays = (
        frozenset(_field(word, *field)) for word, field in zip(words, _FIELDS, strict=True)
    )
    weekdays = frozenset(day % 7 for day in weekdays)
    either = not (words[2].startswith("*") or words[4].startswith("*"))
    made = Cron(minutes, hours, days, months, weekdays, either)
    if made.last(_LONGEST_DAYS * _DAY_S * SECOND_US) is None:
        raise ScheduleInvalid("no year has such a day")
    return made


def _field(text: str, name: str, first: int, last: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ScheduleInvalid(f"`{part}` is no {name}: write *, 5, 1-5, 1,15 or */10")
        low = int(match[1]) if match[1] else first
        high = int(match[2]) if match[2] else (last if not match[1] or match[3] else low)
        step = int(match[3] or 1)
        if not (first <= low <= high <= last and step):
            raise ScheduleInvalid(f"`{part}` is no {name}: it goes from {first} to {last}")
        found.update(range(low, high + 1, step))
    return found


def civil(day: int) -> tuple[int, int, int]:
    """Return year, month and day of a day that is counted from 1970.

    After Hinnant, chrono-compatible low-level date algorithms: years begin in
    March there, so that the leap day is their last.
    """
    era, of_era = divmod(day + 719_468, 146_097)
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    of_month = of_year - (153 * shifted + 2) // 5 + 1
    return year + era * 400 + shifted // 10, (shifted + 2) % 12 + 1, of_month


def key_of(at_us: int) -> str:
    """Write a due time in RFC 3339: it is the start's key, so each is started once."""
    day, second = divmod(at_us // SECOND_US, _DAY_S)
    year, month, of_month = civil(day)
    hour, rest = divmod(second, 3600)
    return f"{year:04}-{month:02}-{of_month:02}T{hour:02}:{rest // 60:02}:{rest % 60:02}Z"


def event_of(at_us: int) -> dict[str, str]:
    """Return what a start by the clock has for its input."""
    return {"due": key_of(at_us)}
