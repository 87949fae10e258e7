"""Branches of atomic transactions on a real Postgres: each pair of the table."""

from __future__ import annotations

import contextlib
import json
from unittest.mock import ANY

import asyncpg
import pytest

from participants.branch import Answer, Asked
from participants.calls import Busy, Call, Outcome, ReadOnly, Refused
from participants.connections import Connection
from participants.guard import ENDED
from participants.postgres import Branches
from tests.integration.participants.conftest import ENDING, Database, MakeDatabase, new_gid
from tests.integration.participants.teller import never, prepare, write
from wire.messages import End, Vote


@pytest.fixture
def branches(database: Database) -> Branches:
    return Branches(database.connections)


# ── one after the other ──────────────────────────────────────────────────────


async def test_a_prepared_branch_shows_nothing_until_it_is_committed(
    branches: Branches, database: Database
) -> None:
    """The vote is durable, and the work is invisible; then both are there at once."""
    gid = new_gid()

    voted = await prepare(branches, gid)

    assert voted == Answer(Vote.COMMIT, {"wrote": gid})
    assert await database.items() == {}
    assert await database.prepared() == {f"{gid}.debit"}
    assert await branches.settle(gid, "debit", Asked.COMMIT) == Answer(End.COMMITTED)
    assert await database.items() == {gid: 1}
    assert await database.prepared() == set()


async def test_a_rolled_back_branch_leaves_nothing_but_its_marker(
    branches: Branches, database: Database
) -> None:
    gid = new_gid()
    await prepare(branches, gid)

    assert await branches.settle(gid, "debit", Asked.ROLLBACK) == Answer(End.ROLLED_BACK)

    assert await database.items() == {}
    assert await database.prepared() == set()
    assert await database.fetch("SELECT gid, status FROM twofold.branch") == [(gid, "rolled-back")]


@pytest.mark.parametrize("alone", [False, True])
async def test_what_a_branch_returned_is_kept_beside_its_marker(
    branches: Branches, database: Database, *, alone: bool
) -> None:
    """As it was, whatever stands in it, and told again; and nothing, if it was nothing."""
    odd = {"it's": ["$$", "\\", '"', "$1; --", "\0", "é"], "n": 1}
    for gid, returned in ((new_gid(), odd), (new_gid(), None)):

        async def work(_connection: Connection, _call: Call, answer: Outcome = returned) -> Outcome:
            return answer

        await prepare(branches, gid, work, alone=alone)
        await branches.settle(gid, "debit", Asked.COMMIT)

        kept = "SELECT reply FROM twofold.branch WHERE gid = $1"
        [[reply]] = await database.fetch(kept, gid)
        assert (reply and json.loads(reply)) == returned
        assert await prepare(branches, gid) == Answer(Vote.COMMITTED, returned, ANY)


@pytest.mark.parametrize(
    ("asked", "end"), [(Asked.COMMIT, End.COMMITTED), (Asked.ROLLBACK, End.ROLLED_BACK)]
)
async def test_a_decision_that_comes_twice_is_answered_alike(
    branches: Branches, asked: Asked, end: End
) -> None:
    gid = new_gid()
    await prepare(branches, gid)

    assert await branches.settle(gid, "debit", asked) == Answer(end)
    assert await branches.settle(gid, "debit", asked) == Answer(end)


async def test_a_second_prepare_votes_again_and_does_not_work_again(
    branches: Branches,
) -> None:
    """The data of the vote is repeated as long as this process lives."""
    gid = new_gid()
    first = await prepare(branches, gid)

    assert await prepare(branches, gid, never) == first


async def test_a_new_process_votes_again_without_the_data(
    branches: Branches, database: Database
) -> None:
    """Nothing of a prepared transaction can be read, so its data died with the process."""
    gid = new_gid()
    await prepare(branches, gid)

    reborn = Branches(database.connections)
    await reborn.survey()

    assert await prepare(reborn, gid, never) == Answer(Vote.COMMIT)
    assert await prepare(reborn, gid, never, late=True) == Answer(
        Vote.COMMIT, None, "prepared in time: its yes binds it"
    )


async def test_a_new_process_that_knows_nothing_still_finds_out(
    branches: Branches, database: Database
) -> None:
    """It waits on the marker until lock_timeout, then looks."""
    gid = new_gid()
    await prepare(branches, gid)

    assert await prepare(Branches(database.connections), gid, never) == Answer(Vote.COMMIT)


async def test_a_prepare_after_the_commit_does_nothing(
    branches: Branches, database: Database
) -> None:
    gid = new_gid()
    await prepare(branches, gid)
    await branches.settle(gid, "debit", Asked.COMMIT)

    assert (await prepare(branches, gid, never)).answer is Vote.COMMITTED
    assert await database.items() == {gid: 1}


