"""Words of the language on real Kafka and Postgres, with an owner that dies in the middle."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance.company import Company
from tests.acceptance.test_promises import rows, start_all

REST_S = 6
DEFINITION = f"""\
saga: visit-later
version: 1
start: {{delay: {REST_S}s}}
deadline: 2m
on_deadline: park
steps:
  enter:
    call: counter-a.add
    with: {{name: later, by: 1}}
    undo: counter-a.subtract
    on_unknown: compensate
  greet:
    if: input.greeted
    call: counter-b.add
    with: {{name: later, by: 1}}
    undo: counter-b.subtract
  leave:
    call: counter-c.add
    with: {{name: later, by: "${{ steps.greet == null ? 10 : 100 }}"}}
    pivot: true
"""


async def value(company: Company, database: str, name: str = "later") -> int:
    """Read a counter in one of its databases."""
    query = "SELECT value FROM counter WHERE name = $1"
    return await company.number(database, query, name)


async def test_what_rests_is_asked_by_another_owner(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing happens before; then all that is wanted does, once."""
    cluster, file = company.cluster, tmp_path / "visit-later.yaml"
    file.write_text(DEFINITION)
    monkeypatch.setattr(cluster, "definitions", [*cluster.definitions, file])
    await start_all(company)
    for greeted in (True, False):
        said = ("--key", f"later-{greeted}", "--input", json.dumps({"greeted": greeted}))
        await asyncio.to_thread(cluster.run, "start", "start", "visit-later", *said)
    await asyncio.to_thread(cluster.kill, "coordinator-0")
    assert await value(company, "counter_a") == 0
    await asyncio.to_thread(cluster.launch_coordinator, "heir")

    places = [("visit-later", f"later-{greeted}") for greeted in (True, False)]
    assert await company.client.hear(places, seconds=60) == []
    assert {company.client.outcomes[place].outcome for place in places} == {"COMMITTED"}
    found = [await value(company, f"counter_{name}") for name in "abc"]
    assert found == [2, 1, 110]
    rested = await rows(
        company,
        "SELECT extract(epoch FROM min(d.at) FILTER (WHERE d.seq > 0) - t.began_at)"
        " FROM twofold.transaction AS t JOIN twofold.decision_log AS d USING (gid)"
        " WHERE t.name = 'visit-later' GROUP BY t.gid",
    )
    assert len(rested) == 2, rested
    assert all(row[0] >= REST_S for row in rested), rested


TICKING = """\
saga: tick
version: 1
start: {every: 1s}
steps:
  count:
    call: counter-a.add
    with: {name: ticks, by: 1}
    pivot: true
"""
STARTED = "SELECT start_key, status FROM twofold.transaction WHERE name = 'tick' ORDER BY 1"


async def test_the_clock_starts_each_time_once_whoever_dies(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two look at it, both are killed, and for a while nobody looks: none lost, none doubled."""
    cluster, file = company.cluster, tmp_path / "tick.yaml"
    file.write_text(TICKING)
    monkeypatch.setattr(cluster, "definitions", [*cluster.definitions, file])
    await start_all(company, coordinators=2)

    async def started(at_least: int) -> None:
        async with asyncio.timeout(60):
            while len(await rows(company, STARTED)) < at_least:
                await asyncio.sleep(0.2)

    await started(3)
    await asyncio.to_thread(cluster.kill, "coordinator-0")
    await started(6)
    await asyncio.to_thread(cluster.kill, "coordinator-1")
    before = len(await rows(company, STARTED))
    await asyncio.sleep(3)
    await asyncio.to_thread(cluster.launch_coordinator, "heir")
    await started(before + 8)
    file.write_text(TICKING.replace("version: 1", "version: 2").replace("{every: 1s}", "{}"))
    await asyncio.to_thread(cluster.launch_coordinator, "last")  # and publishes the end of it

    async with asyncio.timeout(60):
        seen = -1
        while seen < len(found := await rows(company, STARTED)) or any(
            status != "ended" for _, status in found
        ):
            seen = len(found)
            await asyncio.sleep(3)
    keys = [datetime.fromisoformat(key) for key, _ in found]
    assert keys == [keys[0] + timedelta(seconds=n) for n in range(len(keys))]
    assert await value(company, "counter_a", "ticks") == len(keys)


ROUNDS = """\
saga: rounds
version: 1
steps:
  card:
    call: payments.charge
    with: {order: rounds, customer: mallory, amount: 1}
    undo: payments.refund
    on_refused: continue
    retry: {attempts: 20, first: 100ms, jitter: none, budget: 1m}
  visit:
    each: input.by
    at_most: 2
    call: counter-b.add
    with: {name: rounds, by: "${ each }"}
    undo: counter-b.subtract
    on_undo_failure: continue
  count:
    call: counter-c.add
    with: {name: rounds, by: "${ steps.card == null ? size(steps.visit) : 0 }"}
    undo: counter-c.subtract
"""


async def test_each_element_is_done_once_by_two_owners(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is killed while they go on, a few at once."""
    cluster, file = company.cluster, tmp_path / "rounds.yaml"
    file.write_text(ROUNDS)
    monkeypatch.setattr(cluster, "definitions", [*cluster.definitions, file])
    await start_all(company)
    given = json.dumps({"by": list(range(1, 201))})
    said = ("--key", "rounds", "--input", given)
    await asyncio.to_thread(cluster.run, "start", "start", "rounds", *said)
    async with asyncio.timeout(60):
        while not await value(company, "counter_b", "rounds"):
            await asyncio.sleep(0.05)
    await asyncio.to_thread(cluster.kill, "coordinator-0")
    assert await value(company, "counter_c", "rounds") == 0
    await asyncio.to_thread(cluster.launch_coordinator, "heir")

    place = ("rounds", "rounds")
    assert await company.client.hear([place], seconds=90) == []
    assert company.client.outcomes[place].outcome == "COMMITTED"
    assert await value(company, "counter_b", "rounds") == sum(range(1, 201))
    assert await value(company, "counter_c", "rounds") == 200
