"""How costs grow: python -m tests.bench.curves.

For each curve one thing is varied, and the CPU that a transaction costs is
measured, since that says more than throughput on a machine with two cores.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop

from tests.bench import report, shapes
from tests.bench.cost import cpu_seconds
from tests.bench.load import Client, InFlight, Numbers, Sample
from tests.bench.picture import draw
from tests.bench.shapes import DREAMER, SLEEPER, Shape
from tests.bench.stage import SHARDS, STORES, Company, Servers
from tests.bench.truth import Untrue, ask, execute, until_quiet

WHO: Final = ("coordinator", "participants", "postgres", "broker")
IN_FLIGHT: Final = 64
WARM_UPS: Final = 2
COLD_UPS: Final = 6
"""So often at first: the broker compiles itself."""
CROWD: Final = 10_000
LARGE_CROWD: Final = 100_000
PATIENCE_S: Final = 600.0

# What nobody needs any more, as it stands in the log: three records, 500 bytes.
FINISHED: Final = """
    WITH made AS (
        SELECT 'tf1.main.1.' || n % {shards} || '.' || lpad(to_hex(born), 12, '0') || '7'
               || lpad(to_hex(n), 19, '0') AS gid, born * 1000 / 86400000000 % 32 AS slot, n
          FROM generate_series({first}::bigint, {last}) n,
               (SELECT (extract(epoch FROM now()) * 1000)::bigint - 3600000 AS born) _
    ), told AS (
        INSERT INTO twofold.transaction (gid, shard, name, definition, start_key, input_hash,
                                         status, outcome, active, began_at, changed_at)
        SELECT gid, n % {shards}, 'steps-3', 'sha256:old', 'old' || n, md5(n::text),
               'ended', 'COMMITTED', false, now(), now() FROM made
    )
    INSERT INTO twofold.decision_log (slot, gid, seq, at, kind, record)
    SELECT slot, gid, seq, now(), 'step-done',
           json_build_object('kind', 'step-done', 'step', 'p', 'attempt', 1, 'data',
                             repeat('x', 150))
      FROM made, generate_series(0, 2) seq
