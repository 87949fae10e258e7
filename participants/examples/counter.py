"""A counter in three databases, which agree once every increment has ended.

twofold participants run participants.examples.counter

`add` takes a statement a call, `add-bulk` one for many calls: as little as a
step can be, so a measure of the rest. Calls of the same name wait for each
other while one is being written, so a measurement should use many names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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


async def add_bulk(db: Any, calls: Sequence[Call]) -> list[dict[str, Any]]:
    """Add to many counters at once; one that is named twice gets the sum.

    In order of their names, so that two batches cannot wait for each other.
    """
    sums: Counter[str] = Counter()
    for call in calls:
        sums[call.data["name"]] += call.data["by"]
    rows = await db.fetch(
        "INSERT INTO counter AS c"
        " SELECT * FROM unnest($1::text[], $2::bigint[]) AS v(name, value) ORDER BY name"
        " ON CONFLICT (name) DO UPDATE SET value = c.value + excluded.value RETURNING name, value",
        list(sums.keys()),
        list(sums.values()),
    )
    values = dict(rows)
    return [{"value": values[call.data["name"]]} for call in calls]


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
    counter.step("add-bulk", bulk=True)(add_bulk)
    counter.branch("add")(add)
    counter.undo("subtract")(subtract)
