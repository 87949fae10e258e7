"""A participant whose every step is seen at once: values that are read, and written over.

Whoever reads one and writes what he has made of it can do harm to others that do the same.
"""

from __future__ import annotations

from typing import Any

from participants import Call, Participant, Refused

FIRST = 100

register = Participant(
    "register",
    database="register",
    setup_sql="CREATE TABLE IF NOT EXISTS register (name text PRIMARY KEY, value bigint NOT NULL);",
)


@register.step("read")
async def read(db: Any, call: Call) -> dict[str, Any]:
    """Return a value, as it is now."""
    query = "SELECT value FROM register WHERE name = $1"
    value = await db.fetchval(query, call.data["name"])
    return {"value": FIRST if value is None else value}


@register.step("write")
async def write(db: Any, call: Call) -> dict[str, Any]:
    """Write over a value, and return what was there."""
    before = (await read(db, call))["value"]
    await db.execute(
        "INSERT INTO register VALUES ($1, $2)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        call.data["name"],
        call.data["value"],
    )
    return {"before": before}


@register.undo("restore")
async def restore(db: Any, call: Call) -> None:
    """Put back what was there, except where a test wants that to fail."""
    if call.data["name"].startswith("cursed"):
        raise Refused("it is cursed")
    assert call.result is not None
    query = "UPDATE register SET value = $2 WHERE name = $1"
    await db.execute(query, call.data["name"], call.result["before"])


@register.step("settle")
async def settle(_db: Any, call: Call) -> None:
    """Refuse what is even, so that it is undone."""
    if call.data["by"] % 2 == 0:
        raise Refused("it is even")
