"""Too few slots for prepared transactions: what is asked waits, and all of it ends well."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

import pytest

from compose.local.postgres import LocalPostgres
from participants import Call, Participant, service
from participants.branch import Asked
from participants.connections import Connection, Connections
from participants.postgres import Branches, NoSlot
from participants.schema import migrate
from participants.service import Service, Source, Told
from tests.integration.participants.conftest import new_gid
from wire.messages import Commit, Prepare, Settled, Vote, Voted

SLOTS: Final = 4
BANKS: Final = ("left", "right")
SETUP: Final = "CREATE TABLE IF NOT EXISTS item (name text PRIMARY KEY)"


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    """A server with two databases that share very few slots."""
    settings = {"max_prepared_transactions": str(SLOTS)}
    folder = tmp_path_factory.mktemp("tight")
    with LocalPostgres.start(folder, databases=BANKS, settings=settings) as server:
        yield server


async def write(db: Connection, call: Call) -> None:
    await db.execute("INSERT INTO item VALUES ($1)", call.gid)


async def connected(server: LocalPostgres, name: str) -> Connections:
    connections = Connections(server.dsn(name), name=name, limit=8)
    async with connections.one() as connection:
        await migrate(connection, SETUP)
    return connections


async def test_without_a_slot_nothing_is_done_and_it_can_be_asked_again(
    tight: LocalPostgres,
) -> None:
    connections = await connected(tight, "left")
    branches = Branches(connections)
    *first, last = (new_gid() for _ in range(SLOTS + 1))

    async def vote(gid: str) -> Vote | None:
        call = Call(gid, "b", "write", None)
        answer = await branches.prepare(call, write, alone=False, late=False)
        return answer.answer if answer and isinstance(answer.answer, Vote) else None

    assert {await vote(gid) for gid in first} == {Vote.COMMIT}
    with pytest.raises(NoSlot, match="prepared transactions"):
        await vote(last)
    await branches.settle(first[0], "b", Asked.COMMIT)
    assert await vote(last) is Vote.COMMIT
    for gid in (*first[1:], last):
        await branches.settle(gid, "b", Asked.ROLLBACK)
    await connections.close()


class Pair:
    """Two participants on one server, and who asks them both: a coordinator without a log."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.services: dict[str, Service] = {}
        self.votes: dict[str, set[str]] = defaultdict(set)
        self.busy: Counter[str] = Counter()
        self.ended: dict[str, set[str]] = defaultdict(set)
        self._group = group

    def add(self, name: str, connections: Connections) -> None:
        bank = Participant(name)
        bank.branch("write")(write)
        self.services[name] = Service(
            bank,
            connections,
            Branches(connections),
            held_limit=SLOTS * 3 // 4,
            spawn=self._group.create_task,
            tell=functools.partial(self._hear, name),
        )

    def ask(self, name: str, message: Prepare | Commit) -> None:
        source = Source((f"{name}.commands", 0), 0)
        self.services[name].take_branch(message, source, late=False)

    def _hear(self, name: str, told: Told) -> None:
        match told.reply:
            case Voted(gid=gid, vote=Vote.COMMIT):
                self.votes[gid].add(name)
                if len(self.votes[gid]) == len(BANKS):
                    for each in BANKS:
                        self.ask(each, Commit(gid=gid, branch=each))
            case Voted(gid=gid, vote=Vote.BUSY):
                self.busy[gid] += 1
                prepare = Prepare(gid=gid, branch=name, command="write", data=None)
                asyncio.get_running_loop().call_later(0.1, self.ask, name, prepare)
            case Settled(gid=gid):
                self.ended[gid].add(name)
            case other:
                raise AssertionError(other)


@pytest.mark.timeout(120)
async def test_two_that_share_too_few_slots_do_not_hold_them_against_each_other(
    tight: LocalPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody here gives up, so if each held what the other needs, it would be for ever.

    They are asked for in the order of their age. An older one that comes late can
    still close a circle, which the vote timeout ends.
    """
    monkeypatch.setattr(service, "SLOT_TRIES", 1_000_000)
    gids = sorted(new_gid() for _ in range(80))
    opened = [await connected(tight, name) for name in BANKS]
    async with asyncio.TaskGroup() as group:
        pair = Pair(group)
        for name, connections in zip(BANKS, opened, strict=True):
            pair.add(name, connections)
        for gid in gids:
            for name in BANKS:
                pair.ask(name, Prepare(gid=gid, branch=name, command="write", data=None))
        while sum(len(names) for names in pair.ended.values()) < len(BANKS) * len(gids):
            await asyncio.sleep(0.05)
        for one in pair.services.values():
            one.close()
    assert not pair.busy
    for connections in opened:
        await connections.close()


async def test_a_coordinator_is_told_after_a_while(
    tight: LocalPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it shows there what a transaction waits for."""
    monkeypatch.setattr(service, "SLOT_TRIES", 2)
    connections = await connected(tight, "left")
    branches = Branches(connections)
    held = [new_gid() for _ in range(SLOTS)]
    for gid in held:
        await branches.prepare(Call(gid, "b", "write", None), write, alone=False, late=False)
    heard: asyncio.Queue[Told] = asyncio.Queue()
    bank = Participant("left")
    bank.branch("write")(write)
    async with asyncio.TaskGroup() as group:
        alone = Service(
            bank,
            connections,
            Branches(connections),
            held_limit=SLOTS,
            spawn=group.create_task,
            tell=heard.put_nowait,
        )
        late = Prepare(gid=new_gid(), branch="left", command="write", data=None)
        alone.take_branch(late, Source(("left.commands", 0), 0), late=False)
        told = await heard.get()
        alone.close()
    assert isinstance(told.reply, Voted)
    assert told.reply.vote is Vote.BUSY
    assert "prepared transactions" in told.reply.reason
    for gid in held:
        await branches.settle(gid, "b", Asked.ROLLBACK)
    await connections.close()
