"""The floors: the same effects with the least work, without coordinator and Kafka.

Nobody coordinates here: a process that dies half way leaves its transactions
as they are. They say how much of our time is Postgres's own.

    Grouped      two-phase commit over two databases: BEGIN, UPDATE and PREPARE
                 in one message; all decisions at hand in one commit; then
                 COMMIT PREPARED on both. 8 connections to each database.
    Statements   a saga of three steps, each one statement that writes inbox,
                 booking and outbox.
    Bulk         the same, with one statement for all that wait for a step, and
                 a log of four rows a saga, written likewise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Protocol, Self, cast

import asyncpg
import msgspec

from tests.bench.workload import BANKS, SERVICES, Kind, event, key, transfer

CONNECTIONS: Final = 8
PREPARED_AT_ONCE: Final = 64
"""Transactions that may be prepared: more would need more slots than the server has."""
BATCH: Final = 256

PREFIX: Final = "floor_"
LOG: Final = "floor_log"

TABLES: Final = """
    CREATE TABLE IF NOT EXISTS inbox (id text PRIMARY KEY, at timestamptz DEFAULT now());
    CREATE TABLE IF NOT EXISTS outbox (
        seq bigserial PRIMARY KEY, id text, topic text, body jsonb);
"""
LOG_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS decision (
        id text PRIMARY KEY, branches jsonb, at timestamptz DEFAULT now());
    CREATE TABLE IF NOT EXISTS log (
        id text, seq int, kind text, body jsonb, at timestamptz DEFAULT now(),
        PRIMARY KEY (id, seq));
"""

DECIDE = 'INSERT INTO decision SELECT id, \'["a", "b"]\' FROM unnest($1::text[]) id'
STEP = """
    WITH new AS (INSERT INTO inbox (id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING id),
         done AS (INSERT INTO booking SELECT id, $2::jsonb FROM new)
    INSERT INTO outbox (id, topic, body) SELECT id, 'replies', $2::jsonb FROM new
"""
STEP_MANY = """
    WITH new AS (
        INSERT INTO inbox (id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING id
    ), v AS (
        SELECT id, body FROM new JOIN unnest($1::text[], $2::jsonb[]) AS v(id, body) USING (id)
    ), done AS (INSERT INTO booking SELECT id, body FROM v)
    INSERT INTO outbox (id, topic, body) SELECT id, 'replies', body FROM v
"""
LOG_MANY = """
    INSERT INTO log (id, seq, kind, body)
    SELECT id, seq, 'done', body FROM unnest($1::text[], $2::int[], $3::jsonb[]) v(id, seq, body)
"""


class Floor(Protocol):
    """A floor that is ready to run."""

    async def one(self, n: int) -> None:
        """Do the n-th transaction."""
        ...


class Pool:
    """Connections to one database; who asks first is served first."""

    def __init__(self, connections: Sequence[Any]) -> None:
        self._idle: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
        for connection in connections:
            self._idle.put_nowait(connection)

    @classmethod
    async def open(cls, dsn: str, size: int, stack: AsyncExitStack) -> Self:
        """Connect; the stack closes it."""
        connections: list[Any] = []
        for _ in range(size):
            connection = await cast("Any", asyncpg).connect(dsn)
            stack.push_async_callback(connection.close)
            connections.append(connection)
        return cls(connections)

    async def execute(self, sql: str, *arguments: Any) -> None:
        """Execute on whichever is idle. With arguments, it is prepared on first use."""
        connection = await self._idle.get()
        try:
            if arguments:
                await connection.fetch(sql, *arguments)
            else:
                await connection.execute(sql)
        finally:
            self._idle.put_nowait(connection)


