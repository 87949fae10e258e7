"""A worker between real Kafka and real Postgres."""

from __future__ import annotations

import asyncio
import time

import pytest

from compose.local.stack import Kafka
from participants import Call, Participant
from participants.connections import Connection
from participants.resolver import Patience
from participants.service import BATCH_LIMIT, CROWD, Service, Source
from participants.settings import Settings
from participants.worker import NotReady, Worker
from tests.integration.participants.asker import SHARDS, Asker
from tests.integration.participants.conftest import Database, new_gid
from tests.integration.participants.serving import Serve, eventually, execute, prepare
from wire.envelope import Record
from wire.messages import (
    Commit,
    Compensate,
    Compensated,
    End,
    Execute,
    Executed,
    Inquired,
    Prepare,
    Result,
    Rollback,
    Settled,
    Vote,
    Voted,
)
from wire.topics import Topics

# ── what is asked is answered ────────────────────────────────────────────────


async def test_a_step_and_its_undo(
    serve: Serve, asker: Asker, shop: Participant, database: Database
) -> None:
    gid = new_gid()
    async with serve():
        await asker.ask(shop.name, execute(gid, {"n": 1}))
        assert await asker.hear(1) == [
            Executed(gid=gid, step="s", attempt=1, result=Result.DONE, data={"n": 1})
        ]
        assert await database.items() == {f"{gid}/s": 1}

        undo = Compensate(gid=gid, step="s", attempt=2, command="erase", data=None)
        await asker.ask(shop.name, undo)
        assert await asker.hear(1) == [
            Compensated(gid=gid, step="s", attempt=2, result=Result.DONE, undone=True)
        ]
    assert await database.items() == {}


async def test_a_branch_is_prepared_and_committed(
    serve: Serve, asker: Asker, shop: Participant, database: Database
) -> None:
    gid = new_gid()
    async with serve():
        await asker.ask(shop.name, prepare(gid, 7))
        assert await asker.hear(1) == [Voted(gid=gid, branch="b", vote=Vote.COMMIT, data=7)]
        assert await database.items() == {}

        await asker.ask(shop.name, Commit(gid=gid, branch="b"))
        assert await asker.hear(1) == [Settled(gid=gid, branch="b", end=End.COMMITTED)]
    assert await database.items() == {f"{gid}/b": 1}


async def test_every_kind_of_vote(serve: Serve, asker: Asker, shop: Participant) -> None:
    refused, read, alone, late, unknown = (new_gid() for _ in range(5))
    async with serve():
        await asker.ask(
            shop.name,
            prepare(refused, "no"),
            prepare(read, 1, command="read"),
            Prepare(gid=alone, branch="b", command="write", data=2, one_phase=True),
            prepare(unknown, command="fly"),
        )
        await asker.ask(shop.name, prepare(late), deadline_us=1_000_000)
        votes = {v.gid: v for v in await asker.hear(5) if isinstance(v, Voted)}

    assert votes[refused].vote is Vote.ABORT
    assert votes[refused].reason == "no"
    assert (votes[read].vote, votes[read].data) == (Vote.READ_ONLY, 1)
    assert (votes[alone].vote, votes[alone].data) == (Vote.COMMITTED, 2)
    assert votes[late].vote is Vote.ABORT
    assert "too late" in votes[late].reason
    assert votes[unknown].vote is Vote.ABORT
    assert "no branch 'fly'" in votes[unknown].reason


