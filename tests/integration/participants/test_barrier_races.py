"""Steps of sagas on a real Postgres: several at the same time, and those that get no answer."""

from __future__ import annotations

import asyncio

import pytest

from participants import Call
from participants.barrier import Item
from participants.connections import Connection, DatabaseAway
from participants.step import Reply
from tests.integration.participants.conftest import Database, MakeDatabase, new_gid
from tests.integration.participants.shop import Runner, Shop, compensate, execute, kept, rows
from wire.messages import Result

DONE = Result.DONE


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def run(shop: Shop, database: Database) -> Runner:
    return Runner(shop, database.connections)


async def test_two_processes_with_the_same_messages_do_each_once(
    make_database: MakeDatabase, shop: Shop
) -> None:
    """They wait on the row; in whatever order their batches are, no deadlock shows."""
    database = await make_database(lock_ms=60_000)
    here = Runner(shop, database.connections)
    there = Runner(shop, database.another(lock_ms=60_000))
    for _ in range(4):
        gids = [new_gid() for _ in range(1_500)]
        shop.calls.clear()
        items = [execute(gid, kept(gid), command="bulk") for gid in gids]

        answers = await asyncio.gather(here(*items), there(*reversed(items)))

        assert answers[0] == [Reply(DONE, kept(gid)) for gid in gids]
        assert answers[1] == list(reversed(answers[0]))
        assert len(shop.calls) == len(gids)
    await there.connections.close()
    await asyncio.sleep(1.2)  # a server's process tells what it counted once a second
    assert await database.fetch(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    ) == [(0,)]


async def test_two_undos_at_once_undo_once(make_database: MakeDatabase, shop: Shop) -> None:
    """Both find the row there; one must wait for the other before it believes what it says."""
    database = await make_database(lock_ms=60_000)
    here = Runner(shop, database.connections)
    there = Runner(shop, database.another(lock_ms=60_000))

    async def slowly(db: Connection, call: Call) -> None:
        await db.execute("SELECT pg_sleep(0.02)")
        await shop.erase(db, call)

    shop.participant.undo("slowly")(slowly)
    for _ in range(5):
        gid = new_gid()
        await here(execute(gid, kept(gid)))
        shop.calls.clear()

        replies = await asyncio.gather(
            here(compensate(gid, command="slowly")), there(compensate(gid, command="slowly"))
        )

        assert replies == [[Reply(DONE, undone=True)]] * 2
        assert shop.calls == [("erase", gid)]
    await there.connections.close()


async def test_a_step_and_its_undo_at_once_end_in_one_of_two_ways(
    make_database: MakeDatabase, shop: Shop
) -> None:
    """Done and undone, or sealed and refused; never done and left."""
    database = await make_database(lock_ms=60_000)
    here = Runner(shop, database.connections)
    there = Runner(shop, database.another(lock_ms=60_000))
    seen: set[tuple[Result, bool]] = set()
    for number in range(120):
        gid = new_gid()

        async def later(first: Runner, item: Item, pause: float) -> Reply:
            await asyncio.sleep(pause)
            return (await first(item))[0]

        did, undid = await asyncio.gather(
            later(here, execute(gid, kept(gid)), number % 4 / 2000),
            later(there, compensate(gid), number % 3 / 2000),
        )
        assert (did.result, undid.undone) in {(DONE, True), (Result.REFUSED, False)}
        seen.add((did.result, undid.undone))

    assert len(seen) == 2, "the race always had the same winner, so it was none"
    assert await database.items() == {}
    await there.connections.close()


async def test_a_row_that_somebody_else_keeps_is_busy_and_others_go_on(
    run: Runner, database: Database
) -> None:
    held, free = new_gid(), new_gid()
    other = database.another()
    async with other.one() as connection:
        await connection.execute("BEGIN")
        await connection.execute(
            "INSERT INTO twofold.barrier (gid, step, status) VALUES ($1, 's', 'done')", held
        )
        replies = await run(execute(held, kept(held)), execute(free, kept(free)))
        await connection.execute("ROLLBACK")
    await other.close()

    assert [reply.result for reply in replies] == [Result.BUSY, DONE]


async def test_who_waits_for_a_lock_holds_nothing_that_others_did(
    make_database: MakeDatabase, shop: Shop
) -> None:
    """Its lock may be held by a branch that waits, elsewhere, for a row of theirs."""
    database = await make_database(lock_ms=60_000)
    run = Runner(shop, database.connections)
    locked, free = new_gid(), new_gid()
    other = database.another()
    async with other.one() as connection:
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO item VALUES ($1, 1)", f"{locked}/s")
        running = asyncio.ensure_future(
            run(execute(locked, kept(locked)), execute(free, kept(free)))
        )
        while f"{free}/s" not in await database.items():
            assert not running.done()
            await asyncio.sleep(0.02)
        assert not running.done()
        await connection.execute("ROLLBACK")
    await other.close()

    assert [reply.result for reply in await running] == [DONE, DONE]


async def test_a_lost_connection_is_no_answer(shop: Shop, database: Database) -> None:
    """Nobody is told anything, and the next attempt finds out."""
    gid = new_gid()

    async def die(db: Connection, _call: Call) -> None:
        pid = await db.fetchval("SELECT pg_backend_pid()")
        await database.execute("SELECT pg_terminate_backend($1)", pid)
        await db.execute("SELECT 1")

    shop.participant.step("die")(die)
    run = Runner(shop, database.connections)

    with pytest.raises(DatabaseAway):
        await run(execute(gid, command="die"))

    assert await rows(database) == {}
    assert await run(execute(gid, kept(gid))) == [Reply(DONE, kept(gid))]
