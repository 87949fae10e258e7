"""The way to a Postgres that may have a standby.

asyncpg has one limit of time for all servers of a DSN: a machine that has
vanished answers nothing, would use it up, and its standby would never be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg


async def connect(dsns: Sequence[str], *, within_s: float, **options: Any) -> tuple[Any, str]:
    """Connect to one of these servers, each of which has its share of the time; say to which.

    Of several (see dsn.py), it is the first that can be written to.

    Raises:
        whatever asyncpg.connect raises: of several servers, what one of them has said
        rather than that another is a standby or silent.

    """
    if len(dsns) > 1:
        options = {"target_session_attrs": "read-write", **options}
    one: Any = asyncpg.connect
    failures: list[Exception] = []
    for dsn in dsns:
        try:
            return await one(dsn, timeout=within_s / len(dsns), **options), dsn
        except (asyncpg.PostgresError, asyncpg.InternalClientError, OSError) as error:
            failures.append(error)
    raise min(failures, key=lambda error: not isinstance(error, asyncpg.PostgresError))
