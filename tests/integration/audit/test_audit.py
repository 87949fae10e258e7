"""The audit on real databases: silent on a healthy system under load, and otherwise not."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from audit import reading
from coordinator.config import load_config
from tests.acceptance.company import Company, transfer
from tests.integration.audit.conftest import SECOND, Auditor, Books, fresh_gid, start_all

MARK = "INSERT INTO twofold.branch (gid, branch, status) VALUES ('{}', '{}', 'committed')"


LEAST_ROUNDS, LEAST_AUDITS = 6, 2


async def test_a_healthy_system_under_load_gives_no_finding(
    company: Company, auditor: Auditor
) -> None:
    """Read again and again while transactions begin, commit, are undone, and change owners."""
    await start_all(company)

    rounds = audits = 0

    async def load() -> None:
        nonlocal rounds
        while rounds < LEAST_ROUNDS or audits < LEAST_AUDITS:
            await company.publish(f"load-{rounds}", 40)
            rounds += 1
            await asyncio.sleep(1)

    loading = asyncio.create_task(load())
    while not loading.done():
        done = await auditor.run("audit", "--grace", "4s", "-o", "json")
        assert (done.code, done.found) == (0, set()), done
        audits += 1
    await loading
    await company.expect_all_well()
    done = await auditor.run("audit", "--grace", "4s")
    assert done.code == 0, done
    assert done.out == "the log and the databases agree\n"
    assert f"{rounds * 120} transactions compared" in done.err


async def test_repair_lets_the_coordinator_end_what_is_in_doubt(
    company: Company, auditor: Auditor, books: Books
) -> None:
    """Decided to commit, decided to abort, and never begun; the stranger is left alone."""
    await start_all(company)
    places = await company.transfers.publish(
        company.client, [transfer("repair", n) for n in (0, 1)]
    )
    assert await company.client.hear(places, seconds=30) == []
    await company.expect_all_well()  # or what is still told of them would end what is planted
    aborted, committed = (company.client.outcomes[place].gid for place in places)
    unknown, nowhere = fresh_gid(), fresh_gid().replace("main.1.3.", "main.1.9999.")
    for gid, database, branch in [
        (committed, "bank_a", "debit"),
        (aborted, "bank_b", "credit"),
        (unknown, "bank_a", "debit"),
        (nowhere, "bank_a", "debit"),
    ]:
        await books.ask(database, "DELETE FROM twofold.branch WHERE gid = $1", gid)
        await books.prepare(database, f"{gid}.{branch}", MARK.format(gid, branch))
    await books.prepare("bank_a", "their-transaction", "CREATE TABLE theirs ()")
    await asyncio.sleep(3.5)  # longer than the grace of both

    listed = await auditor.run("indoubt", "list", "--grace", "1s", "-o", "json")
    assert {(one["gid"], one["branch"], one["decided"]) for one in listed.json} == {
        (committed, "debit", "commit"),
        (aborted, "credit", "abort"),
        (unknown, "debit", "abort"),
        (nowhere, "debit", "abort"),
        ("", "", "stranger"),
    }
    done = await auditor.run("audit", "--repair", "--grace", "3s", "-o", "json")

    assert done.found == {
        ("commit-unfinished", committed, "bank-a", "debit"),
        ("rollback-unfinished", aborted, "bank-b", "credit"),
        ("prepared-unknown", unknown, "bank-a", "debit"),
        ("prepared-unknown", nowhere, "bank-a", "debit"),
        ("prepared-stranger", "their-transaction", "bank-a", ""),
    }
    assert {one["gid"] for one in done.json["findings"] if not one["mended"]} == {
        "their-transaction",
        nowhere,  # there is nobody to ask about it
    }
    assert done.code == 1
    left = await books.ask("bank_a", "SELECT gid FROM pg_prepared_xacts")
    assert {row["gid"] for row in left} == {"their-transaction", f"{nowhere}.debit"}
    marks = "SELECT status FROM twofold.branch WHERE gid = $1 AND branch = $2"
    assert (await books.ask("bank_a", marks, committed, "debit"))[0]["status"] == "committed"
    assert (await books.ask("bank_b", marks, aborted, "credit"))[0]["status"] == "rolled-back"
    assert (await books.ask("bank_a", marks, unknown, "debit"))[0]["status"] == "rolled-back"


async def test_every_page_is_read(
    company: Company, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small the pages are, each name comes once from the log, and strays come too."""
    await start_all(company)
    await company.publish("pages", 10)
    await company.expect_all_well()
    strays = sorted(fresh_gid() for _ in range(9))
    row = "INSERT INTO twofold.barrier (gid, step, status) VALUES ($1, $2, 'done')"
    for gid in strays:
        for step in ("x", "y"):
            await books.ask("shop_stock", row, gid, step)
    monkeypatch.setattr(reading, "PAGE", 4)
    dsn = company.stack.postgres.dsn
    places = {"stock": dsn("shop_stock"), "bank-a": dsn("bank_a")}
    ever = datetime(1970, 1, 1, tzinfo=UTC)
    monkeypatch.setenv("TWOFOLD_LOG__DSN", dsn("twofold"))
    monkeypatch.setenv("TWOFOLD_LOG__MORE", json.dumps([dsn(SECOND)]))
    async with reading.connected(load_config(), places, 0) as source:
        pages = [page async for page in source.pages(ever)]
        later = [page async for page in source.pages(datetime.now(UTC) + timedelta(hours=1))]
    for gid in strays:
        await books.ask("shop_stock", "DELETE FROM twofold.barrier WHERE gid = $1", gid)

    rows = await books.log("SELECT gid FROM twofold.transaction")
    known = {row["gid"] for row in rows}
    marks = await books.ask("bank_a", "SELECT DISTINCT gid FROM twofold.branch")
    presumed = {row["gid"] for row in marks} - known  # by other tests
    found = sorted(gid for page in pages for gid in page)
    assert found == sorted([*known, *presumed, *strays])
    assert max(map(len, pages)) == 4
    assert not any(later)
