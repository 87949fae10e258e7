"""A participant's database that was sealed against a log that is no more."""

from __future__ import annotations

from contextlib import suppress

import pytest

from audit.reading import Source
from participants import Participant
from participants.barrier import Item, run_batch
from participants.branch import Answer, Asked
from participants.calls import Call
from participants.connections import Connections, DatabaseAway
from participants.postgres import Branches
from participants.step import Asked as StepAsked
from participants.step import Reply
from recovery.sealing import seal
from tests.integration.participants.conftest import Database, new_gid
from wire.messages import End, Result, Vote

SHARDS = (0, 1)


async def sealed(database: Database, generation: int) -> None:
    """Seal it, as a recovery does."""
    own = Connections(database.dsn, name="test", limit=1)
    try:
        await seal(Source([], {("test",): own}, 0), "test", SHARDS, generation)
    finally:
        await own.close()
    with suppress(DatabaseAway):  # what was idle has been ended as well
        await database.execute("SELECT 1")


@pytest.fixture
async def branches(database: Database) -> Branches:
    """Those of a process that runs."""
    return Branches(database.connections)


async def test_what_the_lost_log_decided_is_not_done(
    database: Database, branches: Branches, shop: Participant
) -> None:
    """A branch that it had prepared ends as the log says that took its place."""
    call = Call(new_gid(), "debit", "write", None)
    work = shop.work
    answer = await branches.prepare(call, work, alone=False, late=False, generation=1)
    assert answer is not None
    assert answer.answer is Vote.COMMIT
    await sealed(database, 2)

    settle = branches.settle
    assert await settle(call.gid, call.name, Asked.COMMIT, generation=1) is None
    assert await database.prepared() == {f"{call.gid}.{call.name}"}
    assert await settle(call.gid, call.name, Asked.ROLLBACK, generation=2) == Answer(
        End.ROLLED_BACK
    )
    late = await branches.prepare(
        Call(new_gid(), "debit", "write", None), work, alone=False, late=False, generation=1
    )
    assert late is None
    assert await database.prepared() == set()
    assert await database.items() == {}


async def test_steps_of_the_lost_log_are_left_out_of_their_batch(
    database: Database, shop: Participant
) -> None:
    """The others of it are done."""
    await sealed(database, 2)
    old, new = (Call(new_gid(), "s", "write", None) for _ in range(2))
    items = [Item(StepAsked.EXECUTE, old, None, 1), Item(StepAsked.EXECUTE, new, None, 2)]

    first, second = await run_batch(database.connections, items, shop)

    assert first is None
    assert isinstance(second, Reply)
    assert second.result is Result.DONE
    assert len(await database.items()) == 1


async def test_connections_from_before_are_ended(database: Database) -> None:
    """What was on its way to be done is not done any more, or is done and can be read."""

    async def half_done() -> None:
        async with database.another().one() as connection:
            await connection.execute("BEGIN; INSERT INTO item VALUES ('half', 1)")
            await sealed(database, 2)
            await connection.execute("COMMIT")

    with pytest.raises(DatabaseAway):
        await half_done()
    assert await database.items() == {}
    rows = await database.fetch("SELECT shard, generation FROM twofold.generation")
    assert sorted(rows) == [(0, 2), (1, 2)]
