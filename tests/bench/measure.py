"""One measurement: a loop, what it cost, and whether its effects are right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, Self

from tests.bench import floors, truth
from tests.bench.cost import Spent, busy_seconds, cpu_seconds
from tests.bench.hops import Hops
from tests.bench.load import Client, Numbers, Pace, Sample, direct
from tests.bench.stage import Company, Servers
from tests.bench.workload import BANKS, SERVICES, Kind
from wire.kafka import Place, ShardReader, partition_counts
from wire.topics import Topics

FLUSHES = "SELECT coalesce(sum(fsyncs), 0)::bigint FROM pg_stat_io WHERE object = 'wal'"
STATISTICS_S: Final = 10.5
"""An idle backend tells its statistics after 10 s."""

KINDS: Final = {
    "2pc floor": floors.grouped,
    "saga floor, statements": floors.statements,
    "saga floor, bulk": floors.bulk,
}


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured of one subject under one load."""

    subject: str
    load: str
    per_second: float
    p50_ms: float
    p99_ms: float
    committed: int
    others: int
    cpu_us: Mapping[str, float]
    """Microseconds of CPU a transaction, by who spent them."""
    messages: float
    flushes: float | None
    elsewhere: float
    """How much of the machine others took meanwhile."""


class Laboratory:
    """Measures points on one stack. Leave it to close its connections."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.company: Company | None = None
        self._numbers = Numbers()
        self._client = Client(servers.kafka.bootstrap, self._numbers)
        self._reader = ShardReader(servers.kafka.bootstrap)
        self._places: list[Place] = []
        self._balances = {prefix: truth.Balances(prefix) for prefix in ("", floors.PREFIX)}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._client)
        await self._reader.start()
        self._stack.push_async_callback(self._reader.stop)
        topics = Topics()
        names = [topics.requests, topics.replies, topics.outcomes, topics.dead_letters]
        names += [Topics.commands(name.replace("_", "-")) for name in (*BANKS, *SERVICES)]
        counts = await partition_counts(self.servers.kafka.bootstrap, names)
        self._places = [(name, n) for name, count in counts.items() for n in range(count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def floor(
        self, subject: str, *, in_flight: int, seconds: float, flushes: bool = False
    ) -> Point:
        """Measure a floor."""
        async with KINDS[subject](self.servers.dsn) as floor:

            async def loop() -> Sample:
                return await direct(floor.one, self._numbers, in_flight=in_flight, seconds=seconds)

            point, sample = await self._measure(subject, str(in_flight), loop, flushes=flushes)
        await self._check(floors.PREFIX, sample, atomic=subject == "2pc floor")
        return point

    async def hops(self, *, seconds: float) -> Point:
        """Measure how long a record takes from one process to another."""
        async with Hops.between(self.servers.kafka.bootstrap) as hops:

            async def loop() -> Sample:
                return await direct(hops.one, self._numbers, in_flight=1, seconds=seconds)

            return (await self._measure("hop", "1", loop, flushes=False))[0]

    async def ours(
        self, kind: Kind, pace: Pace, *, seconds: float, flushes: bool = False, name: str = ""
    ) -> Point:
        """Measure a kind of transaction, through Kafka."""

        async def loop() -> Sample:
            sample = await self._client.run(kind, pace, seconds=seconds)
            await truth.until_quiet(self.servers.dsn)
            return sample

        subject = name or kind
        point, sample = await self._measure(subject, str(pace), loop, flushes=flushes)
        await self._check("", sample, atomic=kind is Kind.TRANSFER)
        return point

    async def _measure(
        self, subject: str, load: str, loop: Callable[[], Awaitable[Sample]], *, flushes: bool
    ) -> tuple[Point, Sample]:
        before = await self.spent(flushes=flushes)
        sample = await loop()
        spent = await self.spent(flushes=flushes) - before
        done = len(sample.committed) or 1
        point = Point(
            subject,
            load,
            sample.per_second,
            sample.percentile_ms(50),
            sample.percentile_ms(99),
            len(sample.committed),
            sample.others.total(),
            {who: 1e6 * seconds / done for who, seconds in spent.cpu.items()},
            spent.messages / done,
            spent.flushes / done if flushes else None,
            spent.elsewhere,
        )
        return point, sample

    async def _check(self, prefix: str, sample: Sample, *, atomic: bool) -> None:
        """Compare the databases with what was told.

        Raises:
            Untrue: they differ.

        """
        if atomic:
            self._balances[prefix].add(sample.committed)
            await self._balances[prefix].check(self.servers.dsn)
        else:
            await truth.check_bookings(self.servers.dsn, prefix, sample.committed)
        await truth.until_quiet(self.servers.dsn)

    async def spent(self, *, flushes: bool) -> Spent:
        """Read what has been spent. Flushes are told late, so they take their time."""
        if flushes:
            await asyncio.sleep(STATISTICS_S)
        flushed = (await truth.ask(self.servers.dsn("twofold"), FLUSHES))[0][0] if flushes else 0
        pids: dict[str, Sequence[int]] = {
            "postgres": [self.servers.postgres.pid],
            "broker": [self.servers.kafka.pid],
            **(self.company.pids if self.company else {}),
        }
        cpu = {who: sum(map(cpu_seconds, them)) for who, them in pids.items()}
        ends = await self._reader.ends(self._places)
        cpu["driver"] = time.process_time()
        return Spent(cpu, busy_seconds(), time.monotonic(), sum(ends.values()), flushed)
