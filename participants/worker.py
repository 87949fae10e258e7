"""A process that serves participants: commands in, replies out.

All participants of a process share one reader and one producer. A command's
offset is finished when its reply is acknowledged by Kafka, and committed when
everything before it is finished; so a command that was under way when the
process died is read again, and the databases know what became of it.

A session ends with any trouble with Kafka, and a new one begins where the
offsets say. Trouble with a database is its own participant's business.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import asyncpg
import structlog

from participants import schema, telemetry
from participants.app import Participant
from participants.connections import (
    Connection,
    Connections,
    DatabaseAway,
    DatabaseRefuses,
    describe,
    with_database,
)
from participants.heart import BEAT_S, STALLED_BEATS, Heart
from participants.postgres import Branches
from participants.replies import Replies
from participants.resolver import Resolver
from participants.service import Service, Source, Told
from participants.settings import Settings
from participants.watermark import Watermark
from wire import failpoints, gids
from wire.envelope import Envelope, Record, Unreadable, bury, seal, subject, unseal
from wire.kafka import (
    GroupReader,
    KafkaUnavailable,
    Place,
    Producer,
    Received,
    partition_counts,
)
from wire.messages import (
    Command,
    Commit,
    Compensate,
    Execute,
    Inquired,
    Prepare,
    Reply,
    Rollback,
    Vote,
    Voted,
)
from wire.probes import CannotListen, probes
from wire.topics import Topics

T = TypeVar("T")
logger = structlog.get_logger(__name__)

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0
POLL_MS: Final = 100
POLL_LIMIT: Final = 128
COMMIT_EVERY_SECONDS: Final = 0.5
READS_S: Final = 5.0
"""How long a worker that has not read anything, not even nothing, counts as ready."""
FINISH_SECONDS: Final = 5.0
"""How long a worker that is told to stop waits for what is under way."""


class NotReady(Exception):
    """A participant's database lacks something that it needs; says what to do."""


