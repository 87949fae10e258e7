"""A handler cannot end the transaction in which it is called.

It has the marks of other steps, and what other handlers have done. So the
database itself refuses to commit it while handlers are at work: a deferred
trigger on the rows of marks (schema.py) looks at a setting that lasts as long
as the transaction does. Who says ROLLBACK loses the setting as well, and
whoever has begun another transaction meanwhile has none.

Both travel with statements that are sent anyway.
"""

from __future__ import annotations

from typing import Final

import asyncpg
import structlog

from participants.calls import Call

logger = structlog.get_logger(__name__)

AT_WORK: Final = "SET LOCAL twofold.handlers = 'at work'"
"""To be said before the marks are written."""

DONE: Final = "SELECT twofold.handlers_are_done()"
"""Lets the transaction be committed or prepared; fails if it is not the one that was at work."""

COMMIT: Final = f"{DONE}; COMMIT"

NOT_OURS: Final = (
    asyncpg.InvalidTransactionTerminationError,
    asyncpg.InvalidSavepointSpecificationError,
    asyncpg.NoActiveSQLTransactionError,
)
"""What Postgres says to our statements in a transaction that is not the one that we began."""

ENDED: Final = (
    "its handler ended the transaction in which it was called, or tried to; that was rolled back."
    " A handler says no COMMIT, ROLLBACK or SET CONSTRAINTS ALL IMMEDIATE; savepoints are fine"
)


def report(call: Call) -> None:
    """Name the handler to whoever can mend it."""
    facts = {"gid": call.gid, "part": call.name, "command": call.command}
    logger.error("handler_ended_transaction", **facts, hint=ENDED)
