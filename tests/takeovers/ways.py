"""The ways in which a shard loses its owner, and how long it then stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.chaos.system import Process, System
from tests.takeovers.watch import Moment, Watch, now_s

STILL_S: Final = 60.0
"""After so long it is not slow, it is stuck."""
SETTLED_S: Final = 1.5


class Way(NamedTuple):
    """How an owner is lost, until when it is so, and what is promised."""

    name: str
    harm: Callable[[System, Process], AbstractAsyncContextManager[None]]
    victim: Callable[[System, int], Process]
    bound_s: float
    planned: bool = False


@dataclass
class Row:
    """What came of one way."""

    way: Way
    repeats: int = 0
    gaps_s: list[float] = field(default_factory=list[float])


def _any(system: System, n: int) -> Process:
    return system.coordinators[n % len(system.coordinators)]


def _proxied(system: System, _: int) -> Process:
    return next(process for process in system.coordinators if process.proxied)


@asynccontextmanager
async def killed(_: System, process: Process) -> AsyncGenerator[None]:
    await process.kill()
    yield
    await process.start()


@asynccontextmanager
async def paused(_: System, process: Process) -> AsyncGenerator[None]:
    process.pause()
    yield
    process.resume()


@asynccontextmanager
async def cut_off_from_log(_: System, process: Process) -> AsyncGenerator[None]:
    proxy = process.database.proxy
    proxy.drop()
    yield
    proxy.reset()
    proxy.heal()


@asynccontextmanager
async def cut_off_from_kafka(system: System, _: Process) -> AsyncGenerator[None]:
    proxy = system.kafka_link.proxy
    proxy.drop()
    yield
    proxy.reset()
    proxy.heal()


@asynccontextmanager
async def asked_to_stop(_: System, process: Process) -> AsyncGenerator[None]:
    await process.stop()
    yield
    await process.start()


WAYS: Final = (
    Way("killed (SIGKILL)", killed, _any, 5.0),
    Way("paused (SIGSTOP)", paused, _any, 5.0),
    Way("cut off from the log", cut_off_from_log, _any, 5.0),
    Way("cut off from Kafka", cut_off_from_kafka, _proxied, 5.0),
    Way("asked to stop (SIGTERM)", asked_to_stop, _any, 0.25, planned=True),
)
ADDED: Final = Way("another one starts", asked_to_stop, _any, 0.25, planned=True)


async def measure(
    system: System, watch: Watch, way: Way, n: int
) -> tuple[list[float], list[float]]:
    """Take an owner's shards from it, and give it the chance to own some again.

    Returns how long each shard stood still: when its owner was lost, and, where
    that is a handover too, when shards were handed back to it.
    """
    await settled(system, watch)
    process = way.victim(system, n)
    mine = watch.owned(lambda owner: f"-{process.pid}-" in owner)
    began = now_s()
    async with way.harm(system, process):
        lost = await _gaps(watch, mine, None if way.planned else began)
    before = {shard: moments[-1] for shard, moments in watch.moments.items()}
    await settled(system, watch)
    moved = {s: m for s, m in before.items() if watch.moments[s][-1].epoch > m.epoch}
    return lost, await _gaps(watch, moved, None)


async def _gaps(watch: Watch, shards: dict[int, Moment], since_s: float | None) -> list[float]:
    """Wait until all of these get on, and tell for how long each did not."""
    deadline = now_s() + STILL_S
    found: list[float] = []
    for shard, moment in shards.items():
        while (works := watch.first_work_after(shard, moment.epoch)) is None:
            if now_s() > deadline:
                raise TimeoutError(f"shard {shard} stands still for {STILL_S:g} s")
            await asyncio.sleep(0.02)
        last = watch.last_work_before(shard, works.epoch - 1)
        assert last is not None
        found.append(works.at_s - (since_s if since_s is not None else last.at_s))
    return found


async def settled(system: System, watch: Watch) -> None:
    """Wait until every coordinator has its share, and for a while nothing has moved."""
    deadline, since = now_s() + STILL_S, now_s()
    before: dict[int, int] = {}
    while now_s() - since < SETTLED_S:
        if now_s() > deadline:
            raise TimeoutError("the shards do not come to rest")
        owned = [
            len(watch.owned(lambda owner, pid=process.pid: f"-{pid}-" in owner))
            for process in system.coordinators
        ]
        epochs = {shard: moments[-1].epoch for shard, moments in watch.moments.items()}
        if not all(owned) or epochs != before:
            since, before = now_s(), epochs
        await asyncio.sleep(0.05)
