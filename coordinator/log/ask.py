"""One statement, and one name for whatever may go wrong with it."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from coordinator.log.store import LogUnavailable

ANSWER_S: Final = 60.0
"""How long a question may take. A batch is no question: it has no timeout."""

_FOR_EVER_S: Final = 1e9
"""asyncpg would take None for the connection's own limit, which is for what nobody asks here."""

SESSION: Final = {
    "application_name": "twofold",
    # A plan kept from when the tables were small reads them whole when they
    # are large. Batches have connections of their own, see batches.py.
    "plan_cache_mode": "force_custom_plan",
}
"""The server settings of every connection that lives for more than a few questions."""

TROUBLE: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # e.g. the server is a standby
    OSError,  # a TimeoutError is one
)

STALE: Final = ("25006", "57P0", "08")
"""The server went away, or writes no more: so it is with all other connections to it."""


async def ask(
    source: Any, sql: str, *arguments: Any, within_s: float | None = ANSWER_S
) -> list[Any]:
    """Run a statement on a pool or a connection, and return its rows; None is without limit.

    Raises:
        LogUnavailable: it failed, or nobody knows whether it did.

    """
    try:
        limit_s = _FOR_EVER_S if within_s is None else within_s
        return await source.fetch(sql, *arguments, timeout=limit_s)
    except TROUBLE as error:
        state = getattr(error, "sqlstate", None) or ""
        if state.startswith(STALE) and hasattr(source, "expire_connections"):
            await source.expire_connections()
        raise unavailable(error) from error


def unavailable(error: BaseException) -> LogUnavailable:
    """Say what happened."""
    return LogUnavailable(f"{type(error).__name__}: {error}")
