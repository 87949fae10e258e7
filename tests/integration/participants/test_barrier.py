"""Steps of sagas on a real Postgres: repetitions, overtaking, and batches."""

from __future__ import annotations

import contextlib
from typing import Any

import asyncpg
import pytest

from participants import Call
from participants.connections import Connection
from participants.guard import ENDED
from participants.step import Reply
from tests.integration.participants.conftest import ENDING, Database, new_gid
from tests.integration.participants.shop import Runner, Shop, compensate, execute, kept, rows
from wire.messages import Result

DONE = Result.DONE


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def run(shop: Shop, database: Database) -> Runner:
    return Runner(shop, database.connections)


# ── one command ──────────────────────────────────────────────────────────────


async def test_a_step_is_done_once_and_told_as_often_as_asked(
    run: Runner, shop: Shop, database: Database
) -> None:
    gid = new_gid()

    first = await run(execute(gid, kept(gid)))
    again = await run(execute(gid, {"other": "data"}, attempt=2))

    assert first == again == [Reply(DONE, kept(gid))]
    assert shop.calls == [("write", gid)]
    assert await database.items() == {f"{gid}/s": 1}


@pytest.mark.parametrize("how", ["refuse", "return"])
async def test_a_refusal_is_durable_and_leaves_no_effect(
    run: Runner, shop: Shop, database: Database, how: str
) -> None:
    """A repetition that comes late cannot do it after all."""
    gid = new_gid()

    assert await run(execute(gid, {how: "sold out"})) == [Reply(Result.REFUSED, None, "sold out")]
    shop.calls.clear()

    assert await run(execute(gid, kept(gid))) == [Reply(Result.REFUSED, None, "sold out")]
    assert shop.calls == []
    assert await database.items() == {}
    assert await rows(database) == {gid: "refused"}


@pytest.mark.parametrize(
    ("data", "result"),
    [
        ({"busy": "later"}, Result.BUSY),
        ({"fail": "later"}, Result.FAILED),
        ({"crash": "later"}, Result.FAILED),
    ],
)
async def test_busy_and_failed_leave_no_trace(
    run: Runner, database: Database, data: Any, result: Result
) -> None:
    gid = new_gid()

    (reply,) = await run(execute(gid, data))

    assert reply.result is result
    assert "later" in reply.reason
    assert await rows(database) == {}
    assert await database.items() == {}
    assert await run(execute(gid, kept(gid))) == [Reply(DONE, kept(gid))]


async def test_an_undo_gets_the_result_and_happens_once(
    run: Runner, shop: Shop, database: Database
) -> None:
    gid = new_gid()
    await run(execute(gid, kept(gid)))

    assert await run(compensate(gid)) == [Reply(DONE, undone=True)]
    assert await run(compensate(gid)) == [Reply(DONE, undone=True)]

    assert shop.calls == [("write", gid), ("erase", gid)]
    assert await database.items() == {}
    assert await rows(database) == {gid: "undone"}


async def test_an_undo_before_its_step_seals_it(
    run: Runner, shop: Shop, database: Database
) -> None:
    """The step that comes after it is refused, not answered as done."""
    gid = new_gid()

    assert await run(compensate(gid)) == [Reply(DONE, undone=False)]
    (late,) = await run(execute(gid, kept(gid)))

    assert late.result is Result.REFUSED
    assert late.reason
    assert shop.calls == []
    assert await rows(database) == {gid: "sealed"}
    assert await run(compensate(gid)) == [Reply(DONE, undone=False)]


async def test_a_step_after_its_undo_is_refused(run: Runner, shop: Shop) -> None:
    gid = new_gid()
    await run(execute(gid, kept(gid)))
    await run(compensate(gid))
    shop.calls.clear()

    (late,) = await run(execute(gid, kept(gid)))

    assert late.result is Result.REFUSED
    assert shop.calls == []


async def test_a_refused_step_has_nothing_to_undo(run: Runner, shop: Shop) -> None:
    gid = new_gid()
    await run(execute(gid, {"refuse": "no"}))
    shop.calls.clear()

    assert await run(compensate(gid)) == [Reply(DONE, undone=False)]
    assert shop.calls == []


async def test_an_undo_that_is_refused_leaves_the_effect_and_the_row(
    run: Runner, database: Database
) -> None:
    gid = new_gid()
    await run(execute(gid, kept(gid)))

    (reply,) = await run(compensate(gid, "refuse"))

    assert reply.result is Result.REFUSED
    assert await rows(database) == {gid: "done"}
    assert await run(compensate(gid)) == [Reply(DONE, undone=True)]


async def test_an_unknown_command_fails_and_leaves_no_trace(
    run: Runner, database: Database
) -> None:
    gid = new_gid()

    (reply,) = await run(execute(gid, command="fly"))

    assert reply == Reply(Result.FAILED, None, "shop has no execute 'fly'")
    assert await rows(database) == {}


