"""One run: start, load and faults together, heal, check."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from compose.demo.check import Finding
from tests.chaos import check
from tests.chaos.faults import REST_S, Faults, Timeline
from tests.chaos.load import MOVERS, Load
from tests.chaos.system import Shape, System, running
from wire.kafka import KafkaUnavailable

HEAL_S: Final = 120.0
READY_S: Final = 120.0
CALM_S: Final = 1.5
"""How long it must be calm: what is under way in a participant is not seen at once."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What is asked of a run."""

    seconds: float
    seed: int
    movers: int = MOVERS
    """Clients that move money by two-phase commit."""
    rest_s: float = REST_S[1]
    """How long each of three hands rests between two faults, at most."""

    brokers: int = 1

    @property
    def command(self) -> str:
        """Return the command that does the same."""
        said = f"make chaos SECONDS={self.seconds:g} SEED={self.seed}"
        said += f" MOVERS={self.movers}" if self.movers != MOVERS else ""
        said += f" BROKERS={self.brokers}" if self.brokers != 1 else ""
        return said + (f" REST={self.rest_s:g}" if self.rest_s != REST_S[1] else "")


@dataclass
class Result:
    """What came of a run."""

    wanted: Wanted
    findings: list[Finding]
    timeline: Timeline
    outcomes: Counter[str]
    said: Counter[str]
    drained_s: float
    stories: list[str]

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)


async def run(directory: Path, wanted: Wanted, say: Say) -> Result:
    """Run, and say how it goes."""
    seed, seconds = wanted.seed, wanted.seconds
    say(f"seed {seed}; logs are in {directory}")
    async with running(directory, Shape(brokers=wanted.brokers, disks=True)) as system:
        for process in system.processes:
            await process.start()
        load = Load(system.kafka.bootstrap, random.Random(seed), wanted.movers)
        faults = Faults(system, seed, wanted.rest_s)
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(load.ear.run()), group.create_task(system.supervise())]
            drained_s = await _trouble(system, load, faults, seconds, say)
            found = await check.findings(system, load)
            stories = [] if all(f.holds for f in found) else await check.stories(system, load)
            for task in background:
                task.cancel()
        await load.close()
    return Result(
        wanted,
        found,
        faults.timeline,
        Counter(words[0] for words in load.ear.outcomes.values()),
        load.said(),
        drained_s,
        stories,
    )


async def _trouble(system: System, load: Load, faults: Faults, seconds: float, say: Say) -> float:
    """Load and harm at the same time; then peace. Return how long it took until all had ended."""
    peace = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        await _ready(load)
        say(f"all is ready; {seconds:g} seconds of faults")
        harm = group.create_task(faults.run(peace))
        await _watch(load, faults, seconds, say)
        peace.set()
        await harm
        load.stopping.set()
        say("no more faults; everything is up")
    drained_s = await rest(system, load)
    say(f"at rest after {drained_s:.1f} s")
    return drained_s


async def _ready(load: Load) -> None:
    """Wait until something has come to an end, as a sign that everything is up."""
    deadline = time.monotonic() + READY_S
    while not load.ear.outcomes and time.monotonic() < deadline:
        await asyncio.sleep(0.1)


async def rest(system: System, load: Load, seconds: float = HEAL_S) -> float:
    """Wait until all has ended and stays so, in bounded time; return how long it took."""
    began = time.monotonic()
    calm_since: float | None = None
    while (now := time.monotonic()) - began < seconds:
        if not await _calm(system, load):
            calm_since = None
        elif calm_since is None:
            calm_since = now
        elif now - calm_since > CALM_S:
            break
        await asyncio.sleep(0.3)
    return (calm_since or time.monotonic()) - began


async def _calm(system: System, load: Load) -> bool:
    """Tell whether nothing is open, prepared, or unread."""
    if load.unheard:
        return False
    with suppress(OSError, asyncpg.PostgresError, KafkaUnavailable):
        return not await check.in_doubt(system) and not await check.unburied(system)
    return False


async def _watch(load: Load, faults: Faults, seconds: float, say: Say) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        await asyncio.sleep(min(10, left))
        count, open_ = len(load.book), len(load.unheard)
        harm = sum(faults.timeline.counts.values())
        say(f"{count} transactions begun, {open_} open, {harm} faults")
