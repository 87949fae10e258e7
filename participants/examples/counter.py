"""A counter in three databases, which agree once every increment has ended.

twofold participants run participants.examples.counter
"""

from __future__ import annotations

from typing import Any

from participants import Call, Participant

COUNTERS = "CREATE TABLE IF NOT EXISTS counter (name text PRIMARY KEY, value bigint NOT NULL);"


async def add(db: Any, call: Call) -> dict[str, Any]:
    """Add to a counter, which begins at zero."""
    value = await db.fetchval(
        "INSERT INTO counter AS c VALUES ($1, $2)"
        " ON CONFLICT (name) DO UPDATE SET value = c.value + excluded.value RETURNING value",
        call.data["name"],
        call.data["by"],
    )
    return {"value": value}


async def subtract(db: Any, call: Call) -> None:
    """Take back what was added."""
    await db.execute(
        "UPDATE counter SET value = value - $2 WHERE name = $1", call.data["name"], call.data["by"]
    )


counter_a = Participant("counter-a", database="counter_a", setup_sql=COUNTERS)
counter_b = Participant("counter-b", database="counter_b", setup_sql=COUNTERS)
counter_c = Participant("counter-c", database="counter_c", setup_sql=COUNTERS)

for counter in (counter_a, counter_b, counter_c):
    counter.step("add")(add)
    counter.undo("subtract")(subtract)
