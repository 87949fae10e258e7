"""Three participants that write down all they do, and would write it down twice.

No constraint here keeps an effect from happening twice: what the kit fails to
prevent, the checker must see.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from participants import Call, Participant, Refused

DATABASES: Final = ("chaos_a", "chaos_b", "chaos_c")
ACCOUNTS: Final = 400
FIRST_BALANCE: Final = 1_000_000

TABLES: Final = f"""
    CREATE TABLE IF NOT EXISTS account (
        name text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
    CREATE TABLE IF NOT EXISTS counter (name text PRIMARY KEY, value bigint NOT NULL);
    CREATE TABLE IF NOT EXISTS entry (
        key text NOT NULL, gid text NOT NULL, part text NOT NULL,
        kind text NOT NULL, amount bigint NOT NULL);
    INSERT INTO account SELECT 'acc-' || n, {FIRST_BALANCE} FROM generate_series(1, {ACCOUNTS}) n
        ON CONFLICT DO NOTHING;
"""

ENTER: Final = "INSERT INTO entry VALUES ($1, $2, $3, $4, $5)"


async def post(db: Any, call: Call) -> None:
    """Change a balance, unless the account does not exist or would be overdrawn."""
    await asyncio.sleep(call.data.get("nap", 0))
    await _move(db, call.data["account"], call.data["amount"])
    await db.execute(ENTER, call.data["key"], call.gid, call.name, "do", call.data["amount"])


async def unpost(db: Any, call: Call) -> None:
    """Change it back."""
    await _move(db, call.data["account"], -call.data["amount"])
    await db.execute(ENTER, call.data["key"], call.gid, call.name, "undo", -call.data["amount"])


async def _move(db: Any, account: str, amount: int) -> None:
    query = "UPDATE account SET balance = balance + $2 WHERE name = $1 AND balance + $2 >= 0"
    if await db.execute(query, account, amount) != "UPDATE 1":
        raise Refused(f"{account} does not exist, or has too little")


async def add(db: Any, call: Call) -> None:
    """Add to a counter, which begins at zero."""
    await _count(db, call.data["name"], call.data["amount"])
    await db.execute(ENTER, call.data["key"], call.gid, call.name, "do", call.data["amount"])


async def subtract(db: Any, call: Call) -> None:
    """Take back what was added."""
    await _count(db, call.data["name"], -call.data["amount"])
    await db.execute(ENTER, call.data["key"], call.gid, call.name, "undo", -call.data["amount"])


async def _count(db: Any, name: str, amount: int) -> None:
    await db.execute(
        "INSERT INTO counter AS c VALUES ($1, $2)"
        " ON CONFLICT (name) DO UPDATE SET value = c.value + excluded.value",
        name,
        amount,
    )


node_a = Participant("node-a", database="chaos_a", setup_sql=TABLES)
node_b = Participant("node-b", database="chaos_b", setup_sql=TABLES)
node_c = Participant("node-c", database="chaos_c", setup_sql=TABLES)

for node in (node_a, node_b, node_c):
    node.step("post")(post)
    node.branch("post")(post)
    node.undo("unpost")(unpost)
    node.step("add")(add)
    node.undo("subtract")(subtract)
