"""Connections to one participant's database, and what its errors mean.

A connection is made when it is needed, kept while it is whole, and replaced
when it is lost. It is handed back outside any transaction, or not at all.
There is no reset between two uses, since that would cost a round trip each:
a handler that changes a setting does so with SET LOCAL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random

from participants.calls import sayable
from participants.generations import Generations
from participants.witness import Witness
from wire.dsn import servers
from wire.postgres import connect

logger = structlog.get_logger(__name__)

Connection: TypeAlias = Any
"""An asyncpg.Connection; asyncpg ships no types."""

CONNECT_SECONDS: Final = 10.0
PATIENT_BY_SECONDS: Final = 10.0
"""How much longer than the server's own limit of a statement we wait for it."""

# A lost connection, a server that shuts down, starts up or has no slot, and a
# former primary that has become a standby: a new connection may do better.
_AWAY: Final = ("08", "57P01", "57P02", "57P03", "57P05", "53300", "25006", "25P03")
_BUSY: Final = frozenset({"55P03", "40001", "40P01"})


class DatabaseAway(Exception):
    """The database could not be reached, or left. What was sent may have been done."""


class DatabaseRefuses(DatabaseAway):
    """The database will not have us: there is none of this name, or the password is wrong."""


class Limits:
    """How long the server lets us wait, work and dawdle, in milliseconds."""

    def __init__(
        self, *, lock_ms: int = 2_000, statement_ms: int = 30_000, idle_ms: int = 60_000
    ) -> None:
        self.lock_ms, self.statement_ms, self.idle_ms = lock_ms, statement_ms, idle_ms

    def settings(self) -> dict[str, str]:
        """Return them as settings of a connection."""
        return {
            "lock_timeout": str(self.lock_ms),
            "statement_timeout": str(self.statement_ms),
            "idle_in_transaction_session_timeout": str(self.idle_ms),
            # The barrier rests on seeing what others have committed meanwhile.
            "default_transaction_isolation": "read committed",
        }


class Connections:
    """At most so many connections at once, the most recently used first."""

    def __init__(
        self,
        dsn: str,
        *,
        name: str,
        limit: int,
        limits: Limits | None = None,
        role: str | None = None,
    ) -> None:
        self.dsn, self.name, self.limit = dsn, name, limit
        self.limits = limits or Limits()
        self.generations = Generations()
        self.witness = Witness(name)
        self._role = role
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(limit)
        self._closed = False
        self.trouble = ""
        """Why the database was last not to be had; empty if it was."""

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[Connection]:
        """Lend a connection.

        Raises:
            DatabaseAway: there is none to be had, or it was lost.

        """
        async with self._free:
            connection = await self._take()
            self.trouble = ""
            try:
                yield connection
            except Exception as error:
                if not is_away(error):
                    raise
                connection.terminate()
                self.trouble = f"{self.name}: {describe(error)}"
                if isinstance(error, DatabaseAway):
                    raise
                raise DatabaseAway(self.trouble) from error
            except BaseException:
                # Cancelled in the middle of something: who knows of what.
                connection.terminate()
                raise
            finally:
                self._put(connection)

    async def close(self) -> None:
        """Close what is idle; what is lent is closed when it comes back."""
        self._closed = True
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.close(timeout=2)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(DatabaseAway),
                stop=stop_after_attempt(3),
                wait=wait_random(0, 0.2),
                reraise=True,
            ):
                with attempt:
                    return await self._connect()
        except DatabaseAway as error:
            self.trouble = str(error)
            # Those that are idle are as lost as the one that was asked for.
            while self._idle:
                self._idle.pop().terminate()
            raise
        raise AssertionError("unreachable")

    async def _connect(self) -> Connection:
        connection = None
        try:
            connection, _ = await connect(
                servers(self.dsn),
                within_s=CONNECT_SECONDS,
                command_timeout=self.limits.statement_ms / 1000 + PATIENT_BY_SECONDS,
                server_settings={
                    "application_name": f"twofold/{self.name}"[:63],
                    **self.limits.settings(),
                },
            )
            await self._set_up(connection)
        except Exception as error:
            if connection is not None:
                connection.terminate()
            kind = DatabaseAway if is_away(error) else DatabaseRefuses
            raise kind(f"{self.name}: {describe(error)}") from error
        return connection

    async def _set_up(self, connection: Connection) -> None:
        if self._role is not None:
            quoted = self._role.replace('"', '""')
            await connection.execute(f'SET ROLE "{quoted}"')
        # A reply says that an effect is durable, whatever the default is here.
        await connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )
        await self.generations.learn(connection)
        await self.witness.look(connection)

    def _put(self, connection: Connection) -> None:
        if connection.is_closed():
            return
        if self._closed or connection.is_in_transaction():
            connection.terminate()
            return
        self._idle.append(connection)


def sqlstate(error: BaseException) -> str:
    """Return Postgres's code of an error, or nothing."""
    return str(getattr(error, "sqlstate", None) or "")


def is_away(error: BaseException) -> bool:
    """Tell whether the connection, or the whole server, is lost."""
    if isinstance(error, asyncpg.InternalClientError):
        return True  # its connection was lost in the middle of something
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error) or "released" in str(error)
    return isinstance(error, OSError | DatabaseAway) or sqlstate(error).startswith(_AWAY)


def is_busy(error: BaseException) -> bool:
    """Tell whether it may do next time: a lock, a deadlock, a serialisation failure."""
    return sqlstate(error) in _BUSY


def describe(error: BaseException) -> str:
    """Say an error in one line."""
    code = sqlstate(error)
    text = str(error).strip().split("\n", 1)[0] or type(error).__name__
    return f"{sayable(text)} ({code})" if code else sayable(text)


def with_database(dsn: str, database: str | None) -> str:
    """Return the same server and user, with another database."""
    if database is None:
        return dsn
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))
