"""Measure takeovers and handovers, and say whether they keep what is promised."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.chaos.load import Load
from tests.chaos.surroundings import commit, day, machine
from tests.chaos.system import Shape, System, running
from tests.takeovers.watch import Watch
from tests.takeovers.ways import ADDED, WAYS, Row, Way, measure, settled

HEAD: Final = "| Owner | Times | Shards | p50 | p99 | Longest | Promised | |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; a promise that is not kept is the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.takeovers", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="of each way")
    parser.add_argument("--only", help="ways whose names contain this")
    parser.add_argument("--report", type=Path, help="write the table to this file as well")
    options = parser.parse_args(arguments)
    chosen = [way for way in WAYS if (options.only or "") in way.name]
    with tempfile.TemporaryDirectory(prefix="twofold-takeovers-") as folder:
        rows, pauses = asyncio.run(run(Path(folder), chosen, options.repeats))
    lines = table(rows, pauses)
    say("\n".join(lines))
    if options.report is not None:
        options.report.write_text("\n".join(page(lines, options.repeats)) + "\n", encoding="utf-8")
    return int(any(_quantile(row.gaps_s, 0.99) > row.way.bound_s for row in rows))


async def run(directory: Path, ways: Sequence[Way], repeats: int) -> tuple[list[Row], list[float]]:
    """Run all ways under load; return what came of each, and the pauses that are ordinary."""
    async with running(directory, Shape()) as system:
        for process in system.processes:
            await process.start()
        load, watch = (
            Load(system.kafka.bootstrap, random.Random(7)),
            Watch(system.log.dsn("twofold")),
        )
        background = [
            asyncio.create_task(work) for work in (load.ear.run(), load.run(), watch.run())
        ]
        try:
            await asyncio.sleep(5)
            await settled(system, watch)
            rows = await _measure_all(system, watch, ways, repeats)
        finally:
            load.stopping.set()
            for task in background:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*background, return_exceptions=True)
            await load.close()
        return rows, watch.pauses_s()


async def _measure_all(
    system: System, watch: Watch, ways: Sequence[Way], repeats: int
) -> list[Row]:
    added = Row(ADDED)
    rows = [Row(way) for way in ways]
    for row in rows:
        for n in range(repeats):
            lost, handed_back = await measure(system, watch, row.way, n)
            row.repeats += 1
            row.gaps_s += lost
            added.repeats += 1
            added.gaps_s += handed_back
            longest = max(lost, default=0.0)
            say(f"{row.way.name} {n + 1}: {len(lost)} shards, the longest {longest:.2f} s")
    return [*rows, added]


def table(rows: Sequence[Row], pauses: Sequence[float]) -> list[str]:
    """Say what came of it."""
    lines = [HEAD, "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        worst = _quantile(row.gaps_s, 0.99)
        cells = (
            row.way.name,
            str(row.repeats),
            str(len(row.gaps_s)),
            _span(_quantile(row.gaps_s, 0.5)),
            _span(worst),
            _span(max(row.gaps_s, default=0.0)),
            f"p99 ≤ {_span(row.way.bound_s)}",
            "kept" if worst <= row.way.bound_s else "missed",
        )
        lines.append(f"| {' | '.join(cells)} |")
    ordinary = f"{_span(_quantile(pauses, 0.5))} (p50), {_span(_quantile(pauses, 0.99))} (p99)"
    return [*lines, "", f"Within one epoch, a shard waited for more to do: {ordinary}."]


def page(lines: Sequence[str], repeats: int) -> list[str]:
    """Make the page of the report."""
    return [
        "# Takeovers and handovers",
        "",
        "Three coordinators, eight shards, and a steady load of both kinds. One coordinator is",
        "lost in each of these ways, again and again. Measured is how long each of its shards",
        "stood still: unplanned, from the moment of harm until the shard first got on under a",
        "later epoch; planned, from when it last got on under the old one. The load leaves pauses",
        "of its own, which are part of it; the last line tells how long they are.",
        "",
        f"- command: `make takeovers REPEATS={repeats} REPORT=…`",
        f"- commit: {commit()}, {day()}",
        f"- machine: {machine()}; load average at the end: {os.getloadavg()[1]:.1f}",
        "",
        *lines,
    ]


def _quantile(values: Sequence[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * q))] if values else 0.0


def _span(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def say(line: str) -> None:
    """Write a line to the standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
