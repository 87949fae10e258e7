"""Branches of atomic transactions on a real Postgres: at the same time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from participants.branch import Answer, Asked
from participants.calls import Call, Failed, Outcome
from participants.connections import Connection, Connections, DatabaseAway
from participants.postgres import MARKER, PREPARED, Branches, OneBranch
from tests.integration.participants.conftest import Database, MakeDatabase, new_gid
from tests.integration.participants.teller import WAITING, prepare, write
from wire import gids
from wire.messages import End, Vote


@pytest.fixture
def branches(database: Database) -> Branches:
    return Branches(database.connections)


async def test_prepares_and_rollbacks_at_once_leave_no_orphan(
    make_database: MakeDatabase,
) -> None:
    """P9: whoever says that it is rolled back can be believed, hundreds of times."""
    database = await make_database(lock_ms=500)
    here, there = Branches(database.connections), Branches(database.another(lock_ms=500))

    async def slowly(db: Connection, call: Call) -> Outcome:
        await write(db, call)
        await db.execute("SELECT pg_sleep($1)", (hash(call.gid) % 7) / 1000)
        return None

    async def race(number: int, gid: str) -> None:
        preparing = asyncio.create_task(prepare(here, gid, slowly))
        await asyncio.sleep((number % 11) / 1000)
        settled = await there.settle(gid, "debit", Asked.ROLLBACK)
        assert settled is not None, "it was contended to the end"
        assert settled.answer is End.ROLLED_BACK
        # Invariant 6: from this moment on, nothing of this name is prepared.
        assert f"{gid}.debit" not in await database.prepared()
        voted = await preparing
        assert voted.answer in {Vote.COMMIT, Vote.ABORT, Vote.BUSY}
        assert f"{gid}.debit" not in await database.prepared()

    everyone = [new_gid() for _ in range(300)]
    for first in range(0, len(everyone), 6):
        await asyncio.gather(
            *(race(first + i, gid) for i, gid in enumerate(everyone[first : first + 6]))
        )

    assert await database.prepared() == set()
    assert await database.items() == {}
    marks = await database.fetch("SELECT count(*) FROM twofold.branch WHERE status = 'rolled-back'")
    assert marks == [(len(everyone),)]
    await there.connections.close()


async def test_one_of_two_commits_at_once_does_it_and_both_say_so(
    make_database: MakeDatabase,
) -> None:
    database = await make_database()
    here, there = Branches(database.connections), Branches(database.another())
    for _ in range(40):
        gid = new_gid()
        await prepare(here, gid)
        ends = await asyncio.gather(
            *(b.settle(gid, "debit", Asked.COMMIT) for b in (here, there, here, there))
        )
        assert ends == [Answer(End.COMMITTED)] * 4
    await there.connections.close()


async def test_two_prepares_at_once_work_once(make_database: MakeDatabase) -> None:
    """Two processes got the same message, as happens when partitions move."""
    database = await make_database(lock_ms=300)
    here, there = Branches(database.connections), Branches(database.another(lock_ms=300))
    runs: list[str] = []

    async def count(db: Connection, call: Call) -> Outcome:
        runs.append(call.gid)
        await db.execute("SELECT pg_sleep(0.01)")
        return await write(db, call)

    gids_ = [new_gid() for _ in range(20)]
    for gid in gids_:
        votes = await asyncio.gather(prepare(here, gid, count), prepare(there, gid, count))
        assert [vote.answer for vote in votes] == [Vote.COMMIT, Vote.COMMIT]
        await here.settle(gid, "debit", Asked.COMMIT)

    assert sorted(runs) == sorted(gids_)
    assert await database.items() == dict.fromkeys(gids_, 1)
    await there.connections.close()


async def test_a_lost_connection_leaves_nothing_behind(
    branches: Branches, database: Database
) -> None:
    """The server rolls back what was not prepared, and the next attempt starts afresh."""
    gid = new_gid()

    async def die(db: Connection, call: Call) -> Outcome:
        await write(db, call)
        pid = await db.fetchval("SELECT pg_backend_pid()")
        await database.execute("SELECT pg_terminate_backend($1)", pid)
        await db.execute("SELECT 1")
        raise AssertionError

    with pytest.raises(DatabaseAway):
        await prepare(branches, gid, die)

    assert await prepare(branches, gid) == Answer(Vote.COMMIT, {"wrote": gid})


async def test_a_cancelled_prepare_leaves_no_transaction_open(
    branches: Branches, database: Database
) -> None:
    """Its connection is thrown away: nobody knows what it is in the middle of."""
    gid = new_gid()

    async def hang(db: Connection, call: Call) -> Outcome:
        await write(db, call)
        await db.execute("SELECT pg_sleep(60)")
        return None

    task = asyncio.create_task(prepare(branches, gid, hang))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await database.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE '%pg_sleep(60)%'"
        "   AND pid <> pg_backend_pid()"
    )
    assert (await prepare(branches, gid)).answer is Vote.COMMIT


async def test_a_prepare_that_is_cancelled_while_it_waits_spoils_no_connection(
    make_database: MakeDatabase,
) -> None:
    """Its BEGIN was sent and not yet answered: nobody may use that connection again."""
    database = await make_database()
    gid, other = new_gid(), new_gid()
    alone = Branches(Connections(database.dsn, name="alone", limit=1))
    async with database.connections.one() as connection:
        await alone.survey()  # connects
        await connection.execute("BEGIN; LOCK TABLE twofold.branch")
        task = asyncio.create_task(prepare(alone, gid))
        while not await connection.fetchval(WAITING):
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await connection.execute("ROLLBACK")

    assert (await prepare(alone, other)).answer is Vote.COMMIT
    await alone.settle(other, "debit", Asked.COMMIT)
    assert await database.items() == {other: 1}
    await alone.connections.close()


async def test_a_look_reads_what_is_prepared_before_the_marker() -> None:
    """A commit in between shows in the marker; the other way round, it would show nowhere."""

    class Recorder:
        def __init__(self) -> None:
            self.asked: list[str] = []

        def is_in_transaction(self) -> bool:
            return False

        async def fetchrow(self, sql: str, *_: Any) -> None:
            self.asked.append(sql)

    recorder = Recorder()
    await OneBranch(recorder, new_gid(), "debit").look()

    assert recorder.asked == [PREPARED, MARKER]


async def test_a_survey_forgets_what_somebody_else_has_ended(
    branches: Branches, database: Database
) -> None:
    gid, other = new_gid(), new_gid()
    await prepare(branches, gid)
    await prepare(branches, other)
    await Branches(database.connections).settle(gid, "debit", Asked.COMMIT)

    await branches.survey()

    assert set(branches.held) == {gids.prepared_name(other, "debit")}


async def test_failed_work_aborts(branches: Branches) -> None:
    async def fail(_db: Connection, _call: Call) -> Outcome:
        return Failed("a bug")

    assert await prepare(branches, new_gid(), fail) == Answer(Vote.ABORT, None, "a bug")