"""
ACTIVE: Final = "SELECT count(*) FROM twofold.transaction WHERE active"
ASLEEP: Final = "SELECT count(*) FROM twofold.transaction WHERE status = 'open' AND NOT active"
OWNED: Final = "SELECT count(*) FROM twofold.lease WHERE until > now() AND owner LIKE '%-{pid}-%'"


@dataclass(slots=True)
class Curve:
    """One thing that was varied, and what a transaction then cost."""

    name: str
    title: str
    places: list[str] = field(default_factory=list[str])
    per_second: list[float] = field(default_factory=list[float])
    cpu_us: dict[str, list[float]] = field(default_factory=lambda: {who: [] for who in WHO})

    def table(self) -> list[str]:
        """Return its rows in Markdown."""
        head = f"| {self.title} | per second | " + " | ".join(f"{who} µs" for who in WHO) + " |"
        rows = [head, "| --- " * (2 + len(WHO)) + "|"]
        for index, place in enumerate(self.places):
            spent = " | ".join(f"{self.cpu_us[who][index]:.0f}" for who in WHO)
            rows.append(f"| {place} | {self.per_second[index]:.0f} | {spent} |")
        return rows

    def picture(self) -> str:
        """Return it as SVG."""
        return draw(f"{self.title}: µs of CPU a transaction", self.places, self.cpu_us)


class Bench:
    """Measures one shape after the other on one pair of servers."""

    def __init__(self, servers: Servers, directory: Path, seconds: float, stores: int = 1) -> None:
        self.servers, self._directory, self._seconds = servers, directory, seconds
        self._stores = STORES[:stores]
        self._definitions = shapes.write(directory / "shapes")
        self.client = Client(servers.kafka.bootstrap, Numbers(), shapes.event)
        self._sums = shapes.Sums()
        self._working = ExitStack()
        self._coordinators = 0
        self._company = self.company()

    def company(self) -> Company:
        """Return a company that knows all shapes."""
        more = [self.servers.dsn(store) for store in self._stores[1:]]
        environment = {"TWOFOLD_LOG__MORE": json.dumps(more)}
        return Company(self.servers, self._directory / "company", environment, self._definitions)

    async def at_work(self, coordinators: int = 1, warm_ups: int = WARM_UPS) -> None:
        """Have so many coordinators work, and warm all up, unless they do already."""
        if self._coordinators == coordinators:
            return
        self.rest()
        self._company = self._working.enter_context(self.company().at_work(coordinators))
        self._coordinators = coordinators
        for _ in range(warm_ups):
            for shape in (shapes.STEPS[3], shapes.BRANCHES[2]):
                await self._run(shape, IN_FLIGHT)

    def rest(self) -> None:
        """Have nobody work."""
        self._working.close()
        self._coordinators = 0

    async def _run(self, shape: Shape, load: int) -> tuple[int, float]:
        sample = await self.client.run(shape.name, InFlight(load), seconds=self._seconds)
        await until_quiet(self.servers.dsn, self._stores)
        if sample.others:
            raise Untrue(f"{shape.name}: {dict(sample.others)}")
        await self._sums.check(self.servers.dsn, shape, len(sample.committed))
        return len(sample.committed), sample.per_second

    async def point(self, curve: Curve, place: str, shape: Shape) -> None:
        """Measure one place of a curve."""
        before = self._spent()
        done, per_second = await self._run(shape, IN_FLIGHT)
        after = self._spent()
        curve.places.append(place)
        curve.per_second.append(per_second)
        for who in WHO:
            curve.cpu_us[who].append(1e6 * (after[who] - before[who]) / done)
        typer.echo(f"{curve.title}: {place}: {per_second:.0f}/s", err=True)

    def _spent(self) -> dict[str, float]:
        pids = {
            **self._company.pids,
            "postgres": [self.servers.postgres.pid],
            "broker": [self.servers.kafka.pid],
        }
        return {who: sum(map(cpu_seconds, pids[who])) for who in WHO}

    async def crowd(self) -> tuple[int, float]:
        """Have so many active at once; return how many, and the coordinator's MiB."""
        self.rest()
        shape, company = shapes.STEPS[3], self.company()
        with company.cluster:
            child = company.cluster.launch_coordinator("crowded")
            company.cluster.await_ready()
            running, active = await self._begin(shape, CROWD, ACTIVE)
            mib = _resident_mib(child.pid)
            company.cluster.launch_participants("participants")
            company.cluster.await_ready()
            sample = await running
            await until_quiet(self.servers.dsn)
        await self._sums.check(self.servers.dsn, shape, len(sample.committed))
        return active, mib

    async def sleepers(self) -> list[str]:
        """Kill an owner while nobody and while many sleep; tell what its heir needs."""
        self.rest()
        company = self.company()
        with company.cluster:
            company.cluster.launch_coordinator("first")
            company.cluster.launch_participants("participants")
            company.cluster.await_ready()
            said = [await self._succeed(company, "first", "second", 0)]
            running, asleep = await self._begin(SLEEPER, CROWD, ASLEEP)
            said.append(await self._succeed(company, "second", "third", asleep))
            sample = await running
            await until_quiet(self.servers.dsn)
            await self._sums.check(self.servers.dsn, SLEEPER, len(sample.committed))
            said.append(f"Then {len(sample.committed):,} woke, and each was done once.")
            running, asleep = await self._begin(DREAMER, LARGE_CROWD, ASLEEP)
            said.append(await self._succeed(company, "third", "fourth", asleep))
            running.cancel()  # they sleep for longer than we wait
            await asyncio.wait({running})
        return said

    async def _begin(
        self, shape: Shape, crowd: int, counted: str
    ) -> tuple[asyncio.Task[Sample], int]:
        """Begin so many; return how many of them the log counts."""
        running = asyncio.create_task(
            self.client.run(shape.name, InFlight(crowd), seconds=1.0, patience=PATIENCE_S)
        )
        there = 0
        while there < crowd and not running.done():
            await asyncio.sleep(0.5)
            [[there]] = await ask(self.servers.dsn("twofold"), counted)
        return running, there

    async def _succeed(self, company: Company, before: str, after: str, asleep: int) -> str:
        await asyncio.to_thread(company.cluster.kill, before)
        killed = time.monotonic()
        child = await asyncio.to_thread(company.cluster.start_coordinator, after)
        owned = 0
        while owned < SHARDS or "shards_taken" not in child.log_text():
            await asyncio.sleep(0.02)
            [[owned]] = await ask(self.servers.dsn("twofold"), OWNED.format(pid=child.pid))
        seconds = time.monotonic() - killed
        return (
            f"With {asleep:,} sagas asleep, another coordinator had all shards {seconds:.1f} s"
            " after `kill -9`, its own start counted, and"
            f" {_resident_mib(child.pid):.0f} MiB resident."
        )


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


