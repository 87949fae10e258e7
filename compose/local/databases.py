"""Asks a Postgres server for databases and facts, from code that is not async.

The questions run on an event loop of their own in a thread of their own, so
that they can be asked whether or not the caller has a loop running.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from compose.local.errors import StackError

MAINTENANCE = "postgres"
CONNECT_SECONDS = 10

Answer = TypeVar("Answer")


def with_database(dsn: str, database: str) -> str:
    """The same server and user, another database."""
    parts = urlsplit(dsn)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise StackError(
            f"PG_DSN is not a URL ({dsn.partition(' ')[0]}…)",
            "give it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        )
    return urlunsplit(parts._replace(path=f"/{database}"))


def create_databases(dsn: str, names: Sequence[str]) -> None:
    """Create those that are not there yet."""
    _run(lambda: _create(dsn, names))


def show(dsn: str, *settings: str) -> list[str]:
    """The server's values of these settings."""
    return _run(lambda: _show(dsn, settings))


def ask(dsn: str, sql: str) -> list[tuple[Any, ...]]:
    """Run one statement, and return its rows."""
    return _run(lambda: _ask(dsn, sql))


async def _ask(dsn: str, sql: str) -> list[tuple[Any, ...]]:
    connection = await _connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def _create(dsn: str, names: Sequence[str]) -> None:
    connection = await _connect(dsn)
    try:
        rows = await connection.fetch("SELECT datname FROM pg_database")
        present = {row["datname"] for row in rows}
        for name in names:
            if name not in present:
                quoted = name.replace('"', '""')
                await connection.execute(f'CREATE DATABASE "{quoted}"')
    finally:
        await connection.close()


async def _show(dsn: str, settings: Sequence[str]) -> list[str]:
    connection = await _connect(dsn)
    try:
        return [
            await connection.fetchval("SELECT current_setting($1)", setting) for setting in settings
        ]
    finally:
        await connection.close()


async def _connect(dsn: str) -> Any:
    connect = cast("Any", asyncpg).connect  # the library is not annotated
    try:
        return await connect(dsn, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        host = urlsplit(dsn).hostname or "its socket"
        reason = str(error) or type(error).__name__
        raise StackError(
            f"Postgres at {host} cannot be used ({reason})",
            "check that it runs and that PG_DSN names it",
        ) from error


def _run(question: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(lambda: asyncio.run(question())).result()