async def test_a_prepare_after_the_rollback_is_refused(
    branches: Branches, database: Database
) -> None:
    """Also where the rollback came first of all: an empty rollback."""
    gid = new_gid()
    assert await branches.settle(gid, "debit", Asked.ROLLBACK) == Answer(End.ROLLED_BACK)

    assert await prepare(branches, gid, never) == Answer(
        Vote.ABORT, None, "it was rolled back before"
    )
    assert await database.prepared() == set()


async def test_a_late_prepare_is_refused_and_stays_so(branches: Branches) -> None:
    gid = new_gid()

    late = await prepare(branches, gid, never, late=True)

    assert late == Answer(Vote.ABORT, None, "too late: its deadline had passed")
    assert await prepare(branches, gid, never) == late


async def test_a_refusal_is_kept_and_told_again(branches: Branches, database: Database) -> None:
    """A no is for good: what would be a yes today was a no when it was counted."""

    async def refuse(db: Connection, call: Call) -> Outcome:
        await write(db, call)
        return Refused("no money")

    gid = new_gid()

    assert await prepare(branches, gid, refuse) == Answer(Vote.ABORT, None, "no money")
    assert await prepare(branches, gid, never) == Answer(Vote.ABORT, None, "no money")
    assert await database.items() == {}
    assert await branches.settle(gid, "debit", Asked.ROLLBACK) == Answer(
        End.ROLLED_BACK, None, "no money"
    )


async def test_a_busy_branch_may_be_asked_again(branches: Branches, database: Database) -> None:
    async def busy(db: Connection, call: Call) -> Outcome:
        await write(db, call)
        return Busy("closed for lunch")

    gid = new_gid()

    assert await prepare(branches, gid, busy) == Answer(Vote.BUSY, None, "closed for lunch")
    assert await database.items() == {}
    assert (await prepare(branches, gid)).answer is Vote.COMMIT


async def test_a_read_only_branch_leaves_nothing(branches: Branches, database: Database) -> None:
    async def read(_db: Connection, _call: Call) -> Outcome:
        return ReadOnly({"balance": 7})

    gid = new_gid()

    assert await prepare(branches, gid, read) == Answer(Vote.READ_ONLY, {"balance": 7})
    assert await database.prepared() == set()
    assert await database.fetch("SELECT * FROM twofold.branch") == []


# ── in one phase ─────────────────────────────────────────────────────────────


async def test_a_lone_branch_commits_by_itself(branches: Branches, database: Database) -> None:
    """A repetition is answered from the marker, with the data."""
    gid = new_gid()

    first = await prepare(branches, gid, alone=True)

    assert first == Answer(Vote.COMMITTED, {"wrote": gid})
    assert await database.items() == {gid: 1}
    assert await prepare(branches, gid, never, alone=True) == first


async def test_a_rollback_finds_out_that_a_lone_branch_has_committed(
    branches: Branches, database: Database
) -> None:
    gid = new_gid()
    await prepare(branches, gid, alone=True)

    settled = await branches.settle(gid, "debit", Asked.ROLLBACK)

    assert settled is not None
    assert settled.answer is End.COMMITTED
    assert await database.items() == {gid: 1}


async def test_a_lone_branch_that_was_withdrawn_is_refused(
    branches: Branches, database: Database
) -> None:
    gid = new_gid()
    await branches.settle(gid, "debit", Asked.ROLLBACK)

    assert (await prepare(branches, gid, never, alone=True)).answer is Vote.ABORT
    assert await database.items() == {}


async def test_a_lone_branch_with_a_broken_deferred_constraint_votes_abort(
    branches: Branches,
) -> None:
    gid = new_gid()

    voted = await prepare(branches, gid, orphan, alone=True)

    assert voted.answer is Vote.ABORT
    assert "23503" in voted.reason


# ── what Postgres says ───────────────────────────────────────────────────────


async def orphan(db: Connection, call: Call) -> Outcome:
    """Break a deferred foreign key, which is noticed when it is prepared."""
    await db.execute("INSERT INTO owned VALUES ($1)", call.gid)
    return None


async def test_a_deferred_constraint_is_a_no(branches: Branches) -> None:
    gid = new_gid()

    voted = await prepare(branches, gid, orphan)

    assert voted.answer is Vote.ABORT
    assert "23503" in voted.reason
    assert await prepare(branches, gid, never) == voted


async def test_a_statement_whose_failure_is_ignored_is_not_prepared(
    branches: Branches, database: Database
) -> None:
    """PREPARE TRANSACTION then says ROLLBACK, and raises nothing."""

    async def ignore(db: Connection, _call: Call) -> Outcome:
        with contextlib.suppress(asyncpg.DivisionByZeroError):
            await db.execute("SELECT 1/0")
        return "all is well"

    voted = await prepare(branches, new_gid(), ignore)

    assert voted.answer is Vote.ABORT
    assert "regardless" in voted.reason
    assert await database.prepared() == set()


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("sql", ENDING)
async def test_a_handler_that_ends_its_transaction_votes_no_and_has_done_nothing(
    branches: Branches, database: Database, sql: str, *, alone: bool
) -> None:
    """Committed before all have agreed, it would stand whatever is decided."""
    gid = new_gid()

    async def end(db: Connection, call: Call) -> Outcome:
        await write(db, call)
        with contextlib.suppress(asyncpg.PostgresError):
            await db.execute(sql)
        return None

    voted = await prepare(branches, gid, end, alone=alone)

    assert voted == Answer(Vote.ABORT, None, ENDED)
    assert await database.items() == {}
    assert await database.prepared() == set()
    assert await prepare(branches, gid, never, alone=alone) == voted