async def test_an_undo_is_no_step_and_a_step_no_undo(run: Runner) -> None:
    gid = new_gid()

    (done,) = await run(execute(gid, command="erase"))
    await run(execute(gid, kept(gid)))
    (undone,) = await run(compensate(gid, command="write"))

    assert (done.result, undone.result) == (Result.FAILED, Result.FAILED)


async def test_what_is_not_json_fails(run: Runner, database: Database) -> None:
    gid = new_gid()

    (reply,) = await run(execute(gid, object()))

    assert reply.result is Result.FAILED
    assert "not JSON" in reply.reason
    assert await database.items() == {}


async def test_a_result_is_kept_as_it_was(run: Runner) -> None:
    """Also what jsonb would refuse or change."""
    gid = new_gid()
    odd = {"nul": "a\u0000b", "exact": 1.0, "order": {"z": 1, "a": 2}, "big": 2**70}

    assert (await run(execute(gid, odd)))[0].data == odd
    assert (await run(execute(gid, odd)))[0].data == odd


@pytest.mark.parametrize("sql", ENDING)
async def test_a_handler_that_ends_its_transaction_costs_the_others_nothing(
    run: Runner, database: Database, sql: str
) -> None:
    """Nothing is told as done whose row, or whose effect, is not there; nothing else is there."""
    first, last = new_gid(), new_gid()
    culprit = execute(new_gid(), sql, command="answer")
    replies = await run(execute(first, kept(first)), culprit, execute(last, kept(last)))
    assert [reply.result for reply in replies] == [DONE, Result.FAILED, DONE]
    assert replies[1].reason == ENDED
    assert await database.items() == {f"{first}/s": 1, f"{last}/s": 1}
    assert await rows(database) == {first: "done", last: "done"}


@pytest.mark.parametrize("sql", ENDING)
async def test_an_undo_that_ends_its_transaction_makes_no_other_happen_twice(
    run: Runner, shop: Shop, database: Database, sql: str
) -> None:
    """Its row is there already, and would not say that the transaction is another one."""

    async def end(db: Connection, _call: Call) -> None:
        with contextlib.suppress(asyncpg.PostgresError):
            await db.execute(sql)

    shop.participant.undo("end")(end)
    first, culprit, last = new_gid(), new_gid(), new_gid()
    await run(*(execute(gid, kept(gid)) for gid in (first, culprit, last)))
    replies = await run(compensate(first), compensate(culprit, command="end"), compensate(last))
    assert [reply.result for reply in replies] == [DONE, Result.FAILED, DONE]
    assert replies[1].reason == ENDED
    assert await database.items() == {f"{culprit}/s": 1}
    assert await rows(database) == {first: "undone", culprit: "done", last: "undone"}


async def test_a_handler_may_check_a_constraint_early_by_its_name(
    run: Runner, database: Database
) -> None:
    """With ALL it would try to end what is guarded, and is told so."""
    by_name, all_of_them = new_gid(), new_gid()
    await database.execute("ALTER TABLE owned RENAME CONSTRAINT owned_name_fkey TO owner_is_there")
    replies = await run(
        execute(by_name, "SET CONSTRAINTS owner_is_there IMMEDIATE", command="answer"),
        execute(all_of_them, "SET CONSTRAINTS ALL IMMEDIATE", command="answer"),
    )
    assert [reply.result for reply in replies] == [DONE, Result.FAILED]
    assert await rows(database) == {by_name: "done"}


@pytest.mark.parametrize("sql", ["SELECT 1/0", "SELECT 1/0 AS quietly"])
async def test_a_statement_whose_failure_is_hidden_is_not_done(
    run: Runner, database: Database, sql: str
) -> None:
    """COMMIT then answers ROLLBACK, and raises nothing."""
    gid = new_gid()

    (reply,) = await run(execute(gid, sql, command="answer"))

    assert reply.result is Result.FAILED
    assert "regardless" in reply.reason
    assert await rows(database) == {}


async def test_a_deferred_constraint_fails_at_the_commit(run: Runner, database: Database) -> None:
    gid, good = new_gid(), new_gid()
    bad = execute(gid, "INSERT INTO owned VALUES ('orphan')", command="answer")

    replies = await run(execute(good, kept(good)), bad)

    assert [reply.result for reply in replies] == [DONE, Result.FAILED]
    assert "23503" in replies[1].reason
    assert await rows(database) == {good: "done"}


