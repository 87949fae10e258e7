"""Who purges asks the newest definitions how long, works in batches, and troubles nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from coordinator.definitions import Definitions
from coordinator.log.memory import MemoryLog
from coordinator.log.store import ClusterFacts, LogUnavailable
from coordinator.purging import BATCH, purge
from sagas.loader import load

DAY_US = 86_400_000_000


class Clock:
    """A clock that stands still."""

    def now_us(self) -> int:
        return 7


class Log(MemoryLog):
    """A log that answers to `purge` as it is told, and then says stop."""

    def __init__(self, *answers: int | Exception) -> None:
        super().__init__(ClusterFacts("main", 1, 1), lambda: 0)
        self.answers = list(answers)
        self.asked: list[tuple[dict[str, int], int, int]] = []
        self.stop = asyncio.Event()

    async def purge(self, keep: Mapping[str, int], now_us: int, limit: int) -> int:
        self.asked.append((dict(keep), now_us, limit))
        answer = self.answers.pop(0)
        if not self.answers:
            self.stop.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


def definitions(*retains: str) -> Definitions:
    """Publish versions of one definition."""
    known = Definitions()
    for version, retain in enumerate(retains, start=1):
        text = (
            f"saga: pay\nversion: {version}\n{retain}\nsteps:\n  a: {{call: x.do, undo: x.undo}}\n"
        )
        known.add(load(text, "test"))
    return known


async def test_the_newest_version_says_how_long() -> None:
    """Also for those that follow an older one; and it is 30 days if it does not say."""
    for newest, wanted in (("retain: 2d", 2 * DAY_US), ("", 30 * DAY_US)):
        log = Log(0)
        await purge(log, definitions("retain: 1h", newest), Clock(), log.stop)
        assert log.asked == [({"pay": wanted}, 7, BATCH)]


async def test_it_goes_on_while_there_is_more() -> None:
    """A whole batch is followed by another, soon."""
    log = Log(BATCH, BATCH, 3)

    async with asyncio.timeout(2):
        await purge(log, definitions(""), Clock(), log.stop)

    assert len(log.asked) == 3


async def test_a_log_that_is_away_ends_nothing() -> None:
    """The engine notices by itself, and has its own way to begin anew."""
    log = Log(LogUnavailable("it cannot be reached"))

    await purge(log, definitions(""), Clock(), log.stop)

    assert len(log.asked) == 1
