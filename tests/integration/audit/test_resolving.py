"""A person ends prepared transactions: those that nobody else will, and none against the log."""

from __future__ import annotations

import asyncio

from tests.acceptance.company import Company, transfer
from tests.integration.audit.conftest import Auditor, Books, Done, fresh_gid, start_all

MARK = "INSERT INTO twofold.branch (gid, branch, status) VALUES ('{}', '{}', 'committed')"
MARKS = "SELECT gid, branch, status FROM twofold.branch WHERE gid = ANY($1::text[])"
NOTED = "SELECT name, participant, action, decided, actor, reason FROM twofold.resolved_branch"


async def test_a_person_ends_what_nobody_else_will_and_nothing_against_the_log(
    company: Company, auditor: Auditor, books: Books
) -> None:
    """By the log's decision, or where there will never be one."""
    await start_all(company)
    [place] = await company.transfers.publish(company.client, [transfer("resolve", 1)])
    assert await company.client.hear([place], seconds=30) == []
    committed = company.client.outcomes[place].gid
    await asyncio.to_thread(company.cluster.stop)
    await books.ask("bank_a", "DELETE FROM twofold.branch WHERE gid = $1", committed)
    other, young = fresh_gid(generation=7), fresh_gid()
    for gid in (committed, other, young):
        await books.prepare("bank_a", f"{gid}.debit", MARK.format(gid, "debit"))
    await books.prepare("bank_a", "theirs", "CREATE TABLE theirs ()")

    async def resolve(*what: str) -> Done:
        return await auditor.run("indoubt", "resolve", *what, "--reason", "why", "--actor", "me")

    async def expect_refused(says: str, *what: str) -> None:
        done = await resolve(*what)
        assert done.code == 3, done
        assert says in done.err, done
        assert "Traceback" not in done.err

    await expect_refused("the log says commit", committed, "debit", "--rollback")
    await expect_refused("it is young", young, "debit", "--commit")
    await expect_refused("no branch debit of theirs", "theirs", "debit", "--commit")
    await expect_refused("either --commit or --rollback", committed, "debit")
    assert (await resolve(committed, "debit", "--commit")).code == 0
    assert (await resolve(other, "debit", "--rollback")).code == 0

    await expect_refused("no branch debit of", committed, "debit", "--commit")
    left = await books.ask("bank_a", "SELECT gid FROM pg_prepared_xacts ORDER BY gid")
    assert [row[0] for row in left] == [f"{young}.debit", "theirs"]
    marks = await books.ask("bank_a", MARKS, [committed, other])
    assert {tuple(row) for row in marks} == {
        (committed, "debit", "committed"),
        (other, "debit", "rolled-back"),
    }
    assert {tuple(row) for row in await books.log(NOTED)} == {
        (f"{committed}.debit", "bank-a", "commit", "commit", "me", "why"),
        (f"{other}.debit", "bank-a", "rollback", "unknown", "me", "why"),
    }
