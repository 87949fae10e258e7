"""How soon `twofold nodes` says of a process that it is suspected, or gone."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Final, Self

from coordinator.cli.nodes import Lookout, View, life
from coordinator.config import Config, Kafka, Log
from coordinator.log.postgres import PostgresLog
from coordinator.presence import Life, judge
from coordinator.shards import BEAT_S
from tests.chaos.system import System
from wire.kafka import ShardReader

LOOK_S: Final = 0.05
LONGEST_S: Final = 20.0


class Lookouts:
    """What `twofold nodes` would show, again and again."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        dsn, bootstrap = self._system.log.dsn("twofold"), self._system.kafka.bootstrap
        config = Config(kafka=Kafka(bootstrap=bootstrap), log=Log(dsn=dsn))  # pyright: ignore[reportCallIssue]
        log = await PostgresLog.open(dsn)
        self._open.push_async_callback(log.close)
        reader = await self._open.enter_async_context(ShardReader(bootstrap))
        self._lookout = Lookout(config, [log.pool], reader)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def until(self, pid: int, *, alive: bool) -> float:
        """Look until a process is said to be alive, or not; tell how long that took."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < LONGEST_S:
            if (_state(await self._lookout.look(), pid) is Life.ALIVE) == alive:
                return passed
            await asyncio.sleep(LOOK_S)
        return LONGEST_S


def _state(view: View, pid: int) -> Life:
    """Tell what is said of a process. An instance's name is HOST-PID-RANDOM."""
    for one in view.coordinators:
        if int(one.id.rsplit("-", 2)[1]) == pid:
            return judge(one.silent_us, round(BEAT_S * 1_000_000))
    signs = [sign for one in view.participants for sign in one.signs]
    for sign in signs:
        if int(sign.beat.instance.rsplit("-", 2)[1]) == pid:
            return life(sign, view.now_us)
    return Life.GONE
