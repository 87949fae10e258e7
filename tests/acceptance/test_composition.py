"""Steps that are more than a call, on real Kafka and Postgres, with an owner that dies in them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.acceptance.company import Company
from tests.acceptance.test_promises import rows, start_all

EACH = 4
DEFINITION = """\
saga: trip
version: 1
deadline: 2m
steps:
  hold:
    tcc: {try: stock.reserve, confirm: stock.sell, cancel: stock.release}
    with: {order: "${ input.order }", sku: widget, quantity: 1}
  count:
    atomic:
      branches:
        a:
          call: counter-a.add
          with: {name: trips, by: 1}
          undo: {call: counter-a.add, with: {name: trips, by: -1}}
        b:
          call: counter-b.add
          with: {name: trips, by: 1}
          undo: {call: counter-b.add, with: {name: trips, by: -1}}
  luggage: {saga: luggage, with: {pieces: 2}}
  pay:
    call: payments.charge
    with: {order: "${ input.order }", customer: "${ input.customer }", amount: 1}
    undo: payments.refund
output: {counted: "${ steps.count }"}
"""
PART = """\
saga: luggage
version: 1
input: {type: object, properties: {pieces: {type: integer}}}
steps:
  count:
    call: counter-c.add
    with: {name: luggage, by: "${ input.pieces }"}
    undo: counter-c.subtract
  weigh: {call: counter-c.add, with: {name: weighed, by: 1}, undo: counter-c.subtract}
"""


async def test_what_is_composed_is_whole_although_its_owner_dies(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the sagas go back, past a group that has committed and a try that is held."""
    cluster, file = company.cluster, tmp_path / "trip.yaml"
    part = tmp_path / "luggage.yaml"
    file.write_text(DEFINITION)
    part.write_text(PART)
    monkeypatch.setattr(cluster, "definitions", [*cluster.definitions, file, part])
    await start_all(company)
    places: list[tuple[str, str]] = []
    for customer in ("ann", "mallory"):
        for n in range(EACH):
            key = f"trip-{customer}-{n}"
            given = json.dumps({"order": key, "customer": customer})
            said = ("start", "start", "trip", "--key", key, "--input", given)
            await asyncio.to_thread(cluster.run, *said)
            places.append(("trip", key))
    # The first commit of a group is durable, and has not been told to anybody.
    await asyncio.to_thread(cluster.kill, "coordinator-0")
    await asyncio.to_thread(cluster.launch_coordinator, "heir")

    assert await company.client.hear(places, seconds=60) == []
    told = {key: company.client.outcomes["trip", key] for _, key in places}
    assert {key: one.outcome for key, one in told.items()} == {
        key: "COMMITTED" if "ann" in key else "COMPENSATED" for key in told
    }
    for database in ("counter_a", "counter_b"):
        query = "SELECT value FROM counter WHERE name = 'trips'"
        assert await company.number(database, query) == EACH
    pieces = "SELECT value FROM counter WHERE name = 'luggage'"
    assert await company.number("counter_c", pieces) == 2 * EACH
    held = "SELECT count(*) FROM reservation WHERE order_id LIKE 'trip-%'"
    assert await company.number("shop_stock", held) == 0
    paid = "SELECT count(*) FROM payment WHERE order_id LIKE 'trip-%' AND NOT refunded"
    assert await company.number("shop_payments", paid) == EACH
    parts = await rows(
        company,
        "SELECT name, count(*) FROM twofold.transaction WHERE status = 'ended'"
        " AND (name LIKE 'trip.%' OR name = 'luggage') GROUP BY name ORDER BY name",
    )
    assert [tuple(row) for row in parts] == [
        ("luggage", 2 * EACH),
        ("trip.count", 2 * EACH),
        ("trip.count.undo", EACH),
    ]
