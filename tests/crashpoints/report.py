"""The table, as a page. Each line says which run it comes from, so runs can add to each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.chaos.surroundings import commit, day, machine
from tests.crashpoints.points import NOT_INJECTED, all_points
from tests.crashpoints.run import Row

INTRODUCTION: Final = """\
# Crash points

Each line is a process that killed itself with SIGKILL at that point, was started again, and
died there again, while clients went on. (At P11 it is the participants' Postgres that is killed,
while something is prepared in it.) Then all was started whole, and the checker of the
[chaos runs](chaos.md) read the databases, the topic of outcomes and what the clients had
written down. What each point means: [guarantees](../guarantees.md#crash-points).
"""
_LINE: Final = re.compile(r"^\| ([CP]\d+) \|.*\|.*\|.*\|.*\|.*\|.*$", re.MULTILINE)


def write(path: Path, rows: Sequence[Row], *, repeats: int, seed: int) -> None:
    """Write the page; lines of points that were not run now stay as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = {found[1]: found[0] for found in _LINE.finditer(before)}
    lines |= {row.point.name: _line(row, seed) for row in rows}
    order = [point.name for point in all_points() if point.name in lines]
    page = [
        INTRODUCTION,
        f"- command: `make crashpoints REPEATS={repeats} REPORT=…`; `ONLY=…` renews some lines",
        f"- machine: {machine()}",
        "",
        "| Point | Between | Repeats | Crashes | Recovered | At rest after | Violations | Run |",
        "|---|---|---|---|---|---|---|---|",
        *(lines[name] for name in order),
        "",
        "## Not injected",
        "",
        "| Point | Why |",
        "|---|---|",
        *(f"| {name} | {why} |" for name, why in NOT_INJECTED.items()),
    ]
    path.write_text("\n".join(page) + "\n", encoding="utf-8")


def _line(row: Row, seed: int) -> str:
    cells = (
        row.point.name,
        row.point.between,
        str(row.wanted),
        str(row.crashes),
        "all" if row.recovered else "no",
        f"{row.rest_s:.1f} s",
        "; ".join(v.what for v in row.violations) or "none",
        f"{commit()}, {day()}, seed {seed}",
    )
    return f"| {' | '.join(cells)} |"
