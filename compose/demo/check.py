"""What must be true at rest, read from the databases and from what clients heard.

Nothing here knows how a coordinator works. It knows what the services keep
and what the clients were told, and that the two must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

Dsn = Callable[[str], str]

DATABASES = (
    "shop_stock",
    "shop_payments",
    "shop_shipping",
    "bank_a",
    "bank_b",
    "counter_a",
    "counter_b",
    "counter_c",
)
FIRST_STOCK = 1_000_000
FIRST_BALANCE = 1_000_000


class Finding(NamedTuple):
    """One thing that must be true, whether it is, and what was found."""

    what: str
    holds: bool
    found: str


class Told(NamedTuple):
    """What a client published, and the outcome it heard; None while it heard nothing."""

    event: Mapping[str, Any]
    outcome: str | None


async def prepared(dsn: Dsn) -> Finding:
    """Nothing is left prepared anywhere."""
    left = await _rows(dsn("bank_a"), "SELECT gid FROM pg_prepared_xacts")
    return Finding("pg_prepared_xacts is empty", not left, f"{len(left)} prepared")


async def heard(told: Sequence[Told]) -> Finding:
    """Every client heard how its transaction ended."""
    silent = [t for t in told if t.outcome is None]
    return Finding("every transaction ended", not silent, f"{len(told) - len(silent)}/{len(told)}")


async def transfers(dsn: Dsn, told: Sequence[Told]) -> list[Finding]:
    """Money is conserved, and each transfer is on both sides or on neither, as told."""
    sides: dict[str, dict[str, int]] = {}
    balances: dict[str, int] = {}
    for bank in ("bank_a", "bank_b"):
        rows = await _rows(dsn(bank), "SELECT transfer, amount FROM movement")
        sides[bank] = {row["transfer"]: row["amount"] for row in rows}
        rows = await _rows(dsn(bank), "SELECT sum(balance)::bigint AS sum, count(*) FROM account")
        # One account, `poor`, begins with nothing.
        balances[bank] = rows[0]["sum"] - (rows[0]["count"] - 1) * FIRST_BALANCE
    half = [
        transfer
        for transfer in sides["bank_a"].keys() | sides["bank_b"].keys()
        if -sides["bank_a"].get(transfer, 0) != sides["bank_b"].get(transfer, 0)
    ]
    moved = {transfer for side in sides.values() for transfer in side}
    lies = [
        t.event["transfer_id"]
        for t in told
        if t.outcome is not None and (t.outcome == "COMMITTED") != (t.event["transfer_id"] in moved)
    ]
    total = sum(balances.values())
    return [
        Finding("money is conserved", total == 0, f"{balances['bank_b']} moved, {total} too much"),
        Finding("each transfer is on both sides or neither", not half, f"{len(half)} half done"),
        Finding("transfers agree with outcomes", not lies, _some(lies)),
    ]


async def orders(dsn: Dsn, told: Sequence[Told]) -> list[Finding]:
    """Stock, payments and parcels agree with each other and with the outcomes."""
    reserved = await _rows(dsn("shop_stock"), "SELECT order_id, quantity FROM reservation")
    on_shelf = await _rows(dsn("shop_stock"), "SELECT available FROM item WHERE sku = 'widget'")
    paid = await _column(dsn("shop_payments"), "SELECT order_id FROM payment WHERE NOT refunded")
    sent = await _column(dsn("shop_shipping"), "SELECT order_id FROM shipment")
    held = {row["order_id"] for row in reserved}
    gone = FIRST_STOCK - on_shelf[0]["available"]
    promised = sum(row["quantity"] for row in reserved)
    lies = [
        t.event["order_id"]
        for t in told
        if t.outcome is not None
        and {t.event["order_id"] in place for place in (held, paid, sent)}
        != {t.outcome == "COMMITTED"}
    ]
    apart = (held | paid | sent) - (held & paid & sent)
    return [
        Finding("stock is exact", gone == promised, f"{gone} taken, {promised} reserved"),
        Finding(
            "reserved, paid and sent are the same orders",
            not apart,
            f"{len(sent)} sent, {len(apart)} half done",
        ),
        Finding("orders agree with outcomes", not lies, _some(lies)),
    ]


async def counters(dsn: Dsn, name: str, told: Sequence[Told]) -> list[Finding]:
    """The counter is the same in all databases, and is the sum of what was committed."""
    values: list[int] = []
    for database in ("counter_a", "counter_b", "counter_c"):
        query = "SELECT value FROM counter WHERE name = $1"
        rows = await _rows(dsn(database), query, name)
        values.append(rows[0]["value"] if rows else 0)
    expected = sum(t.event["by"] for t in told if t.outcome == "COMMITTED")
    return [
        Finding(
            "the counter is exact in three databases",
            values == [expected] * 3,
            f"{values}, expected {expected}",
        )
    ]


async def _rows(dsn: str, query: str, *args: Any) -> list[Any]:
    connect: Any = asyncpg.connect  # asyncpg ships no types
    connection = await connect(dsn)
    try:
        return await connection.fetch(query, *args)
    finally:
        await connection.close()


async def _column(dsn: str, query: str) -> set[str]:
    return {row[0] for row in await _rows(dsn, query)}


def _some(names: Sequence[str]) -> str:
    return "none differ" if not names else f"{len(names)} differ: {', '.join(names[:3])}"
