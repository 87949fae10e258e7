"""Whether every effect happened exactly once, as the databases have it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import asyncpg

from tests.bench.workload import BANKS, SERVICES, key, transfer

QUIET_S: Final = 30.0

OPEN = "SELECT count(*) FROM twofold.transaction WHERE status <> 'ended'"
PREPARED = "SELECT count(*) FROM pg_prepared_xacts"
BALANCES = "SELECT id, balance FROM account WHERE balance <> 0"
BOOKED = "SELECT id FROM booking"


class Untrue(Exception):
    """An effect is missing, or there twice, or something is left half done."""


class Balances:
    """What the accounts of two banks must hold. A prefix names the floor's banks."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._expected: tuple[Counter[int], Counter[int]] = (Counter(), Counter())

    def add(self, committed: Sequence[int]) -> None:
        """Expect these transfers."""
        source, target = self._expected
        for n in committed:
            made = transfer(n)
            source[made.source] -= made.amount
            target[made.target] += made.amount

    async def check(self, dsn: Callable[[str], str]) -> None:
        """Raise Untrue if an account holds anything else."""
        for bank, expected in zip(BANKS, self._expected, strict=True):
            rows = await ask(dsn(self._prefix + bank), BALANCES)
            wrong = dict(rows).items() ^ {(k, v) for k, v in expected.items() if v}
            if wrong:
                raise Untrue(f"{self._prefix}{bank}: {len(wrong)} balances, e.g. {min(wrong)}")


async def check_bookings(dsn: Callable[[str], str], prefix: str, committed: Sequence[int]) -> None:
    """Raise Untrue unless just these are booked everywhere; then clear the tables."""
    expected = {key(n) for n in committed}
    for service in SERVICES:
        where = prefix + service
        found = {row[0] for row in await ask(dsn(where), BOOKED)}
        if found != expected:
            missing, surplus = len(expected - found), len(found - expected)
            raise Untrue(f"{where}: {missing} bookings are missing, {surplus} too many")
        tables = "booking, inbox, outbox" if prefix else "booking"
        await execute(dsn(where), f"TRUNCATE {tables}")


async def until_quiet(dsn: Callable[[str], str], stores: Sequence[str] = ("twofold",)) -> None:
    """Wait until nothing is prepared, and no transaction is open in any store of the log.

    Raises:
        Untrue: it takes too long.

    """
    give_up_at = time.monotonic() + QUIET_S
    while True:
        prepared = (await ask(dsn("twofold"), PREPARED))[0][0]
        still = sum([(await ask(dsn(store), OPEN))[0][0] for store in stores])
        if not prepared and not still:
            return
        if time.monotonic() > give_up_at:
            raise Untrue(f"{prepared} branches are prepared, and {still} transactions open")
        await asyncio.sleep(0.05)


async def ask(dsn: str, sql: str) -> list[Any]:
    """Ask one question on a connection of its own."""
    connection = await cast("Any", asyncpg).connect(dsn)
    try:
        return await connection.fetch(sql)
    finally:
        await connection.close()


async def execute(dsn: str, sql: str) -> None:
    """Execute statements on a connection of their own."""
    connection = await cast("Any", asyncpg).connect(dsn)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
