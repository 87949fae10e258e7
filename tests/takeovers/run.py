"""Takes shards from their owners, again and again, under load, and measures for how long.

Three coordinators share the shards. Whoever is harmed is made whole after
the takeover, and the shards are shared out again before the next one.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from compose.demo.check import Finding
from tests.chaos import check
from tests.chaos.run import rest
from tests.chaos.system import Shape, System, running
from tests.takeovers import gaps
from tests.takeovers.load import Life, Steady
from tests.takeovers.seen import Lookouts
from tests.takeovers.watch import Watch
from tests.takeovers.ways import Scene, Way

SHAPE: Final = Shape(participants=(("node_a", "node_b", "node_c"), ("node_a",)))
"""The second process of participants runs only to be seen dying."""

LONGEST_S: Final = 25.0
"""How long a takeover is waited for: what takes longer counts as this long."""

CALM_S: Final = 2.0
"""How long the load runs before and after each handover that is planned."""

OLD_S: Final = 1.0
"""What has been open for longer is left from before, and waited for."""

Say = Callable[[str], None]


@dataclass
class Row:
    """What was measured of one way, in seconds."""

    name: str
    said: str
    bound: float
    gaps: list[float] = field(default_factory=list[float])
    """Unplanned: from the harm to the first write under a higher epoch. Planned: between writes."""
    told: list[float] = field(default_factory=list[float])
    """Unplanned: from the harm to the first outcome of that shard after the takeover."""
    lives: list[float] = field(default_factory=list[float])
    """Planned: how long transactions took that were open meanwhile."""
    events: list[float] = field(default_factory=list[float])
    """The same, of those that a trigger had to start."""

    def met(self, usual: float) -> bool:
        """Tell whether the bound is met, by the gaps and by every transaction."""
        late = max(self.lives, default=0.0) - usual
        return gaps.quantile(self.gaps, 0.99) <= self.bound and late <= self.bound


@dataclass
class Result:
    """What came of a run."""

    rows: list[Row] = field(default_factory=list[Row])
    usual: list[float] = field(default_factory=list[float])
    """How long transactions took while nothing happened."""
    usual_events: list[float] = field(default_factory=list[float])
    usual_gaps: list[float] = field(default_factory=list[float])
    findings: list[Finding] = field(default_factory=list[Finding])
    loads: list[float] = field(default_factory=list[float])
    """The machine's load average, at each takeover."""