async def test_a_handler_that_takes_too_long_fails(shop: Shop, database: Database) -> None:
    shop.participant.handler_seconds = 0.2
    run = Runner(shop, database.connections)
    gid = new_gid()

    (reply,) = await run(execute(gid, "SELECT pg_sleep(5)", command="answer"))

    assert reply == Reply(Result.FAILED, None, "it took longer than 0.2 s")
    assert await rows(database) == {}


# ── batches ──────────────────────────────────────────────────────────────────


async def test_a_batch_is_one_transaction(run: Runner, database: Database) -> None:
    gids = [new_gid() for _ in range(50)]

    replies = await run(*(execute(gid, kept(gid)) for gid in gids))

    assert replies == [Reply(DONE, kept(gid)) for gid in gids]
    made = await database.fetch("SELECT DISTINCT xmin::text FROM item")
    assert len(made) == 1


async def test_one_no_in_a_batch_costs_the_others_nothing(run: Runner, database: Database) -> None:
    """Its own effect is undone, theirs are there, and each has its own answer."""
    good, no, bad, busy, known = (new_gid() for _ in range(5))
    await run(execute(known, kept(known)))

    replies = await run(
        execute(good, kept(good)),
        execute(no, {"refuse": "no"}),
        execute(known, "other"),
        execute(bad, {"crash": "bad"}),
        execute(busy, {"busy": "busy"}),
    )

    assert [reply.result for reply in replies] == [
        DONE,
        Result.REFUSED,
        DONE,
        Result.FAILED,
        Result.BUSY,
    ]
    assert await database.items() == {f"{good}/s": 1, f"{known}/s": 1}
    assert await rows(database) == {good: "done", no: "refused", known: "done"}
    # All of them shared one commit, with the refusal in it.
    assert len(await database.fetch("SELECT DISTINCT xmin::text FROM twofold.barrier")) == 2


async def test_the_same_step_twice_in_a_batch_is_done_once(run: Runner, shop: Shop) -> None:
    gid = new_gid()

    replies = await run(execute(gid, kept(gid)), execute(gid, kept(gid), attempt=2))

    assert replies == [Reply(DONE, kept(gid))] * 2
    assert shop.calls == [("write", gid)]


async def test_a_step_and_its_undo_in_a_batch_happen_in_order(
    run: Runner, shop: Shop, database: Database
) -> None:
    there, back = new_gid(), new_gid()

    replies = await run(
        execute(there, kept(there)), compensate(there), compensate(back), execute(back)
    )

    assert [(r.result, r.undone) for r in replies] == [
        (DONE, False),
        (DONE, True),
        (DONE, False),
        (Result.REFUSED, False),
    ]
    assert shop.calls == [("write", there), ("erase", there)]
    assert await rows(database) == {there: "undone", back: "sealed"}


async def test_a_bulk_handler_gets_all_new_calls_at_once(
    run: Runner, shop: Shop, database: Database
) -> None:
    """Known ones are answered from the barrier; others of other transactions do not part them."""
    known, *gids = (new_gid() for _ in range(8))
    single = new_gid()
    await run(execute(known, kept(known), command="bulk"))
    shop.bulks.clear()

    replies = await run(
        *(execute(gid, kept(gid), command="bulk") for gid in gids[:3]),
        execute(known, command="bulk"),
        execute(single, kept(single)),
        *(execute(gid, kept(gid), command="bulk") for gid in gids[3:]),
    )

    assert shop.bulks == [7]
    assert all(reply.result is DONE for reply in replies)
    assert replies[3].data == kept(known)
    assert len(await database.items()) == 9


async def test_a_bulk_handler_may_refuse_some(run: Runner, shop: Shop, database: Database) -> None:
    yes, no = new_gid(), new_gid()

    replies = await run(execute(yes, kept(yes), command="bulk"), execute(no, "no", command="bulk"))

    assert [reply.result for reply in replies] == [DONE, Result.REFUSED]
    assert shop.bulks == [2]
    assert await rows(database) == {yes: "done", no: "refused"}


async def test_a_bulk_handler_that_fails_is_asked_for_each(run: Runner, database: Database) -> None:
    good, poison = new_gid(), new_gid()

    replies = await run(
        execute(good, kept(good), command="bulk"), execute(poison, "poison", command="bulk")
    )

    assert [reply.result for reply in replies] == [DONE, Result.FAILED]
    assert await rows(database) == {good: "done"}


async def test_a_bulk_step_and_its_undo_in_a_batch_happen_in_order(
    run: Runner, shop: Shop, database: Database
) -> None:
    gid = new_gid()

    replies = await run(
        execute(gid, kept(gid), command="bulk"),
        compensate(gid),
        execute(gid, kept(gid), command="bulk"),
    )

    assert [reply.result for reply in replies] == [DONE, DONE, Result.REFUSED]
    assert shop.calls == [("bulk", gid), ("erase", gid)]
    assert await rows(database) == {gid: "undone"}
