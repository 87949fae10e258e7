"""Each kind of disagreement, made by hand in real databases: all are found, and no more."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.acceptance.company import Company, order, transfer
from tests.integration.audit.conftest import Auditor, Books, start_all
from tests.integration.audit.conftest import fresh_gid as fresh

MARK = "INSERT INTO twofold.branch (gid, branch, status) VALUES ('{}', '{}', 'committed')"
UNMARK = "DELETE FROM twofold.branch WHERE gid = $1 AND branch = $2"
REMARK = "UPDATE twofold.branch SET status = $3 WHERE gid = $1 AND branch = $2"
UNBAR = "DELETE FROM twofold.barrier WHERE gid = $1 AND step = $2"
REBAR = "UPDATE twofold.barrier SET status = $3 WHERE gid = $1 AND step = $2"
BAR = "INSERT INTO twofold.barrier (gid, step, status) VALUES ($1, $2, 'done')"
PARK = """
    WITH parked AS (
        UPDATE twofold.transaction SET status = 'parked', outcome = 'PARKED', active = false
         WHERE gid = $1)
    INSERT INTO twofold.decision_log (slot, gid, seq, at, kind, record)
    SELECT slot, gid, max(seq) + 1, now(), 'parked', '{"kind": "parked", "reason": "by a test"}'
      FROM twofold.decision_log WHERE gid = $1 GROUP BY slot, gid
"""

Wanted = set[tuple[str, str, str, str]]


class Victims:
    """Transactions that have ended, by definition and outcome; each is taken once."""

    def __init__(self, ended: dict[tuple[str, str], list[str]]) -> None:
        self._ended = ended

    def transfer(self, outcome: str = "COMMITTED") -> str:
        return self._ended["transfer", outcome].pop()

    def order(self, outcome: str = "COMMITTED") -> str:
        return self._ended["place-order", outcome].pop()


async def publish(company: Company, books: Books) -> Victims:
    """Let some of each kind end in each way, and then stop everything."""
    await start_all(company)
    orders = [order("victim", n) for n in range(20)]
    orders += [{**order(f"none-{n}", 2), "sku": "unobtainium"} for n in range(3)]
    transfers = [transfer("victim", n) for n in range(30)]
    places = await company.orders.publish(company.client, orders)
    places += await company.transfers.publish(company.client, transfers)
    assert await company.client.hear(places, seconds=60) == []
    await all_have_ended(books)
    await asyncio.to_thread(company.cluster.stop)
    ended: dict[tuple[str, str], list[str]] = {}
    for place in places:
        outcome = company.client.outcomes[place]
        ended.setdefault((place[0], outcome.outcome), []).append(outcome.gid)
    return Victims(ended)


async def all_have_ended(books: Books) -> None:
    """Wait for the last phase two: an outcome is told before the branches have heard it."""
    deadline = time.monotonic() + 60
    while await books.log("SELECT FROM twofold.transaction WHERE status <> 'ended'"):
        assert time.monotonic() < deadline, "they do not end"
        await asyncio.sleep(0.1)


UNDECIDED = """
    SELECT t.gid FROM twofold.transaction t
     WHERE t.status = 'open' AND NOT EXISTS (
           SELECT FROM twofold.decision_log l WHERE l.gid = t.gid AND l.kind = 'decided')