class Bound:
    """A participant and its database, for as long as the process lives."""

    def __init__(self, participant: Participant, postgres: str) -> None:
        dsn = participant.dsn or with_database(postgres, participant.database)
        self.participant = participant
        self.connections = Connections(
            dsn,
            name=participant.name,
            limit=participant.connections,
            limits=participant.limits,
            role=participant.role,
        )
        self.branches = Branches(self.connections)
        self.held_limit = participant.held
        self.slots = 0

    async def check(self) -> None:
        """See that the database is ready, and learn what it holds prepared."""
        name = self.participant.name
        if not await self._on_a_connection(schema.is_present):
            raise NotReady(
                f"{name}: its database lacks tables of Twofold, or what guards them;"
                " run `twofold participants migrate`"
            )
        if not self.participant.branches:
            return
        self.slots = await self.branches.slots()
        if self.slots == 0:
            raise NotReady(
                f"{name} has branches, but prepared transactions are off in its database:"
                " set max_prepared_transactions, e.g. to 256, and restart Postgres"
            )
        # Others have slots of this server as well.
        self.held_limit = max(1, min(self.participant.held, self.slots * 3 // 4))
        await self.branches.survey()

    async def migrate(self) -> None:
        """Create what is missing in the database."""
        await self._on_a_connection(
            lambda connection: schema.migrate(connection, self.participant.setup_sql)
        )

    async def migrate_if_new(self) -> None:
        """Create everything in a database that has nothing yet.

        Later changes are made by `twofold participants migrate` alone: a
        branch in doubt may hold locks that they would wait for, and it is
        this worker that must end it.
        """
        if await self._on_a_connection(schema.is_new):
            await self.migrate()

    async def _on_a_connection(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            async with self.connections.one() as connection:
                return await work(connection)
        except DatabaseRefuses as refusal:
            raise NotReady(str(refusal)) from refusal
        except asyncpg.PostgresError as error:  # a mistake in the set-up
            raise NotReady(f"{self.participant.name}: {describe(error)}") from error


class Worker:
    """Serves participants until it is told to stop."""

    def __init__(
        self, participants: Sequence[Participant], settings: Settings, *, migrate: bool = False
    ) -> None:
        names = [participant.name for participant in participants]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"a worker needs participants with different names, not {names}")
        self._settings, self._migrate = settings, migrate
        self._bound = [Bound(p, settings.postgres) for p in participants]
        self._group = settings.group or f"{settings.prefix}.{'+'.join(sorted(names))}"
        self._heart = Heart(self._group)
        self._session: _Session | None = None

    async def migrate(self) -> None:
        """Create what is missing in all databases."""
        try:
            for bound in self._bound:
                await bound.migrate()
        finally:
            await self._close()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve.

        Raises:
            NotReady: a database lacks something.

        """
        try:
            async with probes(self._settings.probes, lambda: list(self._unready(stop))):
                await self._serve(stop)
        except CannotListen as error:
            raise NotReady(str(error)) from error
        finally:
            await self._close()

    async def _serve(self, stop: asyncio.Event) -> None:
        for bound in self._bound:
            if self._migrate:
                await _until_there(bound.migrate_if_new, stop)
            await _until_there(bound.check, stop)
        while not stop.is_set():
            self._session = _Session(self._bound, self._settings, self._heart)
            try:
                await self._session.run(stop)
            except* KafkaUnavailable as gone:
                logger.warning("kafka_away", reason=str(gone.exceptions[0]))
                await _pause(stop, 1.0)

    def _unready(self, stop: asyncio.Event) -> Iterator[str]:
        """Say what keeps this process from working."""
        if stop.is_set():
            yield "it is stopping"
        elif self._session is None or not self._session.reads:
            yield "it does not read commands: see its log"
        for bound in self._bound:
            if bound.connections.trouble:
                yield bound.connections.trouble

    async def _close(self) -> None:
        for bound in self._bound:
            await bound.connections.close()


class _Session:
    """One connection to Kafka, with everything that was read through it."""

    def __init__(self, bound: Sequence[Bound], settings: Settings, heart: Heart) -> None:
        self._bound, self._settings, self._heart = bound, settings, heart
        self._topics = Topics(settings.prefix)
        self._watermark = Watermark()
        self._producer = Producer(settings.bootstrap)
        self._replies = Replies(self._producer)
        self._reader = GroupReader(
            settings.bootstrap,
            [Topics.commands(b.participant.name) for b in bound],
            group=heart.group,
            on_assigned=self._watermark.hold,
            on_revoked=self._watermark.forget,
        )
        self._services: dict[str, Service] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._shards = 0
        self._committed_at = 0.0
        self._voted = False
        self._still_beats = 0
        self._read_at: float | None = None
        self._leaving = False
        self._beats_are_heard = False

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop.

        Raises:
            KafkaUnavailable: what was not finished will be read again. It
                comes in an exception group.

        """
        try:
            await self._check_topics()
            await self._producer.start()
            await self._reader.start()
            async with asyncio.TaskGroup() as group:
                self._start(group)
                await self._read(stop)
                await self._finish()
                for task in self._tasks:
                    task.cancel()
        finally:
            await _close(self._reader.stop)
            await _close(self._producer.stop)

    @property
    def reads(self) -> bool:
        """Whether it has asked Kafka for commands, and was answered, just now."""
        return self._read_at is not None and time.monotonic() - self._read_at < READS_S

    async def _check_topics(self) -> None:
        commands = [Topics.commands(b.participant.name) for b in self._bound]
        wanted = [*commands, self._topics.replies, self._topics.dead_letters]
        signs = self._topics.heartbeats
        counts = await partition_counts(self._settings.bootstrap, [*wanted, signs])
        missing = [topic for topic in wanted if not counts.get(topic)]
        if missing:
            raise KafkaUnavailable(
                f"no topic {', '.join(missing)} yet; `twofold topics` makes them"
            )
        self._shards = counts[self._topics.replies]
        # Without it we work as well, and cannot be seen.
        self._beats_are_heard = bool(counts.get(signs))
        if not self._beats_are_heard:
            logger.warning("no_heartbeats", topic=signs, hint="`twofold topics` makes it")

    def _start(self, group: asyncio.TaskGroup) -> None:
        def spawn(work: Coroutine[Any, Any, None]) -> None:
            task = group.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        spawn(self._replies.run())
        for bound in self._bound:
            name = bound.participant.name
            self._services[Topics.commands(name)] = Service(
                bound.participant,
                bound.connections,
                bound.branches,
                held_limit=bound.held_limit,
                slots=bound.slots,
                spawn=spawn,
                tell=functools.partial(self._tell, name),
            )
            if bound.participant.branches:
                resolver = Resolver(
                    name,
                    bound.branches,
                    cluster=self._settings.cluster,
                    patience=self._settings.patience,
                    ask=functools.partial(self._inquire, name),
                )
                spawn(resolver.run())
        spawn(self._live())
        logger.info("participants_ready", group=self._heart.group, topics=sorted(self._services))

    # ── in ───────────────────────────────────────────────────────────────────

    async def _read(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._reader.leave_topics({topic for topic, s in self._services.items() if s.crowded})
            for record in await self._reader.poll(wait_ms=POLL_MS, limit=POLL_LIMIT):
                self._receive(record)
            for service in self._services.values():
                service.pump()
            await self._commit_offsets()
            self._still_beats = 0
            self._read_at = time.monotonic()

    def _receive(self, record: Received) -> None:
        place = (record.topic, record.partition)
        self._watermark.begin(place, record.offset)
        try:
            envelope = unseal(record.headers, record.value)
            command = self._command(envelope)
        except Unreadable as error:
            self._bury(record, str(error))
            return
        processing = telemetry.begin(record, command, envelope.traceparent, group=self._heart.group)
        generation = envelope.generation
        source = Source(place, record.offset, envelope.traceparent, processing, generation)
        service = self._services[record.topic]
        match command:
            case Execute() | Compensate():
                service.take_step(command, source)
            case Prepare() | Commit() | Rollback():
                expiry_us = envelope.deadline_us
                late = expiry_us is not None and expiry_us < time.time_ns() // 1000
                service.take_branch(command, source, late=late)

    def _command(self, envelope: Envelope) -> Command:
        """Return the command that is in an envelope.

        Raises:
            Unreadable: it is none, or could not be answered.

        """
        message = envelope.message
        if not isinstance(message, Prepare | Commit | Rollback | Execute | Compensate):
            raise Unreadable(f"{type(message).__name__} is not a command")
        gid = gids.parse(message.gid)
        if gid is None or gid.shard >= self._shards:
            raise Unreadable(f"{message.gid[:100]!r} is not a transaction of this cluster")
        if not isinstance(message, Execute | Compensate):
            try:
                gids.prepared_name(message.gid, message.branch)
            except ValueError as error:
                raise Unreadable(str(error)) from error
        return message

    def _bury(self, record: Received, reason: str) -> None:
        place = (record.topic, record.partition)
        origin = f"{record.topic}/{record.partition}/{record.offset}"
        logger.error("dead_letter", origin=origin, reason=reason)
        grave = bury(
            grave=self._topics.dead_letters,
            origin=origin,
            reason=reason,
            key=record.key,
            value=record.value,
            headers=record.headers,
        )
        self._replies.say(grave, lambda: self._watermark.finish(place, record.offset))

    # ── out ──────────────────────────────────────────────────────────────────

    def _tell(self, participant: str, told: Told) -> None:
        if told.problem:
            logger.error("command_set_aside", participant=participant, problem=told.problem)
        if told.reply is None:
            self._forget(told.sources)
            return
        self._voted |= isinstance(told.reply, Voted) and told.reply.vote is Vote.COMMIT
        record = self._sealed(participant, told.reply, told.traceparent)
        self._replies.say(record, lambda: self._forget(told.sources))

    def _inquire(self, participant: str, inquired: Inquired) -> None:
        gid = gids.parse(inquired.gid)
        if gid is not None and gid.shard < self._shards:
            self._replies.say(self._sealed(participant, inquired, None), _nothing)

    def _sealed(self, participant: str, reply: Reply, traceparent: str | None) -> Record:
        gid = gids.parse(reply.gid)
        assert gid is not None, "commands with other names are buried"
        return seal(
            Envelope(reply, traceparent),
            topic=self._topics.replies,
            source=f"/twofold/participant/{participant}",
            key=reply.gid,
            partition=gid.shard,
        )

    async def _live(self) -> None:
        """Beat, as long as the reader turns.

        Raises:
            KafkaUnavailable: it has not turned for long.

        """
        while self._still_beats < STALLED_BEATS:
            self._beat()
            self._still_beats += 1
            await asyncio.sleep(BEAT_S)
        raise KafkaUnavailable(f"the reader has stood still for {STALLED_BEATS * BEAT_S:g} s")

    def _beat(self) -> None:
        if not self._beats_are_heard:
            return
        for service in self._services.values():
            name = service.participant.name
            beat = self._heart.beat(name, service.load, leaving=self._leaving)
            record = seal(
                Envelope(beat),
                topic=self._topics.heartbeats,
                source=f"/twofold/participant/{name}",
                key=subject(beat),
            )
            self._replies.say(record, _nothing)

    def _forget(self, sources: Iterable[tuple[Place, int]]) -> None:
        for place, offset in sources:
            self._watermark.finish(place, offset)

    async def _commit_offsets(self, *, now: bool = False) -> None:
        if not now and time.monotonic() - self._committed_at < COMMIT_EVERY_SECONDS:
            return
        self._committed_at = time.monotonic()
        advances = self._watermark.advances()
        if not advances:
            return
        if self._voted:
            failpoints.hit("P5")
            self._voted = False
        await self._reader.commit(advances)
        self._watermark.told(advances)

    async def _finish(self) -> None:
        """Let what is under way come to its end; what waits is left for another time."""
        for service in self._services.values():
            service.close()
        self._leaving = True
        self._beat()
        give_up_at = time.monotonic() + FINISH_SECONDS
        while time.monotonic() < give_up_at and (  # noqa: ASYNC110  # many small ends, one wait
            self._replies.unacknowledged or any(s.at_work for s in self._services.values())
        ):
            await asyncio.sleep(0.02)
        await self._commit_offsets(now=True)


def _nothing() -> None:
    """Nobody waits for the acknowledgement of an inquiry or a beat: it is repeated."""


async def _close(stop: Callable[[], Awaitable[None]]) -> None:
    """Close a client, in bounded time: its server may be gone."""
    try:
        async with asyncio.timeout(2):
            await stop()
    except (KafkaUnavailable, TimeoutError) as error:
        logger.warning("kafka_not_closed", reason=repr(error))


async def _until_there(check: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Wait for a database that is not there yet."""
    pause_s = FIRST_PAUSE_S
    while not stop.is_set():
        try:
            return await check()
        except DatabaseAway as away:
            logger.warning("database_away", reason=str(away))
        await _pause(stop, pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    return None


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
