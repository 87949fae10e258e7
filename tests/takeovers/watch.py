"""Reads how far each shard is, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

import asyncpg

EVERY_S: Final = 0.005
READ: Final = """
    SELECT s.id, s.epoch, s.requests_offset + s.replies_offset AS progress, l.owner
      FROM twofold.shard s LEFT JOIN twofold.lease l ON l.shard = s.id ORDER BY s.id
"""


class Moment(NamedTuple):
    """A shard as it was at some time."""

    at_s: float
    epoch: int
    progress: int
    """Messages that count as read; it grows with all that is done."""
    owner: str | None


@dataclass
class Watch:
    """For each shard, each moment at which it was other than before."""

    dsn: str
    moments: dict[int, list[Moment]] = field(default_factory=dict[int, list[Moment]])

    async def run(self) -> None:
        """Read until cancelled."""
        connection: Any = await asyncpg.connect(self.dsn)
        try:
            while True:
                for shard, *row in await connection.fetch(READ):
                    self._note(shard, Moment(now_s(), *row))
                await asyncio.sleep(EVERY_S)
        finally:
            connection.terminate()

    def _note(self, shard: int, moment: Moment) -> None:
        before = self.moments.setdefault(shard, [])
        if not before or before[-1][1:] != moment[1:]:
            before.append(moment)

    def owned(self, by: Callable[[str], bool]) -> dict[int, Moment]:
        """Return the shards of one owner, as they are now."""
        last = {shard: moments[-1] for shard, moments in self.moments.items()}
        return {s: moment for s, moment in last.items() if moment.owner and by(moment.owner)}

    def first_work_after(self, shard: int, epoch: int) -> Moment | None:
        """Find when a shard first got on under a later epoch."""
        claimed: Moment | None = None
        for moment in self.moments[shard]:
            if moment.epoch <= epoch:
                continue
            if claimed is None or moment.epoch != claimed.epoch:
                claimed = moment
            elif moment.progress > claimed.progress:
                return moment
        return None

    def last_work_before(self, shard: int, epoch: int) -> Moment | None:
        """Find when a shard last got on under this epoch or an earlier one."""
        found, progress = None, -1
        for moment in self.moments[shard]:
            if moment.epoch <= epoch and moment.progress > progress:
                found, progress = moment, moment.progress
        return found

    def pauses_s(self) -> list[float]:
        """Return how long shards ordinarily wait for more to do, within one epoch."""
        found: list[float] = []
        for moments in self.moments.values():
            for one, other in pairwise(moments):
                if one.epoch == other.epoch and one.progress != other.progress:
                    found.append(other.at_s - one.at_s)
        return found


def now_s() -> float:
    """Tell the time, of the loop."""
    return asyncio.get_running_loop().time()
