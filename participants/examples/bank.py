"""Two banks, each with a database of its own, that move money by two-phase commit.

twofold participants run participants.examples.bank
"""

from __future__ import annotations

from typing import Any

from participants import Call, Participant, Refused

ACCOUNTS = """
    CREATE TABLE IF NOT EXISTS account (
        name text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
    CREATE TABLE IF NOT EXISTS movement (
        transfer text PRIMARY KEY, account text NOT NULL, amount bigint NOT NULL);
    INSERT INTO account SELECT 'acc-' || n, 1000000 FROM generate_series(1, 100) n
        ON CONFLICT DO NOTHING;
    INSERT INTO account VALUES ('poor', 0) ON CONFLICT DO NOTHING;
"""

bank_a = Participant("bank-a", database="bank_a", setup_sql=ACCOUNTS)
bank_b = Participant("bank-b", database="bank_b", setup_sql=ACCOUNTS)


async def move(db: Any, transfer: str, account: str, amount: int) -> dict[str, Any]:
    """Change one balance, and write down why."""
    balance = await db.fetchval(
        "UPDATE account SET balance = balance + $2 WHERE name = $1 AND balance + $2 >= 0"
        " RETURNING balance",
        account,
        amount,
    )
    if balance is None:
        raise Refused(f"{account} does not exist, or has too little")
    await db.execute("INSERT INTO movement VALUES ($1, $2, $3)", transfer, account, amount)
    return {"balance": balance}


async def withdraw(db: Any, call: Call) -> dict[str, Any]:
    """Take money from an account."""
    return await move(db, call.data["transfer"], call.data["account"], -call.data["amount"])


async def deposit(db: Any, call: Call) -> dict[str, Any]:
    """Add money to an account."""
    return await move(db, call.data["transfer"], call.data["account"], call.data["amount"])


for bank in (bank_a, bank_b):
    bank.branch("withdraw")(withdraw)
    bank.branch("deposit")(deposit)
