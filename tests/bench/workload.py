"""What is transacted, by us and by the floors alike: a function of a running number.

No two transactions in flight touch the same row, so nobody waits for locks
and nothing is aborted: what is measured is the work.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

ACCOUNTS: Final = 10_000
NOTE: Final = "x" * 200
SERVICES: Final = ("hotel", "flight", "car")
BANKS: Final = ("bank_a", "bank_b")

ACCOUNT_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS account (id int PRIMARY KEY, balance bigint NOT NULL)
        WITH (fillfactor = 50);
    INSERT INTO account SELECT n, 0 FROM generate_series(0, 9999) n ON CONFLICT DO NOTHING;
"""
BOOKING_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS booking (id text PRIMARY KEY, body jsonb NOT NULL);
"""


class Kind(StrEnum):
    """The definitions that are run."""

    TRANSFER = "transfer"
    TRIP = "trip"
    TRIP_BULK = "trip-bulk"


class Transfer(NamedTuple):
    """Money from an account of one bank to an account of the other."""

    source: int
    target: int
    amount: int


def transfer(n: int) -> Transfer:
    """Return the n-th transfer. Amounts differ, so that one too few and one too many show."""
    return Transfer(n % ACCOUNTS, (7 * n + 3) % ACCOUNTS, 1 + 7919 * n % 1009)


def key(n: int) -> str:
    """Name the n-th transaction."""
    return f"k{n:08d}"


def number(name: bytes) -> int:
    """Return which transaction has this name."""
    return int(name[1:])


def event(kind: str, n: int) -> dict[str, Any]:
    """Return the input of the n-th transaction."""
    if kind == Kind.TRANSFER:
        source, target, amount = transfer(n)
        return {"id": key(n), "from": source, "to": target, "amount": amount}
    return {"id": key(n), "note": NOTE}