async def test_a_reply_goes_to_the_shard_that_is_in_the_name(
    serve: Serve, asker: Asker, shop: Participant
) -> None:
    """And carries on the trace that its command came with."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    async with serve():
        for shard in range(SHARDS):
            gid = new_gid().replace(".1.0.", f".1.{shard}.")
            await asker.ask(shop.name, execute(gid), traceparent=trace)
            (record,) = await asker.hear_records(1)
            headers = dict(record.headers)
            assert record.partition == shard
            assert record.key == gid.encode()
            assert headers["traceparent"] == trace.encode()
            assert headers["ce_source"] == f"/twofold/participant/{shop.name}".encode()


async def test_what_cannot_be_read_is_buried_and_the_rest_goes_on(
    serve: Serve, asker: Asker, shop: Participant
) -> None:
    topic = Topics.commands(shop.name)
    gid = new_gid()
    strange = [
        Record(topic, b"k", b"{", [("ce_type", b"twofold.execute.v1")], 0),
        Record(topic, b"k", b"{}", [("ce_type", b"twofold.unheard-of.v1")], 0),
        Record(topic, b"k", None, [], 0),
    ]
    async with serve():
        for record in strange:
            await asker.send(record)
        await asker.ask(shop.name, Voted(gid=gid, branch="b", vote=Vote.COMMIT))  # pyright: ignore[reportArgumentType]
        await asker.ask(shop.name, execute("tf2.not.ours"), execute(gid.replace(".1.0.", ".1.77.")))
        await asker.ask(shop.name, prepare(gid, branch="b'; DROP TABLE item; --"))
        await asker.ask(shop.name, execute(gid))

        graves = await asker.graves(7)
        (reply,) = await asker.hear(1)

    assert isinstance(reply, Executed)
    for grave in graves:
        headers = dict(grave.headers)
        assert headers["twofold-origin"].startswith(topic.encode())
        assert headers["twofold-reason"]
    origins = {dict(grave.headers)["twofold-origin"] for grave in graves}
    assert origins >= {f"{topic}/0/{offset}".encode() for offset in range(3)}


# ── who comes first, and how many ────────────────────────────────────────────


async def test_decisions_overtake_prepares_that_wait(
    serve: Serve, asker: Asker, shop: Participant, database: Database
) -> None:
    """With all places taken by prepared branches, only a decision makes room."""
    gids = [new_gid() for _ in range(40)]
    async with serve():
        await asker.ask(shop.name, *(prepare(gid) for gid in gids))
        voted = [reply.gid for reply in await asker.hear(shop.held)]
        await asyncio.sleep(0.3)
        assert len(await database.prepared()) == shop.held

        settled = 0
        while settled < len(gids):
            if voted:
                await asker.ask(shop.name, *(Commit(gid=gid, branch="b") for gid in voted))
            replies = await asker.hear(1)
            voted = [reply.gid for reply in replies if isinstance(reply, Voted)]
            settled += sum(isinstance(reply, Settled) for reply in replies)
            assert len(await database.prepared()) <= shop.held
    assert len(await database.items()) == len(gids)


async def test_a_repetition_is_answered_though_no_place_is_free(
    serve: Serve, asker: Asker, shop: Participant
) -> None:
    gids = [new_gid() for _ in range(shop.held)]
    async with serve():
        await asker.ask(shop.name, *(prepare(gid, 5) for gid in gids))
        first = await asker.hear(shop.held)
        await asker.ask(shop.name, prepare(gids[0]))
        again = await asker.hear(1)

        assert again[0] in first
        await asker.ask(shop.name, *(Rollback(gid=gid, branch="b") for gid in gids))
        await asker.hear(shop.held)


async def test_a_worker_refuses_to_start_without_its_tables(
    asker: Asker, shop: Participant, database: Database
) -> None:
    await database.execute("DROP TABLE twofold.barrier")
    settings = Settings(bootstrap=asker.bootstrap, prefix=asker.prefix)

    with pytest.raises(NotReady, match="twofold participants migrate"):
        await Worker([shop], settings).run(asyncio.Event())

    await Worker([shop], settings).migrate()
    assert await database.fetch("SELECT * FROM twofold.barrier") == []


async def test_a_participant_that_stands_still_holds_up_nobody_else(
    kafka: Kafka, shop: Participant, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share a process and a reader; the one's commands are left in Kafka meanwhile."""
    stuck = Participant(f"stuck-{time.time_ns()}", dsn=database.dsn, handler_seconds=60)
    go_on = asyncio.Event()

    @stuck.step("wait")
    async def wait(_db: Connection, _call: Call) -> None:  # pyright: ignore[reportUnusedFunction]
        await go_on.wait()

    read: list[str] = []
    take_step = Service.take_step

    def count(service: Service, message: Execute, source: Source) -> None:
        read.append(service.participant.name)
        take_step(service, message, source)

    monkeypatch.setattr(Service, "take_step", count)
    asker = Asker(kafka.bootstrap, [shop.name, stuck.name])
    await asker.start()
    stop = asyncio.Event()
    settings = Settings(bootstrap=asker.bootstrap, prefix=asker.prefix)
    running = asyncio.create_task(Worker([shop, stuck], settings).run(stop))
    many = [new_gid() for _ in range(2 * CROWD)]
    try:
        await asker.ask(stuck.name, *(execute(gid, command="wait") for gid in many))
        await asyncio.sleep(1)
        await asker.ask(shop.name, *(execute(gid) for gid in many[:5]))
        told = await asker.hear(5)
        assert read.count(stuck.name) < CROWD + 3 * BATCH_LIMIT
        go_on.set()
        rest = await asker.hear(len(many))
    finally:
        go_on.set()
        stop.set()
        await running
        await asker.stop()

    assert {reply.gid for reply in told} == set(many[:5])
    assert {reply.gid for reply in rest} == set(many)


# ── in doubt ─────────────────────────────────────────────────────────────────


async def test_a_branch_in_doubt_is_asked_about(
    serve: Serve, asker: Asker, shop: Participant, database: Database
) -> None:
    """Strangers, and branches of other clusters, are never asked about, nor touched."""
    gid = new_gid()
    foreign = new_gid().replace("tf1.test.", "tf1.other.")
    async with database.connections.one() as connection:
        for name in (f"{gid}.b", f"{foreign}.b", "somebody_else"):
            await connection.execute(
                f"BEGIN; INSERT INTO item VALUES ('{name}', 1); PREPARE TRANSACTION '{name}'"
            )
    async with serve(patience=Patience(every_seconds=0.2, after_seconds=0.5)):
        heard = await asker.hear(3)
        assert set(map(type, heard)) == {Inquired}
        assert {reply.gid for reply in heard} == {gid}
        assert heard[0] == Inquired(gid=gid, branch="b", participant=shop.name)

        await asker.ask(shop.name, Rollback(gid=gid, branch="b"))
        await eventually(lambda: _is(database, {f"{foreign}.b", "somebody_else"}))
    assert await database.items() == {}


async def _is(database: Database, names: set[str]) -> bool:
    return await database.prepared() == names


async def test_a_young_branch_is_left_in_peace(
    serve: Serve, asker: Asker, shop: Participant
) -> None:
    gid = new_gid()
    async with serve(patience=Patience(every_seconds=0.1, after_seconds=30)):
        await asker.ask(shop.name, prepare(gid))
        await asker.hear(1)
        assert await asker.silence(seconds=1) == []
        await asker.ask(shop.name, Rollback(gid=gid, branch="b"))
        await asker.hear(1)
