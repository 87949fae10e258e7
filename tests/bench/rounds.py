"""What is measured after what: floors and ours in turn, so that both meet the same machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench import truth
from tests.bench.load import InFlight, PerSecond
from tests.bench.measure import Laboratory, Point
from tests.bench.sink import Sink
from tests.bench.stage import Company, Servers
from tests.bench.workload import Kind

PAIRS: Final = {
    Kind.TRANSFER: "2pc floor",
    Kind.TRIP: "saga floor, statements",
    Kind.TRIP_BULK: "saga floor, bulk",
}
SHARES: Final = (0.5, 0.8)
TRACED_LOAD: Final = 64
TRACES: Final[Mapping[str, Mapping[str, str]]] = {
    "default sampling": {},
    "full tracing": {"TWOFOLD_TRACES__PER_SECOND": "1000000"},
}
DISKS: Final = {"fast disk": 0, "slow disk": 2_000}
"""Microseconds that each flush of the log takes longer."""
DISK_LOAD: Final = 64
KILLED_LOAD: Final = 64
BEFORE_KILL_S: Final = 2.0
AFTER_KILL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    loads: tuple[int, ...]
    seconds: float
    coordinators: int
    flushes: int = 0
    disks: int = 1
    traces: int = 0
    kills: int = 1


@dataclass(slots=True)
class Findings:
    """Everything that was measured."""

    rounds: list[list[Point]] = field(default_factory=list[list[Point]])
    extra: list[Point] = field(default_factory=list[Point])
    recoveries: list[float] = field(default_factory=list[float])


@dataclass(frozen=True, slots=True)
class Scene:
    """Where it is measured, and who is told of it."""

    servers: Servers
    lab: Laboratory
    directory: Path
    say: Callable[[str], None]

    def company(self, environment: Mapping[str, str] | None = None) -> Company:
        """Return a company that is not at work yet."""
        return Company(self.servers, self.directory, environment or {})

    def show(self, point: Point) -> Point:
        """Tell that a point is measured."""
        said = f"{point.subject:24} {point.load:>12}  {point.per_second:7.0f}/s"
        self.say(f"{said}  p50 {point.p50_ms:6.1f} ms  p99 {point.p99_ms:6.1f} ms")
        return point


async def run(scene: Scene, plan: Plan) -> Findings:
    """Measure everything."""
    found = Findings()
    with scene.company().at_work(plan.coordinators) as company:
        scene.lab.company = company
        await _warm_up(scene)
        for number in range(plan.rounds):
            scene.say(f"round {number + 1} of {plan.rounds}")
            found.rounds.append(await _round(scene, plan, backwards=number % 2 == 1))
        for number in range(plan.flushes):
            scene.say(f"flushes, {number + 1} of {plan.flushes}")
            found.extra += await _flushes(scene, plan)
        for number in range(plan.disks):
            scene.say(f"disks, round {number + 1} of {plan.disks}")
            found.extra += await _disks(scene, plan)
        scene.lab.company = None
    for number in range(plan.traces):
        scene.say(f"traces, round {number + 1} of {plan.traces}")
        found.extra += await _traces(scene, plan)
    for number in range(plan.kills):
        found.recoveries.append(await _kill(scene))
        scene.say(f"kill -9, {number + 1} of {plan.kills}: {found.recoveries[-1]:.1f} s")
    return found


async def _warm_up(scene: Scene) -> None:
    """Let the broker compile itself; nothing of this is kept."""
    for kind in Kind:
        await scene.lab.ours(kind, InFlight(16), seconds=2.0)


async def _round(scene: Scene, plan: Plan, *, backwards: bool) -> list[Point]:
    points: list[Point] = []
    for load in plan.loads:
        for kind, floor in PAIRS.items():
            pair = [
                lambda f=floor, n=load: scene.lab.floor(f, in_flight=n, seconds=plan.seconds),
                lambda k=kind, n=load: scene.lab.ours(k, InFlight(n), seconds=plan.seconds),
            ]
            order = reversed(pair) if backwards else pair
            points += [scene.show(await measure()) for measure in order]
    points.append(scene.show(await scene.lab.hops(seconds=plan.seconds)))
    for kind in (Kind.TRANSFER, Kind.TRIP):
        most = max(point.per_second for point in points if point.subject == kind)
        for share in SHARES:
            pace = PerSecond(share * most, f"open {share:.0%}")
            points.append(scene.show(await scene.lab.ours(kind, pace, seconds=plan.seconds)))
    return points


async def _flushes(scene: Scene, plan: Plan) -> list[Point]:
    """Count flushes. It takes long, since Postgres tells of them late."""
    return [
        scene.show(
            await scene.lab.ours(
                kind,
                InFlight(load),
                seconds=2 * plan.seconds,
                flushes=True,
                name=f"{kind}, flushes",
            )
        )
        for kind, load in ((Kind.TRANSFER, 32), (Kind.TRIP, 64))
    ]


async def _disks(scene: Scene, plan: Plan) -> list[Point]:
    """Measure on the disk as it is, and on one that takes its time.

    Postgres sleeps before each flush, with the log locked, and then flushes all that has
    come: https://www.postgresql.org/docs/current/runtime-config-wal.html (commit_delay).
    """
    points: list[Point] = []
    try:
        for name, delay_us in DISKS.items():
            await _delay_flushes(scene.servers, delay_us)
            pace = InFlight(DISK_LOAD)
            point = await scene.lab.ours(
                Kind.TRANSFER, pace, seconds=plan.seconds, name=f"{Kind.TRANSFER}, {name}"
            )
            points.append(scene.show(point))
    finally:
        await _delay_flushes(scene.servers, 0)
    return points


async def _delay_flushes(servers: Servers, microseconds: int) -> None:
    dsn = servers.dsn("twofold")
    await truth.execute(dsn, "ALTER SYSTEM SET commit_siblings = 0")
    await truth.execute(dsn, f"ALTER SYSTEM SET commit_delay = {microseconds}")
    await truth.execute(dsn, "SELECT pg_reload_conf()")


async def _traces(scene: Scene, plan: Plan) -> list[Point]:
    """Measure without traces, with the default, and with all."""
    points: list[Point] = []
    with Sink.start() as sink:
        for name, environment in {"no traces": None, **TRACES}.items():
            traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint, **(environment or {})}
            company = scene.company(traced if environment is not None else {})
            with company.at_work(plan.coordinators):
                scene.lab.company = company
                pace = InFlight(TRACED_LOAD)
                await scene.lab.ours(Kind.TRANSFER, pace, seconds=1.0)
                point = await scene.lab.ours(
                    Kind.TRANSFER, pace, seconds=plan.seconds, name=f"{Kind.TRANSFER}, {name}"
                )
                points.append(scene.show(point))
                scene.lab.company = None
    return points


async def _kill(scene: Scene) -> float:
    """Kill one of two coordinators under load; return the seconds until all has ended."""
    with scene.company().at_work(2) as company:
        await asyncio.sleep(BEFORE_KILL_S)  # until both have their share
        seconds = BEFORE_KILL_S + AFTER_KILL_S
        loaded = asyncio.create_task(
            scene.lab.ours(Kind.TRANSFER, InFlight(KILLED_LOAD), seconds=seconds)
        )
        await asyncio.sleep(BEFORE_KILL_S)
        company.cluster.kill("coordinator-1")
        killed_at = time.monotonic()
        await loaded
        await truth.until_quiet(scene.servers.dsn)
        return time.monotonic() - killed_at