"""


async def begin_and_abandon(company: Company, books: Books) -> tuple[list[str], list[str]]:
    """Begin transfers that nobody votes on, and lose their coordinator.

    Those that began early may be aborted by then, for want of votes.
    """
    coordinator = company.cluster.start_coordinator
    await asyncio.to_thread(coordinator, "abandons")
    deadline, batch = time.monotonic() + 30, 0
    while len(rows := await books.log(UNDECIDED)) < 3:
        assert time.monotonic() < deadline, "they do not begin"
        transfers = [transfer(f"open-{batch}", n) for n in range(4)]
        await company.transfers.publish(company.client, transfers)
        await asyncio.sleep(0.5)
        batch += 1
    await asyncio.to_thread(company.cluster.kill, "abandons")
    rows = await books.log(UNDECIDED)
    every = await books.log("SELECT gid FROM twofold.transaction WHERE status = 'open'")
    undecided = [row["gid"] for row in rows]
    return undecided, [row["gid"] for row in every if row["gid"] not in undecided]


async def plant_prepared(victims: Victims, books: Books) -> Wanted:
    """Leave branches prepared that should not be."""
    commit, abort = victims.transfer(), victims.transfer("ABORTED")
    await books.ask("bank_a", UNMARK, commit, "debit")
    await books.prepare("bank_a", f"{commit}.debit", MARK.format(commit, "debit"))
    await books.ask("bank_b", UNMARK, abort, "credit")
    await books.prepare("bank_b", f"{abort}.credit", MARK.format(abort, "credit"))
    never, older, other = fresh(), fresh(age_s=86_400), fresh(generation=7)
    for gid in (never, older, other):
        await books.prepare("bank_b", f"{gid}.credit", MARK.format(gid, "credit"))
    misnamed, elsewhere, saga = victims.transfer(), victims.transfer(), victims.order()
    await books.prepare("bank_a", f"{misnamed}.fee", MARK.format(misnamed, "fee"))
    await books.prepare("bank_a", f"{elsewhere}.credit", MARK.format(elsewhere, "credit"))
    await books.prepare("shop_stock", f"{saga}.reserve", MARK.format(saga, "reserve"))
    await books.prepare("counter_a", "tf1.other.1.0." + 32 * "0" + ".x", "CREATE TABLE theirs ()")
    return {
        ("commit-unfinished", commit, "bank-a", "debit"),
        ("rollback-unfinished", abort, "bank-b", "credit"),
        ("prepared-unknown", never, "bank-b", "credit"),
        ("prepared-before-horizon", older, "bank-b", "credit"),
        ("prepared-other-generation", other, "bank-b", "credit"),
        ("prepared-misnamed", misnamed, "bank-a", "fee"),
        ("prepared-misnamed", saga, "stock", "reserve"),
        ("prepared-elsewhere", elsewhere, "bank-a", "credit"),
        ("prepared-stranger", "tf1.other.1.0." + 32 * "0" + ".x", "counter-a", ""),
    }


async def plant_markers(victims: Victims, books: Books) -> Wanted:
    """Let branches have ended otherwise than decided."""
    missing, against, back = victims.transfer(), victims.transfer("ABORTED"), victims.transfer()
    unknown, misplaced = fresh(), victims.order()
    await books.ask("bank_b", UNMARK, missing, "credit")
    await books.ask("bank_b", REMARK, against, "credit", "committed")
    await books.ask("bank_a", REMARK, back, "debit", "rolled-back")
    await books.ask("bank_a", MARK.format(unknown, "debit"))
    await books.ask("shop_stock", MARK.format(misplaced, "reserve"))
    # A rollback of what never was leaves this, and it is nobody's business.
    await books.ask("bank_a", MARK.format(harmless := fresh(), "debit"))
    await books.ask("bank_a", REMARK, harmless, "debit", "rolled-back")
    return {
        ("marker-missing", missing, "bank-b", "credit"),
        ("committed-against-abort", against, "bank-b", "credit"),
        ("rolled-back-against-commit", back, "bank-a", "debit"),
        ("row-unknown", unknown, "bank-a", "debit"),
        ("row-misplaced", misplaced, "stock", "reserve"),
    }


async def plant_steps(victims: Victims, books: Books) -> Wanted:
    """Let barriers say otherwise than the log."""
    missing, refused, aborted = victims.order(), victims.order(), victims.order("ABORTED")
    stands, unsealed = victims.order("COMPENSATED"), victims.order("COMPENSATED")
    unknown, misplaced = fresh(), victims.order()
    await books.ask("shop_stock", UNBAR, missing, "reserve")
    await books.ask("shop_payments", REBAR, refused, "charge", "refused")
    await books.ask("shop_stock", REBAR, aborted, "reserve", "done")
    await books.ask("shop_stock", REBAR, stands, "reserve", "done")
    await books.ask("shop_stock", UNBAR, unsealed, "reserve")
    await books.ask("shop_shipping", BAR, unknown, "dispatch")
    await books.ask("shop_shipping", BAR, misplaced, "charge")
    return {
        ("step-missing", missing, "stock", "reserve"),
        ("step-contradicted", refused, "payments", "charge"),
        ("effect-after-abort", aborted, "stock", "reserve"),
        ("effect-not-undone", stands, "stock", "reserve"),
        ("seal-missing", unsealed, "stock", "reserve"),
        ("row-unknown", unknown, "shipping", "dispatch"),
        ("row-misplaced", misplaced, "shipping", "charge"),
    }


async def plant_log(victims: Victims, books: Books) -> Wanted:
    """Damage the log itself."""
    gap, differs, rowless, unreadable, parked = (victims.order() for _ in range(5))
    records = "UPDATE twofold.decision_log SET record = $2 WHERE gid = $1 AND seq = 1"
    log = [
        ("DELETE FROM twofold.decision_log WHERE gid = $1 AND seq = 1", gap),
        ("UPDATE twofold.transaction SET outcome = 'ABORTED' WHERE gid = $1", differs),
        ("DELETE FROM twofold.transaction WHERE gid = $1", rowless),
        (PARK, parked),
    ]
    for sql, gid in log:
        await books.log(sql, gid)
    await books.log(records, unreadable, '{"kind": "from-the-future"}')
    return {
        ("log-gap", gap, "", ""),
        ("log-row-differs", differs, "", ""),
        ("log-row-missing", rowless, "", ""),
        ("log-unreadable", unreadable, "", ""),
        ("parked", parked, "", ""),
    }


async def plant_open(company: Company, books: Books) -> Wanted:
    """Leave transactions open, with nobody to care for them."""
    (early, parked, *late), aborting = await begin_and_abandon(company, books)
    await books.ask("bank_a", MARK.format(early, "debit"))
    await books.log(PARK, parked)
    await books.prepare("bank_a", f"{parked}.debit", MARK.format(parked, "debit"))
    shards = {gid.split(".")[3] for gid in (early, *late, *aborting)}
    return {
        ("committed-undecided", early, "bank-a", "debit"),
        *(("overdue", gid, "", "") for gid in (*late, *aborting)),
        ("parked", parked, "", ""),
        ("prepared-parked", parked, "bank-a", "debit"),
        *(("shard-unowned", "", "", f"shard {shard}") for shard in shards),
    }


async def test_what_was_planted_is_found_and_no_more(
    company: Company, auditor: Auditor, books: Books
) -> None:
    """Every kind, among transactions of which nothing is wrong."""
    victims = await publish(company, books)
    before = await auditor.run("audit", "--grace", "1s", "-o", "json")
    assert (before.code, before.found) == (0, set()), before
    wanted: Wanted = set()
    for plant in (plant_prepared, plant_markers, plant_steps, plant_log):
        wanted |= await plant(victims, books)
    wanted |= await plant_open(company, books)
    await asyncio.sleep(6)  # past the deadline of votes

    done = await auditor.run("audit", "--grace", "1s", "-o", "json")

    assert done.code == 1
    assert done.found - wanted == set(), done.out
    assert wanted - done.found == set()
    assert all(one["means"] and one["todo"] for one in done.json["findings"])
    said = await auditor.run("audit", "--grace", "1s")
    assert all(kind in said.out for kind, *_ in wanted)
    await expect_doubts(auditor, wanted)


async def expect_doubts(auditor: Auditor, wanted: Wanted) -> None:
    """What is prepared is listed, with who will end it."""
    listed = await auditor.run("indoubt", "list", "--grace", "1s", "-o", "json")
    decided: dict[str, Any] = {
        "commit-unfinished": "commit",
        "rollback-unfinished": "abort",
        "prepared-unknown": "abort",
        "prepared-before-horizon": "unknown",
        "prepared-other-generation": "unknown",
        "prepared-misnamed": "nothing",
        "prepared-elsewhere": "unheard",
        "prepared-parked": "parked",
    }
    expected = {(gid, part, decided[kind]) for kind, gid, _, part in wanted if kind in decided}
    assert {(one["gid"], one["branch"], one["decided"]) for one in listed.json} == (
        expected | {("", "", "stranger")}
    )
    text = await auditor.run("indoubt", "list", "--grace", "1s")
    assert "STRANGER" in text.out
    assert "does it run?" in text.out