class Bench:
    """The system, its load, and whoever looks at its shards."""

    def __init__(self, system: System, load: Steady, watch: Watch, say: Say) -> None:
        self.system, self.load, self.watch, self._say = system, load, watch, say
        self.result = Result()

    async def settled(self) -> None:
        """Wait until the three share the shards, and all of these are worked on."""
        await self.watch.settled(lambda: {p.pid for p in self.system.coordinators})
        while any(life.ended is None and life.seconds > OLD_S for life in self.load.waiting()):
            await asyncio.sleep(0.1)
        self.result.loads.append(os.getloadavg()[0])

    async def calm(self, seconds: float = 5 * CALM_S) -> None:
        """Measure how things are while nothing happens."""
        await self.settled()
        since = time.monotonic()
        await asyncio.sleep(seconds)
        lives = [life for life in self.load.lives if since < life.began]
        self.result.usual += [one.seconds for one in lives if not one.by_event]
        self.result.usual_events += [one.seconds for one in lives if one.by_event]
        for history in self.watch.histories.values():
            self.result.usual_gaps += gaps.ordinary([s for s in history if s.at > since])

    async def take_over(self, way: Way, repeats: int, bound: float, dice: random.Random) -> Row:
        """Measure an unplanned way."""
        row = Row(way.name, way.said, bound)
        self.result.rows.append(row)
        among = [p for p in self.system.coordinators if p.proxied or not way.proxied]
        for _ in range(repeats):
            await self.settled()
            self.watch.forget(time.monotonic())
            victim = dice.choice(among)
            scene = Scene(self.system, self.watch, victim, self.watch.owned_by(victim.pid))
            await asyncio.sleep(dice.uniform(0, 0.7))
            await self._once(way, scene, row)
        self._say(told(row))
        return row

    async def _once(self, way: Way, scene: Scene, row: Row) -> None:
        epochs = {shard: self.watch.epoch(shard) for shard in scene.shards}
        began = time.monotonic()
        async with way.harm(scene):
            taken = await self._taken(epochs, began)
            row.gaps += [at - began for at in taken.values()]
            await asyncio.sleep(0.5)
            for shard, at in taken.items():
                first = min(
                    (
                        life.ended
                        for life in self.load.lives
                        if life.shard == shard and life.ended and life.ended >= at
                    ),
                    default=began + LONGEST_S,
                )
                row.told.append(first - began)

    async def _taken(self, epochs: dict[int, int], began: float) -> dict[int, float]:
        """Wait until each shard is worked on under a higher epoch; tell when that was."""
        while True:
            found = {
                shard: gaps.taken_at(self.watch.histories[shard], epoch)
                for shard, epoch in epochs.items()
            }
            if time.monotonic() - began > LONGEST_S:
                return {shard: at or began + LONGEST_S for shard, at in found.items()}
            taken = {shard: at for shard, at in found.items() if at is not None}
            if len(taken) == len(found):
                return taken
            await asyncio.sleep(0.02)

    async def hand_over(self, rows: Sequence[Row], repeats: int, dice: random.Random) -> None:
        """Measure the planned ways: one leaves, one comes, and all are renewed in turn."""
        leaving, coming, rolling = rows
        self.result.rows += rows
        for _ in range(repeats):
            victim = dice.choice(self.system.coordinators)
            async with self._measured(leaving):
                await victim.stop()
            async with self._measured(coming):
                await victim.start()
                await self.settled()
            async with self._measured(rolling):
                for process in self.system.coordinators:
                    await process.stop()
                    await process.start()
                    while not self.watch.owned_by(process.pid):
                        await asyncio.sleep(0.05)
        for row in rows:
            self._say(told(row))

    @asynccontextmanager
    async def _measured(self, row: Row) -> AsyncGenerator[None]:
        if all(process.alive for process in self.system.coordinators):
            await self.settled()
        await asyncio.sleep(CALM_S)
        began = time.monotonic()
        self.watch.forget(began - CALM_S / 2)
        yield
        ended = time.monotonic()
        await asyncio.sleep(CALM_S)
        for history in self.watch.histories.values():
            row.gaps += [handover.gap for handover in gaps.handovers(history, began)]
        lives = _open_between(self.load.lives, began, ended)
        row.lives += [life.seconds for life in lives if not life.by_event]
        row.events += [life.seconds for life in lives if life.by_event]

    async def watch_nodes(self, rows: Sequence[Row], repeats: int) -> None:
        """Measure how soon `twofold nodes` knows of a coordinator and of participants."""
        spare = self.system.participants[1]
        self.result.rows += rows
        await spare.start()
        async with Lookouts(self.system) as lookouts:
            for process, (killed, asleep) in (
                (self.system.coordinators[0], rows[:2]),
                (spare, rows[2:]),
            ):
                for _ in range(repeats):
                    await lookouts.until(process.pid, alive=True)
                    process.pause()
                    asleep.gaps.append(await lookouts.until(process.pid, alive=False))
                    process.resume()
                    pid = process.pid
                    await lookouts.until(pid, alive=True)
                    await process.kill()
                    killed.gaps.append(await lookouts.until(pid, alive=False))
                    await process.start()
        await spare.stop()
        for row in rows:
            self._say(told(row))


def _open_between(lives: Collection[Life], began: float, ended: float) -> list[Life]:
    return [x for x in lives if x.began <= ended and (x.ended is None or x.ended >= began)]


def told(row: Row) -> str:
    """Say what was measured, in one line."""
    shares = " ".join(f"{gaps.quantile(row.gaps, share):.3f}" for share in (0.5, 0.99, 1))
    longest = f", longest transaction {max(row.lives):.3f} s" if row.lives else ""
    events = f", by event {max(row.events):.3f} s" if row.events else ""
    outcome = f", outcome p99 {gaps.quantile(row.told, 0.99):.3f} s" if row.told else ""
    return f"{row.name}: {len(row.gaps)} takeovers, {shares} s{outcome}{longest}{events}"


@asynccontextmanager
async def bench(
    directory: Path, dice: random.Random, say: Say, *, probing: bool = False
) -> AsyncGenerator[Bench]:
    """Start everything, and the load; at the end, let it come to rest and check."""
    async with running(directory, SHAPE) as system:
        for process in [*system.coordinators, system.participants[0]]:
            await process.start()
        load = Steady(system.kafka.bootstrap, dice, probing=probing)
        watch = Watch(system.log.dsn("twofold"))
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(load.ear.run()), group.create_task(watch.run())]
            asking = group.create_task(load.run())
            made = Bench(system, load, watch, say)
            yield made
            load.stopping.set()
            await asking
            await rest(system, load)
            load.hear_out()
            made.result.findings = await check.findings(system, load)
            for task in background:
                task.cancel()
        await load.close()
