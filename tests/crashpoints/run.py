"""Processes that die at a point, are started again and die there again, under load.

Of three coordinators two are doomed and one is not; all three participants
are. After the last death everything is started whole, the load ends, and the
checker of the chaos runs says what is true at rest.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from compose.demo.check import Finding
from tests.chaos import check, harm_processes, harm_records
from tests.chaos.load import Load
from tests.chaos.run import rest
from tests.chaos.system import Process, Shape, System, running
from tests.crashpoints.points import Point

SHAPE: Final = Shape(coordinators=3, participants=(("node_a",), ("node_b",), ("node_c",)))
BY_SIGKILL: Final = 128 + signal.SIGKILL
DEATH_S: Final = 90.0
"""How long a point may stay unreached by one process before that one is given up."""

Say = Callable[[str], None]


@dataclass
class Row:
    """What came of one point."""

    point: Point
    wanted: int
    crashes: int = 0
    rest_s: float = 0.0
    findings: list[Finding] = field(default_factory=list[Finding])
    stories: list[str] = field(default_factory=list[str])

    @property
    def violations(self) -> list[Finding]:
        return [finding for finding in self.findings if not finding.holds]

    @property
    def recovered(self) -> bool:
        """Whether everything had ended after the last crash."""
        return all(f.holds for f in self.findings if f.what.endswith(("ended", "prepared")))

    @property
    def holds(self) -> bool:
        return self.crashes >= self.wanted and not self.violations


async def run(
    directory: Path,
    points: Sequence[Point],
    *,
    repeats: int,
    seed: int,
    say: Say,
    keep: Callable[[list[Row]], None],
) -> list[Row]:
    """Go through all points on one running stack; keep what is known after each."""
    say(f"seed {seed}; logs are in {directory}")
    rows: list[Row] = []
    async with running(directory, SHAPE) as system:
        for process in system.processes:
            await process.start()
        dice = random.Random(seed)
        load = Load(system.kafka.bootstrap, dice)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(load.ear.run())
            for point in points:
                row = await _one(system, load, point, repeats, dice)
                rows.append(row)
                keep(rows)
                said = "".join(f"; VIOLATED {v.what}: {v.found}" for v in row.violations)
                say(
                    f"{point.name:4} {row.crashes}/{repeats} crashes,"
                    f" at rest after {row.rest_s:.1f} s{said}"
                )
            listening.cancel()
        await load.close()
    return rows


async def _one(system: System, load: Load, point: Point, repeats: int, dice: random.Random) -> Row:
    """Crash at one point so many times under load, then heal and check."""
    row = Row(point, repeats)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run(f"{point.name}-"))
        stirring = group.create_task(_stir(system, point, dice))
        if point.of_database:
            await _kill_database(system, row)
        else:
            doomed = system.coordinators[1:] if point.of_coordinator else system.participants
            await asyncio.gather(*(_doom(system, process, row, dice) for process in doomed))
        load.stopping.set()
        stirring.cancel()
    row.rest_s = await rest(system, load)
    row.findings = await check.findings(system, load)
    if row.violations:
        row.stories = await check.stories(system, load)
    return row


async def _doom(system: System, process: Process, row: Row, dice: random.Random) -> None:
    """Start a process that dies at the point, again and again; at the end, one that does not."""
    await process.kill()
    while row.crashes < row.wanted:
        await process.start(f"{row.point.name}:{dice.choice(row.point.nth)}")
        code = await _death(process, row)
        if code is None:
            await process.kill()
            break
        if code == BY_SIGKILL:
            row.crashes += 1
        else:
            system.deaths.append(f"{process.name}, with code {code}")
    await process.start()


async def _death(process: Process, row: Row) -> int | None:
    """Wait until it dies; None if it does not, or need not any more."""
    deadline = time.monotonic() + DEATH_S
    while time.monotonic() < deadline and row.crashes < row.wanted:
        code = await process.died()
        if code is not None:
            return code
        await asyncio.sleep(0.02)
    return None


async def _kill_database(system: System, row: Row) -> None:
    """Kill the participants' Postgres while something is prepared in it."""
    deadline = time.monotonic() + DEATH_S * row.wanted
    while row.crashes < row.wanted and time.monotonic() < deadline:
        if await check.in_doubt(system):
            await system.servers["data"].kill()
            row.crashes += 1
            await system.servers["data"].restart()
            await asyncio.sleep(0.5)
        await asyncio.sleep(0.005)


async def _stir(system: System, point: Point, dice: random.Random) -> None:
    """Bring about what a point needs and an ordinary load seldom brings."""
    while True:
        if point.name == "C17":  # something to bury
            await harm_records.poison(system, dice, lambda _: None)
        if point.name == "C14":  # somebody who does not answer in time
            await harm_processes.pause_participants(system, dice, lambda _: None)
        await asyncio.sleep(0.5)
