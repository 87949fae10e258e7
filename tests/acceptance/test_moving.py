"""Parked sagas are moved to a mended version, on real servers, by an owner that dies of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.company import Company
from tests.acceptance.test_promises import rows, start_all

SALES: Final = 4
DEFINITION: Final = """\
saga: sale
version: 1
deadline: 2m
steps:
  reserve:
    call: stock.reserve
    with: {order: "${ input.order }", sku: widget, quantity: 1}
    undo: stock.release
  note: {call: counter-a.add, with: {name: sales, by: 1}, pivot: true}
  charge:
    call: payments.charge
    with: {order: "${ input.order }", customer: mallory, amount: 1}
"""
MENDED: Final = (
    DEFINITION.replace("version: 1", "version: 2")
    .replace("charge:", "charge_buyer:", 1)
    .replace("mallory", '"${ input.customer }"')
)
PARKED: Final = "SELECT gid FROM twofold.transaction WHERE name = 'sale' AND status = 'parked'"


async def test_what_was_refused_by_mistake_is_asked_anew_and_all_the_rest_stays(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has refused remembers it; the mended step has another name, and each is done once."""
    cluster, file, mended = company.cluster, tmp_path / "sale.yaml", tmp_path / "mended.yaml"
    file.write_text(DEFINITION)
    mended.write_text(MENDED)
    monkeypatch.setattr(cluster, "definitions", [*cluster.definitions, file])
    await start_all(company)
    places = [("sale", f"sale-{n}") for n in range(SALES)]
    for name, key in places:
        given = json.dumps({"order": key, "customer": "ann"})
        said = ("start", "start", name, "--key", key, "--input", given)
        await asyncio.to_thread(cluster.run, *said)
    while len(await rows(company, PARKED)) < SALES:
        await asyncio.sleep(0.05)
    await asyncio.to_thread(cluster.run, "publish", "publish", str(mended))

    why = ("--reason", "it is not mallory who buys", "--yes")
    moved = await asyncio.to_thread(cluster.run, "move", "move", "--parked", "--name", "sale", *why)
    await asyncio.to_thread(cluster.kill, "coordinator-0")
    await asyncio.to_thread(cluster.launch_coordinator, "heir")

    assert moved.count("keeps reserve and note; goes on with charge_buyer") == SALES
    ended = "SELECT gid FROM twofold.transaction WHERE name = 'sale' AND outcome = 'COMMITTED'"
    async with asyncio.timeout(60):
        while len(await rows(company, ended)) < SALES:
            await asyncio.sleep(0.05)
    count = "SELECT value FROM counter WHERE name = 'sales'"
    assert await company.number("counter_a", count) == SALES
    paid = "SELECT count(*) FROM payment WHERE order_id LIKE 'sale-%' AND NOT refunded"
    assert await company.number("shop_payments", paid) == SALES
    followed = "SELECT DISTINCT d.version FROM twofold.transaction t"
    followed += " JOIN twofold.definition d ON d.hash = t.definition WHERE t.name = 'sale'"
    assert [tuple(row) for row in await rows(company, followed)] == [(2,)]
    databases = {"stock": "shop_stock", "counter-a": "counter_a", "payments": "shop_payments"}
    dsn = company.stack.postgres.dsn
    known = [f"--participant={name}={dsn(place)}" for name, place in databases.items()]
    found = await asyncio.to_thread(cluster.run, "audit", "audit", "-o", "json", *known)
    findings = json.loads(found[found.index("{") : found.rindex("}") + 1])["findings"]
    assert [one for one in findings if one["participant"] in databases] == []
