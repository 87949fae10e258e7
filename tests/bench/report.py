"""Tables for people, in Markdown, and one line for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.bench.goals import GOALS, Points, throughput
from tests.bench.load import median
from tests.bench.measure import Point
from tests.bench.rounds import PAIRS

SPENDERS: Final = ("coordinator", "participants", "postgres", "broker", "driver")


def machine() -> str:
    """Say what it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "?")
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = platform.python_version()
    return f"{os.cpu_count()} cores ({model}), {memory_gb:.0f} GB, Python {python}"


def table(points: Points) -> Iterator[str]:
    """Show the median of the rounds, and the range of the throughput."""
    titles = ("subject", "load", "per second", "share of floor", "p50 ms", "p99 ms")
    yield _row(
        (*titles, *(f"{who} µs" for who in SPENDERS), "messages", "not committed", "elsewhere")
    )
    yield _row(("---",) * (len(titles) + len(SPENDERS) + 3))
    floors = {str(kind): floor for kind, floor in PAIRS.items()}
    for (subject, load), rounds in sorted(points, key=_order):
        rates = [point.per_second for point in rounds]
        floor = floors.get(subject)
        share = points.ratio((subject, load), (floor, load), throughput) if floor else float("nan")
        yield _row(
            (
                subject,
                load,
                f"{median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f})",
                _number(share, 2),
                *(
                    _number(median([getattr(p, a) for p in rounds]), 1)
                    for a in ("p50_ms", "p99_ms")
                ),
                *(_number(median(_spent(rounds, who)), 0) for who in SPENDERS),
                _number(median([p.messages for p in rounds]), 1),
                str(sum(p.others for p in rounds)),
                f"{median([p.elsewhere for p in rounds]):.0%}",
            )
        )


def verdicts(points: Points) -> Iterator[str]:
    """Show each goal, and whether it is reached."""
    yield _row(("goal", "value", "must", "excellent", ""))
    yield _row(("---",) * 5)
    for goal in GOALS:
        value, sign = goal.value(points), "≥" if goal.higher else "≤"
        limits = (f"{sign} {goal.must:g}", f"{sign} {goal.stretch:g}")
        yield _row((goal.name, _number(value, 2), *limits, goal.verdict(value)))


def line(points: Points) -> str:
    """Return all ratios as one JSON object; null where nothing was measured."""
    ratios = {
        goal.name: {
            "value": _rounded(goal.value(points)),
            "must": goal.must,
            "stretch": goal.stretch,
            "higher": goal.higher,
        }
        for goal in GOALS
    }
    return json.dumps({"ratios": ratios})


def _order(item: tuple[tuple[str, str], list[Point]]) -> tuple[int, str]:
    (subject, _), _ = item
    names = [name for kind, floor in PAIRS.items() for name in (floor, str(kind))]
    return (names.index(subject) if subject in names else len(names)), subject


def _spent(rounds: Sequence[Point], who: str) -> list[float]:
    return [point.cpu_us[who] for point in rounds if who in point.cpu_us]


def _number(value: float, digits: int) -> str:
    return "" if value != value else f"{value:.{digits}f}"  # noqa: PLR0124  # nan


def _rounded(value: float) -> float | None:
    return None if value != value else round(value, 4)  # noqa: PLR0124  # nan


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