class Gathered:
    """Takes all that waits, works on it at once, and wakes who waited."""

    def __init__(self, work: Callable[[list[Any]], Awaitable[None]]) -> None:
        self._work = work
        self._waiting: list[tuple[Any, asyncio.Future[None]]] = []
        self._some = asyncio.Event()

    async def put(self, item: Any) -> None:
        """Have one worked on, together with others."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        self._some.set()
        await done

    async def run(self) -> None:
        while True:
            await self._some.wait()
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            if not self._waiting:
                self._some.clear()
            try:
                await self._work([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001  # it is theirs who wait
                for _, done in batch:
                    done.set_exception(error)
            else:
                for _, done in batch:
                    done.set_result(None)


Dsn = Callable[[str], str]


@asynccontextmanager
async def grouped(dsn: Dsn) -> AsyncGenerator[Floor]:
    """Two-phase commit."""
    async with AsyncExitStack() as stack:
        a, b = [await Pool.open(dsn(PREFIX + bank), CONNECTIONS, stack) for bank in BANKS]
        log = await Pool.open(dsn(LOG), 1, stack)
        decisions = Gathered(lambda ids: log.execute(DECIDE, ids))
        await _running(stack, decisions)
        yield _Grouped(a, b, decisions)


class _Grouped:
    def __init__(self, a: Pool, b: Pool, decisions: Gathered) -> None:
        self._a, self._b, self._decisions = a, b, decisions
        self._slots = asyncio.Semaphore(PREPARED_AT_ONCE)

    async def one(self, n: int) -> None:
        source, target, amount = transfer(n)
        name = f"floor.{key(n)}"
        async with self._slots:
            await asyncio.gather(
                self._a.execute(_prepare(f"{name}.a", source, -amount)),
                self._b.execute(_prepare(f"{name}.b", target, amount)),
            )
            await self._decisions.put(name)
            await asyncio.gather(
                self._a.execute(f"COMMIT PREPARED '{name}.a'"),
                self._b.execute(f"COMMIT PREPARED '{name}.b'"),
            )


def _prepare(name: str, account: int, amount: int) -> str:
    return (
        f"BEGIN; UPDATE account SET balance = balance + {amount} WHERE id = {account};"
        f" PREPARE TRANSACTION '{name}'"
    )


@asynccontextmanager
async def statements(dsn: Dsn) -> AsyncGenerator[Floor]:
    """Sagas, a statement a step."""
    async with AsyncExitStack() as stack:
        pools = [await Pool.open(dsn(PREFIX + s), 2 * CONNECTIONS, stack) for s in SERVICES]
        yield _Statements(pools)


class _Statements:
    def __init__(self, pools: Sequence[Pool]) -> None:
        self._pools = pools

    async def one(self, n: int) -> None:
        name, body = key(n), _body(n)
        for pool in self._pools:
            await pool.execute(STEP, name, body)


@asynccontextmanager
async def bulk(dsn: Dsn) -> AsyncGenerator[Floor]:
    """Sagas, a statement for all that wait, and a log."""
    async with AsyncExitStack() as stack:
        steps: list[Gathered] = []
        for service in SERVICES:
            pool = await Pool.open(dsn(PREFIX + service), 1, stack)
            steps.append(Gathered(_many(pool)))
        log = Gathered(_log_many(await Pool.open(dsn(LOG), 1, stack)))
        await _running(stack, *steps, log)
        yield _Bulk(steps, log)


class _Bulk:
    def __init__(self, steps: Sequence[Gathered], log: Gathered) -> None:
        self._steps, self._log = steps, log

    async def one(self, n: int) -> None:
        name, body = key(n), _body(n)
        await self._log.put((name, 0, body))
        for seq, step in enumerate(self._steps, 1):
            await step.put((name, body))
            await self._log.put((name, seq, body))


def _many(pool: Pool) -> Callable[[list[Any]], Awaitable[None]]:
    return lambda items: pool.execute(STEP_MANY, [i[0] for i in items], [i[1] for i in items])


def _log_many(pool: Pool) -> Callable[[list[Any]], Awaitable[None]]:
    return lambda rows: pool.execute(
        LOG_MANY, *(list(column) for column in zip(*rows, strict=True))
    )


def _body(n: int) -> str:
    return msgspec.json.encode(event(Kind.TRIP, n)).decode()


async def _running(stack: AsyncExitStack, *gathered: Gathered) -> None:
    """Have them work until the stack is left."""

    async def stop(task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for one in gathered:
        stack.push_async_callback(stop, asyncio.create_task(one.run()))
