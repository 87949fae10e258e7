"""No statement reads a large table whole, however small the table was when it was planned."""

from __future__ import annotations

from coordinator.core.transition import Status
from coordinator.log.postgres import PostgresLog
from coordinator.log.store import Batch, Position
from coordinator.log.views import find_by_key, list_transactions, show
from tests.contract.batches import DEFINITION, LEASE_US, beginning, change, gid
from tests.integration.log.conftest import Connection

SMALL, LARGE, STEP = 60, 20_000, 1_000

READ_WHOLE = """
    SELECT sum(seq_tup_read) FROM pg_stat_user_tables
     WHERE relname IN ('transaction', 'decision_log_0')
"""


async def _ask_everything(log: PostgresLog, hands: Connection, at: Position) -> None:
    """More often than it takes Postgres to settle on a plan."""
    for _ in range(12):
        numbers = range(0, SMALL, 2)
        await log.known_starts([("order", f"key-{n}") for n in numbers])
        await log.decisions([gid(n) for n in numbers])
        changes = [change(n, status=Status.OPEN, outcome=None, active=n < 9) for n in numbers]
        await log.persist(Batch([at], [], [], changes))
        await log.active([0, 1, 2])
        await list_transactions(hands, name="order")
        await list_transactions(hands, status=Status.ENDED, before=gid(30))
        await find_by_key(hands, "order", "key-7")
        await show(hands, gid(7))


async def _fill(log: PostgresLog, at: Position, numbers: range) -> None:
    ended = [change(n) for n in numbers]
    await log.persist(beginning(*numbers, at=at))
    await log.persist(Batch([at], [], [], ended))


async def test_plans_follow_the_tables(log: PostgresLog, hands: Connection) -> None:
    """A table of one page is best read whole; a plan from then would read it whole for ever."""
    for table in ("transaction", "decision_log_0"):
        await hands.execute(f"ALTER TABLE twofold.{table} SET (autovacuum_enabled = false)")
    await log.publish(DEFINITION)
    [at] = await log.claim("ann", [0], LEASE_US)
    await _fill(log, at, range(SMALL))
    await hands.execute("ANALYZE")
    await _ask_everything(log, hands, at)
    for first in range(SMALL, LARGE, STEP):
        await _fill(log, at, range(first, first + STEP))
    before = await _read_whole(log, hands)

    await _ask_everything(log, hands, at)

    assert await _read_whole(log, hands) - before < LARGE


async def _read_whole(log: PostgresLog, hands: Connection) -> int:
    """Count the rows read by reading whole tables; each session reports when it is told to."""
    writers: Connection = log._writers  # pyright: ignore[reportPrivateUsage]
    async with log.pool.acquire() as one, log.pool.acquire() as other, writers.acquire() as writer:
        for connection in (one, other, writer, hands):
            await connection.execute("SELECT pg_stat_force_next_flush()")
            await connection.execute("SELECT 1")
    return int(await hands.fetchval(READ_WHOLE))
