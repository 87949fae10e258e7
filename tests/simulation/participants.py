"""A participant's process: the kit at work over a simulated database and Kafka.

Service, branches, barrier, resolver, replies and watermark are the kit's own.
What is written again here is the session around them (participants/worker.py),
which is about sockets and clocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import asyncpg

from participants.app import Participant
from participants.calls import Busy, Call, Failed, ReadOnly, Refused
from participants.connections import DatabaseAway
from participants.postgres import Branches
from participants.replies import Replies
from participants.resolver import Patience, Resolver
from participants.service import Service, Source, Told
from participants.watermark import Place, Watermark
from tests.simulation.check import Check
from tests.simulation.connections import SimConnections
from tests.simulation.database import EFFECT, Database
from tests.simulation.faults import Fault, Faults
from tests.simulation.kafka import Broker, SimProducer, SimReader
from tests.simulation.process import Process
from tests.simulation.programme import Programme
from wire import gids
from wire.envelope import Envelope, Record, seal, unseal
from wire.kafka import KafkaUnavailable, Received
from wire.messages import Commit, Compensate, Execute, Inquired, Prepare, Reply, Rollback
from wire.topics import Topics

POLL_MS: Final = 1_000
LOOK_S: Final = 1.5
PATIENCE: Final = Patience(every_seconds=LOOK_S, after_seconds=1.0)
SLOW_S: Final = 0.6


def bank(name: str, programme: Programme, faults: Faults) -> Participant:
    """Return a participant that answers as the programme says, and keeps a ledger."""
    participant = Participant(name, connections=5, held=3)

    async def answer(db: Any, call: Call, *, undo: bool) -> Any:
        key, amount = call.data["key"], call.data["amount"]
        mood = programme.mood(key, call.name, undo=undo)
        if mood == "slow":
            await asyncio.sleep(SLOW_S)
        if faults.strikes(Fault.HANDLER_SLOW, name):
            await asyncio.sleep(faults.between(Fault.HANDLER_SLOW, 0.1, 4.0))
        if mood == "read-only":
            return ReadOnly({"seen": True})
        await db.execute(EFFECT, call.gid, call.name, undo, -amount if undo else amount)
        if faults.strikes(Fault.HANDLER_ENDS, name):
            await _end_what_is_not_ours(db, faults)
        match mood:
            case "busy":
                raise Busy("not now")
            case "failed":
                raise Failed("broken")
            case "refused":
                raise Refused("no")
            case _:
                return {"of": call.name}

    participant.branch("work")(functools.partial(answer, undo=False))
    participant.step("do")(functools.partial(answer, undo=False))
    participant.undo("undo")(functools.partial(answer, undo=True))
    return participant


async def _end_what_is_not_ours(db: Any, faults: Faults) -> None:
    """End the transaction, as a handler must not, and go on as if nothing were."""
    how = int(faults.between(Fault.HANDLER_ENDS, 0, 3))
    with contextlib.suppress(asyncpg.InvalidTransactionTerminationError):
        if how == 0 and db.at_work:  # what another one has begun, nobody refuses to commit
            await db.execute("COMMIT")
        elif how:
            await db.execute("ROLLBACK")
    if how == 1:
        await db.execute("BEGIN")


class Worker:
    """One life of a participant's process."""

    def __init__(
        self,
        process: Process,
        *,
        database: Database,
        broker: Broker,
        faults: Faults,
        check: Check,
        programme: Programme,
        chance: random.Random,
        now_us: Callable[[], int],
    ) -> None:
        self._process, self._database, self._broker = process, database, broker
        self._faults, self._check, self._chance, self._now_us = faults, check, chance, now_us
        self._bank = bank(database.name, programme, faults)
        self._connections = SimConnections(database, process, faults, limit=5)
        self._branches = Branches(self._connections)
        self._topic = Topics.commands(database.name)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watermark = Watermark()
        self._replies: Replies | None = None
        process.on_death.append(self._hang_up)

    def _hang_up(self) -> None:
        for connection in tuple(self._database.connections):
            connection.lose_if_of(self._process)

    async def live(self) -> None:
        """Serve, session after session."""
        while True:
            try:
                await self._session()
            except* KafkaUnavailable:
                await asyncio.sleep(0.2)

    async def _session(self) -> None:
        process, broker, faults = self._process, self._broker, self._faults
        reader = SimReader(process, broker, faults, self._chance, _always)
        producer = SimProducer(process, broker, faults, self._check.said, _always)
        self._watermark, self._replies = Watermark(), Replies(producer)
        places = [(self._topic, n) for n in range(broker.shards)]
        self._watermark.hold(places)
        try:
            await self._survey()
            async with asyncio.TaskGroup() as group:
                service = self._start(group, self._replies)
                reader.assign({place: broker.committed[place] for place in places})
                await self._read(reader, service)
        finally:
            reader.forget()

    async def _survey(self) -> None:
        try:
            await self._branches.survey()
        except DatabaseAway:
            return

    def _start(self, group: asyncio.TaskGroup, replies: Replies) -> Service:
        def spawn(work: Coroutine[Any, Any, None]) -> None:
            task = group.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        name = self._database.name
        resolver = Resolver(
            name, self._branches, cluster="sim", patience=PATIENCE, ask=self._inquire
        )
        spawn(replies.run())
        spawn(self._resolve(resolver))
        return Service(
            self._bank,
            self._connections,
            self._branches,
            held_limit=3,
            spawn=spawn,
            tell=self._tell,
        )

    async def _resolve(self, resolver: Resolver) -> None:
        while True:
            await asyncio.sleep(LOOK_S * self._chance.uniform(0.8, 1.2))
            try:
                await resolver.look()
            except DatabaseAway:
                continue

    async def _read(self, reader: SimReader, service: Service) -> None:
        while True:
            for record in await reader.poll(wait_ms=POLL_MS, limit=8):
                self._receive(record, service)
            service.pump()
            advances = self._watermark.advances()
            if advances:
                await self._process.step()
                self._commit(advances)
                self._watermark.told(advances)

    def _commit(self, advances: Mapping[Place, int]) -> None:
        """Note what is finished. A group takes nothing back from a member that was left behind."""
        committed = self._broker.committed
        for place, offset in advances.items():
            committed[place] = max(committed[place], offset)

    def _receive(self, record: Received, service: Service) -> None:
        place = (record.topic, record.partition)
        self._watermark.begin(place, record.offset)
        envelope = unseal(record.headers, record.value)
        source = Source(place, record.offset, envelope.traceparent, generation=envelope.generation)
        match envelope.message:
            case Execute() | Compensate() as command:
                service.take_step(command, source)
            case Prepare() | Commit() | Rollback() as command:
                expiry_us = envelope.deadline_us
                late = expiry_us is not None and expiry_us < self._now_us()
                service.take_branch(command, source, late=late)
            case other:
                raise AssertionError(f"{other!r} is no command")

    def _tell(self, told: Told) -> None:
        def finish() -> None:
            for place, offset in told.sources:
                self._watermark.finish(place, offset)

        if told.reply is None:
            finish()
        else:
            self._say(told.reply, told.traceparent, finish)

    def _inquire(self, inquired: Inquired) -> None:
        self._say(inquired, None, _nothing)

    def _say(self, reply: Reply, traceparent: str | None, then: Callable[[], None]) -> None:
        gid = gids.parse(reply.gid)
        assert gid is not None
        assert self._replies is not None
        self._replies.say(self._sealed(reply, traceparent, gid.shard), then)

    def _sealed(self, reply: Reply, traceparent: str | None, shard: int) -> Record:
        return seal(
            Envelope(reply, traceparent),
            topic=self._broker.topics.replies,
            source=f"/twofold/participant/{self._database.name}",
            key=reply.gid,
            partition=shard,
        )


def _always() -> bool:
    return True


def _nothing() -> None:
    return
