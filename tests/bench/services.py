"""The participants: two banks with branches, three services with a step each.

The step comes in two flavours: a statement for each message, as most would
write it, and one for all that have come.

    twofold participants run tests.bench.services
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from participants import Call, Participant
from tests.bench.workload import ACCOUNT_TABLE, BANKS, BOOKING_TABLE, SERVICES

MOVE = "UPDATE account SET balance = balance + $2 WHERE id = $1"
BOOK = "INSERT INTO booking VALUES ($1, $2)"
BOOK_MANY = "INSERT INTO booking SELECT * FROM unnest($1::text[], $2::jsonb[])"
CANCEL = "DELETE FROM booking WHERE id = $1"


def _text(data: Any) -> str:
    return msgspec.json.encode(data).decode()


async def move(db: Any, call: Call) -> None:
    """Change one balance."""
    await db.execute(MOVE, call.data["account"], call.data["amount"])


async def book(db: Any, call: Call) -> None:
    """Write one booking."""
    await db.execute(BOOK, call.data["id"], _text(call.data))


async def book_many(db: Any, calls: Sequence[Call]) -> list[None]:
    """Write all bookings in one statement."""
    await db.execute(BOOK_MANY, [c.data["id"] for c in calls], [_text(c.data) for c in calls])
    return [None] * len(calls)


async def cancel(db: Any, call: Call) -> None:
    """Take a booking back."""
    await db.execute(CANCEL, call.data["id"])


def _bank(database: str) -> Participant:
    bank = Participant(database.replace("_", "-"), database=database, setup_sql=ACCOUNT_TABLE)
    bank.branch("move")(move)
    return bank


def _service(name: str) -> Participant:
    service = Participant(name, database=name, setup_sql=BOOKING_TABLE)
    service.step("book")(book)
    service.step("book-many", bulk=True)(book_many)
    service.undo("cancel")(cancel)
    return service


bank_a, bank_b = (_bank(database) for database in BANKS)
hotel, flight, car = (_service(name) for name in SERVICES)