async def test_what_cannot_be_prepared_is_a_no(branches: Branches) -> None:
    """A temporary table, or a NOTIFY, cannot be prepared (0A000)."""

    async def notify(db: Connection, _call: Call) -> Outcome:
        await db.execute("NOTIFY somebody")
        return None

    voted = await prepare(branches, new_gid(), notify)

    assert voted.answer is Vote.ABORT
    assert "0A000" in voted.reason


async def test_a_commit_of_what_is_neither_prepared_nor_marked_is_a_hazard(
    branches: Branches, database: Database
) -> None:
    """An operator has rolled it back by hand: nothing tells, so nothing is claimed."""
    gid = new_gid()
    await prepare(branches, gid)
    await database.execute(f"ROLLBACK PREPARED '{gid}.debit'")

    settled = await branches.settle(gid, "debit", Asked.COMMIT)

    assert settled is not None
    assert settled.answer is End.HAZARD


async def test_a_commit_by_hand_is_known_by_its_marker(
    branches: Branches, database: Database
) -> None:
    gid = new_gid()
    await prepare(branches, gid)
    await database.execute(f"COMMIT PREPARED '{gid}.debit'")

    assert await branches.settle(gid, "debit", Asked.COMMIT) == Answer(End.COMMITTED)
    rolled_back = await branches.settle(gid, "debit", Asked.ROLLBACK)
    assert rolled_back is not None
    assert rolled_back.answer is End.COMMITTED


async def test_a_commit_after_a_rollback_says_so(branches: Branches) -> None:
    """Against the decision: the coordinator must hear of it."""
    gid = new_gid()
    await prepare(branches, gid)
    await branches.settle(gid, "debit", Asked.ROLLBACK)

    settled = await branches.settle(gid, "debit", Asked.COMMIT)

    assert settled == Answer(End.ROLLED_BACK, None, "it was rolled back, against the decision")


@pytest.mark.parametrize("asked", [Asked.COMMIT, Asked.ROLLBACK])
async def test_a_branch_in_another_database_is_out_of_reach(
    branches: Branches, make_database: MakeDatabase, asked: Asked
) -> None:
    """A participant was given another database while it held something prepared."""
    gid = new_gid()
    await prepare(branches, gid)
    elsewhere = Branches((await make_database(lock_ms=500)).connections)

    settled = await elsewhere.settle(gid, "debit", asked)

    assert settled is not None
    assert settled.answer is End.HAZARD
    assert "prepared in database" in settled.reason


async def test_a_branch_of_another_role_is_out_of_reach(
    branches: Branches, database: Database
) -> None:
    gid = new_gid()
    await prepare(branches, gid)
    await database.execute(
        "DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN END $$;"
        "GRANT USAGE ON SCHEMA twofold TO stranger;"
        " GRANT ALL ON ALL TABLES IN SCHEMA twofold TO stranger"
    )
    connections = database.another(role="stranger")

    settled = await Branches(connections).settle(gid, "debit", Asked.COMMIT)
    await connections.close()

    assert settled is not None
    assert settled.answer is End.HAZARD
    assert "another role" in settled.reason


async def test_a_locked_row_is_busy(branches: Branches, database: Database) -> None:
    """The handler's own statement waits for lock_timeout, not for ever."""
    await database.execute("INSERT INTO item VALUES ('hot', 0)")
    gid, other = new_gid(), new_gid()

    async def heat(db: Connection, _call: Call) -> Outcome:
        try:
            await db.execute("UPDATE item SET value = value + 1 WHERE name = 'hot'")
        except Exception as error:  # noqa: BLE001
            return Busy(str(error))
        return None

    assert (await prepare(branches, gid, heat)).answer is Vote.COMMIT
    assert (await prepare(branches, other, heat)).answer is Vote.BUSY
    assert await branches.settle(gid, "debit", Asked.COMMIT) == Answer(End.COMMITTED)
    assert (await prepare(branches, other, heat)).answer is Vote.COMMIT


async def test_a_gid_that_could_break_out_of_its_quotes_is_never_sent(
    branches: Branches,
) -> None:
    with pytest.raises(ValueError, match="cannot name"):
        await prepare(branches, "tf1.test.1.0.x'; DROP TABLE item; --")
    with pytest.raises(ValueError, match="cannot name"):
        await branches.settle(new_gid(), "a'b", Asked.COMMIT)
