"""The table of a run, as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.chaos.surroundings import described
from tests.crashpoints.points import NOT_INJECTED
from tests.crashpoints.run import Row

INTRODUCTION = """\
# Crash points

Each line is a process that killed itself with SIGKILL at that point, was started again, and
died there again, while clients went on. Then all was started whole, and the checker of
the chaos runs read the databases, the topic of outcomes and what the clients had written down.
What each point means: [guarantees](../guarantees.md#crash-points).
"""


def write(path: Path, rows: Sequence[Row], *, repeats: int, seed: int) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(_lines(rows, repeats, seed)) + "\n", encoding="utf-8")


def _lines(rows: Sequence[Row], repeats: int, seed: int) -> list[str]:
    table = [
        f"| {row.point.name} | {row.point.between} | {row.wanted} | {row.crashes} |"
        f" {'all' if row.recovered else 'no'} | {row.rest_s:.1f} s |"
        f" {'; '.join(v.what for v in row.violations) or 'none'} |"
        for row in rows
    ]
    crashes = sum(row.crashes for row in rows)
    violations = sum(len(row.violations) for row in rows)
    return [
        INTRODUCTION,
        f"- command: `make crashpoints REPEATS={repeats}`, seed {seed}",
        *described(),
        f"- {crashes} crashes at {len(rows)} points, {violations} violations",
        "",
        "| Point | Between | Repeats | Crashes | Recovered | At rest after | Violations |",
        "|---|---|---|---|---|---|---|",
        *table,
        "",
        "## Not injected",
        "",
        "| Point | Why |",
        "|---|---|",
        *(f"| {name} | {why} |" for name, why in NOT_INJECTED.items()),
    ]
