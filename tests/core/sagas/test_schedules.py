"""Times of the clock: by a length of time, or by a cron line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.loader import DefinitionInvalid, load
from sagas.schedule import ScheduleInvalid, civil, due, event_of, key_of, schedule

SECOND = 1_000_000


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


def times(text: str, after: str, until: str, most: int = 100) -> list[str]:
    """Say when it is due between two moments."""
    found, _ = due(schedule(text), us(after), us(until), most)
    return [key_of(at) for at in found]


def test_a_length_of_time_is_counted_from_1970() -> None:
    """So that all processes mean the same moments: an hour's are the full hours."""
    found = times("1h", "2026-03-01T10:00:00Z", "2026-03-01T12:59:59Z")
    assert found == ["2026-03-01T11:00:00Z", "2026-03-01T12:00:00Z"]


def test_what_is_due_is_after_the_one_and_up_to_the_other() -> None:
    """So that two looks in a row have nothing in common, and leave nothing out."""
    first = times("1h", "2026-03-01T10:30:00Z", "2026-03-01T12:00:00Z")
    second = times("1h", "2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z")
    assert [*first, *second] == [f"2026-03-01T{h}:00:00Z" for h in (11, 12, 13)]


def test_of_too_many_it_is_the_last() -> None:
    found, more = due(schedule("1s"), 0, 1000 * SECOND, 3)
    assert list(found) == [998 * SECOND, 999 * SECOND, 1000 * SECOND]
    assert more
    assert due(schedule("1s"), 997 * SECOND, 1000 * SECOND, 3)[1] is False


LINES: dict[str, Callable[[datetime], bool]] = {
    "30 3 * * *": lambda t: (t.hour, t.minute) == (3, 30),
    "*/20 8-9 * * *": lambda t: t.hour in (8, 9) and t.minute % 20 == 0,
    "0 0 1,15 * *": lambda t: t.day in (1, 15) and t.hour == t.minute == 0,
    "5 12 * 2 *": lambda t: (t.month, t.hour, t.minute) == (2, 12, 5),
    "0 6 * * 1-5": lambda t: t.isoweekday() < 6 and (t.hour, t.minute) == (6, 0),
    "0 6 * * 7": lambda t: t.isoweekday() == 7 and (t.hour, t.minute) == (6, 0),
    "0 6 13 * 5": lambda t: 5 in (t.isoweekday(), t.day - 8) and (t.hour, t.minute) == (6, 0),
    "0 0 29 2 *": lambda t: (t.month, t.day, t.hour, t.minute) == (2, 29, 0, 0),
}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("year", [2027, 2028])
def test_a_cron_line_is_what_cron_understands(line: str, year: int) -> None:
    """Against every minute of two months, in a leap year and another."""
    first = datetime(year, 2, 1, tzinfo=UTC)
    minutes = [first + timedelta(minutes=n) for n in range(59 * 24 * 60)]
    wanted = [f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in minutes if LINES[line](at)]
    until = minutes[-1] + timedelta(seconds=59)
    assert times(line, f"{first - timedelta(seconds=1)}", f"{until}", 10_000) == wanted


@given(st.integers(min_value=-200_000, max_value=200_000))
def test_days_are_those_of_the_calendar(day: int) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
    assert civil(day) == (at.year, at.month, at.day)


@pytest.mark.parametrize(
    "text",
    [
        "hourly",
        "0s",
        "1500ms",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "a * * * *",
        "0 0 30 2 *",
    ],
)
def test_what_names_no_time_is_refused(text: str) -> None:
    with pytest.raises(ScheduleInvalid):
        schedule(text)


TEXT = """\
saga: tidy
version: 1
start: {every: 15m}
steps:
  sweep: {call: rooms.sweep, with: {until: "${ input.due }"}, pivot: true}
"""


def test_a_definition_starts_by_the_clock() -> None:
    """Its input is the time that it is for."""
    start = load(TEXT, "x.yaml").start
    assert start.topic is None
    assert start.every is not None
    assert start.every.last(us("2026-03-01T10:44:00Z")) == us("2026-03-01T10:30:00Z")
    assert event_of(us("2026-03-01T10:30:00Z")) == {"due": "2026-03-01T10:30:00Z"}


@pytest.mark.parametrize(
    ("start", "more", "code"),
    [
        ("{every: often}", "", "schedule"),
        ("{every: 1h, topic: t}", "", "two-starts"),
        ("{every: 1h, key: event.id}", "", "two-starts"),
        ("{every: 1h}", "input: {required: [size]}\n", "schedule-input"),
    ],
)
def test_what_the_clock_cannot_start_is_refused(start: str, more: str, code: str) -> None:
    text = TEXT.replace("{every: 15m}", start).replace("steps:", f"{more}steps:")
    with pytest.raises(DefinitionInvalid) as refused:
        load(text, "x.yaml")
    assert [problem.code for problem in refused.value.problems] == [code]
