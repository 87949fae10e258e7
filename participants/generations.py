"""Which life of a log still counts.

A log that was restored goes on under a higher generation (`twofold recover`).
A coordinator of the lost one may still be there, paused or cut off, and send
decisions that are no more. So a participant's database remembers the highest
generation that it has heard of, for each shard, since each store of a log has
its own; commands of lower ones are not obeyed, and not answered.

A connection reads what is so when it is made, and a recovery first writes and
then ends all connections. So whoever still has one from before can do nothing
with it, and to look costs no round trip.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg
import structlog

from wire import gids

logger = structlog.get_logger(__name__)

FIRST: Final = 1
"""The generation of a log that was never recovered. It needs no row."""

READ: Final = "SELECT cluster, shard, generation FROM twofold.generation"

RAISE: Final = """
    INSERT INTO twofold.generation (cluster, shard, generation) VALUES ($1, $2, $3)
    ON CONFLICT (cluster, shard) DO UPDATE SET generation = excluded.generation, at = now()
     WHERE generation.generation < excluded.generation
"""


class Generations:
    """The highest generations that one process knows its database to have heard of."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, int], int] = {}

    async def learn(self, connection: Any) -> None:
        """Read what the database remembers."""
        try:
            rows = await connection.fetch(READ)
        except asyncpg.UndefinedTableError:
            return  # nobody can have sealed it; see schema.is_present
        for cluster, number, generation in rows:
            shard = cluster, number
            self._highest[shard] = max(generation, self._known(shard))

    async def admits(self, connection: Any, gid: str, spoken: int | None) -> bool:
        """Tell whether a command is to be obeyed; remember a generation that is new.

        It must be asked on the connection that will carry the command out.
        ``spoken`` is the sender's generation. Who does not say has at least
        that of the transaction.
        """
        name = gids.parse(gid)
        assert name is not None, "commands with other names are buried"
        generation, shard = spoken or name.generation, (name.cluster, name.shard)
        if generation > self._known(shard):
            await connection.execute(RAISE, *shard, generation)
            # Which writes nothing where others have heard of a higher one meanwhile.
            await self.learn(connection)
        if generation < self._known(shard):
            known = self._known(shard)
            logger.warning("old_generation", gid=gid, generation=generation, known=known)
            return False
        return True

    def _known(self, shard: tuple[str, int]) -> int:
        return self._highest.get(shard, FIRST)
