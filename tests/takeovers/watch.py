"""Looks at the shards in the log, a hundred times a second, as an outsider."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, Final

import asyncpg

from tests.takeovers.gaps import Seen

EVERY_S: Final = 0.01
SETTLED_S: Final = 60.0
CALM_S: Final = 0.5
"""For how long nothing must have changed hands, before it counts as settled."""

SHARDS: Final = """
    SELECT s.id, s.epoch, s.requests_offset, s.replies_offset, l.owner
      FROM twofold.shard s LEFT JOIN twofold.lease l ON l.shard = s.id
"""


class NotSettled(Exception):
    """The shards are not shared out as they should be, and should be by now."""


class Watch:
    """What was seen of each shard, and who owns it."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.histories: dict[int, list[Seen]] = defaultdict(list)
        self.owners: dict[int, str | None] = {}

    async def run(self) -> None:
        """Look, until cancelled."""
        connect: Any = asyncpg.connect  # asyncpg ships no types
        connection = await connect(self._dsn)
        try:
            look = await connection.prepare(SHARDS)
            while True:
                self._note(await look.fetch(), time.monotonic())
                await asyncio.sleep(EVERY_S)
        finally:
            connection.terminate()

    def _note(self, rows: list[Any], now: float) -> None:
        for shard, epoch, requests, replies, owner in rows:
            self.owners[shard] = owner
            seen = Seen(now, epoch, (requests, replies))
            history = self.histories[shard]
            if not history or history[-1][1:] != seen[1:]:
                history.append(seen)

    def epoch(self, shard: int) -> int:
        """Return the epoch that was seen last."""
        return self.histories[shard][-1].epoch

    def owned_by(self, pid: int) -> list[int]:
        """Name the shards of a process. A replica's name is HOST-PID-RANDOM."""
        return [s for s, owner in self.owners.items() if owner and _pid(owner) == pid]

    async def settled(self, pids: Callable[[], set[int]]) -> None:
        """Wait until these processes, and no others, share all shards in equal parts.

        Raises:
            NotSettled: they have not come to it.

        """
        deadline = time.monotonic() + SETTLED_S
        since: float | None = None
        while since is None or time.monotonic() - since < CALM_S:
            if time.monotonic() > deadline:
                raise NotSettled(f"{self.owners} among {pids()}")
            await asyncio.sleep(0.05)
            parts = Counter(_pid(owner) if owner else 0 for owner in self.owners.values())
            fair = set(parts) == pids() and max(parts.values()) - min(parts.values()) <= 1
            since = (since or time.monotonic()) if fair and self._all_work() else None

    def _all_work(self) -> bool:
        """Tell whether every shard has been written for under the epoch that it has now."""
        return all(
            len(h) > 1 and h[-1].epoch == h[-2].epoch and h[-1].offsets != h[-2].offsets
            for h in self.histories.values()
        )

    def forget(self, before: float) -> None:
        """Drop what was seen before a time, but for the last of it."""
        for shard, history in self.histories.items():
            keep = max((n for n, seen in enumerate(history) if seen.at < before), default=0)
            self.histories[shard] = history[keep:]


def _pid(owner: str) -> int:
    return int(owner.rsplit("-", 2)[1])