# ── the curves ───────────────────────────────────────────────────────────────


async def coordinators(bench: Bench) -> Curve:
    curve = Curve("coordinators", "coordinator processes")
    for count in (1, 2, 4):
        await bench.at_work(count)
        await bench.point(curve, str(count), shapes.BRANCHES[2])
    return curve


async def finished(bench: Bench) -> Curve:
    curve, there = Curve("finished", "finished transactions in the log"), 0
    for count in (1_000, 100_000, 1_000_000):
        for first in range(there, count, 50_000):
            last = min(count, first + 50_000) - 1
            log = bench.servers.dsn("twofold")
            await execute(log, FINISHED.format(first=first, last=last, shards=SHARDS))
        there = count
        await execute(bench.servers.dsn("twofold"), "VACUUM ANALYZE")
        await bench.at_work()
        await bench.point(curve, f"{count:,}", shapes.STEPS[3])
    return curve


async def _shaped(bench: Bench, curve: Curve, found: dict[int, Shape]) -> Curve:
    await bench.at_work()
    for count, shape in found.items():
        await bench.point(curve, f"{count:,}", shape)
    return curve


async def branches(bench: Bench) -> Curve:
    return await _shaped(bench, Curve("branches", "branches"), shapes.BRANCHES)


async def steps(bench: Bench) -> Curve:
    return await _shaped(bench, Curve("steps", "steps"), shapes.STEPS)


async def payloads(bench: Bench) -> Curve:
    return await _shaped(bench, Curve("payloads", "bytes of input"), shapes.PAYLOADS)


async def stores(directory: Path, seconds: float) -> Curve:
    """Measure a log of one and of two databases; that is fixed with the log, so each is new."""
    curve = Curve("stores", "log databases")
    for count in (1, 2):
        place = directory / f"stores-{count}"
        place.mkdir(parents=True)
        with Servers.start(place) as servers:
            bench = Bench(servers, place, seconds, stores=count)
            bench.company().cluster.prepare()
            async with bench.client:
                try:
                    await bench.at_work(warm_ups=COLD_UPS)
                    await bench.point(curve, str(count), shapes.BRANCHES[2])
                finally:
                    bench.rest()
    return curve


CURVES: Final = {
    curve.__name__: curve for curve in (branches, steps, payloads, coordinators, finished)
}


async def measure(
    servers: Servers,
    directory: Path,
    seconds: float,
    names: Sequence[str],
    show: Callable[[Curve], None],
) -> str:
    """Measure curves, one after the other; return what is to be said of crowds, if wanted."""
    bench = Bench(servers, directory, seconds)
    bench.company().cluster.prepare()
    async with bench.client:
        try:
            drawn = [CURVES[name] for name in names if name in CURVES]
            if drawn:
                await bench.at_work(warm_ups=COLD_UPS)
            for curve in drawn:
                show(await curve(bench))
            said: list[str] = []
            if "memory" in names:
                active, mib = await bench.crowd()
                said.append(
                    f"With {active:,} sagas active, a coordinator has {mib:.0f} MiB resident."
                )
            if "sleepers" in names:  # the last: some of them never wake
                said += await bench.sleepers()
            return "\n".join(said)
        finally:
            bench.rest()


def main(
    *,
    only: Annotated[str, typer.Option(help="Curves, with commas between them.")] = "",
    seconds: Annotated[float, typer.Option(help="How long each loop runs.")] = 4.0,
    pictures: Annotated[Path | None, typer.Option(help="A folder for pictures.")] = None,
) -> None:
    """Measure how costs grow, and print a table for each curve."""
    names = only.split(",") if only else [*CURVES, "stores", "memory", "sleepers"]
    directory = Path(tempfile.mkdtemp(prefix="twofold-curves-"))
    began = time.monotonic()

    def show(curve: Curve) -> None:
        typer.echo("\n".join([*curve.table(), ""]))
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            (pictures / f"{curve.name}.svg").write_text(curve.picture(), encoding="utf-8")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if "stores" in names:
            show(runner.run(stores(directory, seconds)))
        if names != ["stores"]:
            with Servers.start(directory) as servers:
                typer.echo(runner.run(measure(servers, directory, seconds, names, show)))
    shutil.rmtree(directory, ignore_errors=True)
    typer.echo(f"On {report.machine()}, in {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    typer.run(main)
