"""No participant obeys the lost log any more.

Its coordinators do not run, as far as anybody can hear. One that is paused,
or cut off, cannot be heard, and has decisions that are no more. So before
anything is read as proof, each participant's database is told of the
generation that will follow, and its participants' connections are ended: new
ones know it (participants/generations.py). What was under way on the old ones
has come to its end by then, and is seen by whoever reads after that.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import asyncpg

from audit.reading import Source
from coordinator.cli.errors import Trouble
from participants.connections import describe
from participants.generations import RAISE

END_WITHIN_MS: Final = 10_000

# Participants' connections are known by their application_name.
END_OTHERS: Final = """
    SELECT bool_and(pg_terminate_backend(pid, $2)) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name LIKE 'twofold/%'
       AND NOT pid = ANY($1::int[])
"""


async def seal(source: Source, cluster: str, shards: Collection[int], generation: int) -> None:
    """Let all participants refuse what lower generations say of these shards.

    Raises:
        Trouble: a database could not be told, or a connection to it not ended.

    """
    ours = [await source.use(place, _number) for place in source.places]

    async def tell(connection: Any) -> bool:
        await connection.executemany(RAISE, [(cluster, shard, generation) for shard in shards])
        return await connection.fetchval(END_OTHERS, ours, END_WITHIN_MS) is not False

    for place in source.places:
        try:
            ended = await source.use(place, tell)
        except asyncpg.PostgresError as error:
            raise Trouble(
                f"the database of {', '.join(place)} cannot be sealed: {describe(error)}.",
                "Connect as its participant does; and run `twofold participants migrate` before.",
            ) from error
        if not ended:
            raise Trouble(f"a connection to the database of {', '.join(place)} does not end.")


async def _number(connection: Any) -> int:
    return int(await connection.fetchval("SELECT pg_backend_pid()"))
