"""One coordinator process: for each store an engine and its shards, and triggers.

A tenure is the time from claiming shards to giving them back. When the log
or Kafka is lost, the tenure ends as it stands and another begins: there is
one way to recover, and a restart takes it too.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Final

import structlog

from coordinator.clock import LogClock
from coordinator.config import Config
from coordinator.core.records import Entry
from coordinator.definitions import Definitions, participants, publish
from coordinator.engine import Engine
from coordinator.letterbox import Letterbox
from coordinator.log.migrate import named
from coordinator.log.postgres import PostgresLog
from coordinator.log.store import ClusterFacts, LogUnavailable
from coordinator.marks import Marks
from coordinator.own_topics import usurped
from coordinator.presence import Presence, listen
from coordinator.purging import purge
from coordinator.readiness import Readiness
from coordinator.schedules import Schedules
from coordinator.setting import Setting
from coordinator.shards import EngineStalled, Ownership
from coordinator.telemetry.watcher import Watcher
from coordinator.topics import definition_topics, ensure
from coordinator.triggers import Triggers
from sagas.files import files_of
from sagas.loader import DefinitionInvalid, load_bytes
from sagas.model import AnyDefinition
from wire import gids
from wire.kafka import KafkaUnavailable, Producer, ShardReader, partition_counts
from wire.probes import CannotListen, probes
from wire.topics import Topics

logger = structlog.get_logger(__name__)

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
SCHEDULES: Final = "schedules"
TRIGGERS: Final = "triggers"
LETTERS: Final = "letters"
PRESENCE: Final = "presence"


class NotReady(Exception):
    """The surroundings do not fit: what is wrong, and what to run."""


def load_files(paths: Sequence[Path], topics: Topics) -> list[AnyDefinition]:
    """Read definitions, or raise sagas.loader.DefinitionInvalid."""
    files = {str(file): load_bytes(file.read_bytes(), str(file)) for file in files_of(paths)}
    together = files.values()
    problems = [p for file, one in files.items() for p in usurped(one, file, topics, together)]
    if problems:
        raise DefinitionInvalid(problems)
    return [*together]


def new_replica() -> str:
    """Name a process, so that no other ever had this name."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


async def serve(config: Config, stop: asyncio.Event, watcher: Watcher, replica: str) -> None:
    """Coordinate until told to stop.

    Each store has an engine of its own, and the triggers have none: what
    happens to one of them does not disturb the others.

    Raises:
        NotReady: something is missing that no waiting will bring. It may come
            in an exception group.

    """
    try:
        definitions = load_files(config.definitions, Topics(config.kafka.prefix))
    except (DefinitionInvalid, OSError) as error:
        raise NotReady(str(error)) from error
    process = _Process(config, stop, watcher, replica, definitions)
    watcher.history = process.history
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        _store(number): partial(_tenure, process, number)
        for number in range(len(config.log.stores))
    }
    parts |= {
        f"{SCHEDULES} of {_store(number)}": partial(_keep_time, process, number)
        for number in range(len(config.log.stores))
    }
    parts[TRIGGERS] = partial(_trigger, process, cycle(config.log.stores))
    parts[LETTERS] = partial(_letters, process)
    if config.starts.absent_participants != "ignore":
        parts[PRESENCE] = process.listen
    process.readiness.expect(parts)
    async with _probes(process), asyncio.TaskGroup() as group:
        for name, part in parts.items():
            group.create_task(_again_and_again(name, part, process))
        watching = group.create_task(watcher.run())
        await stop.wait()
        watching.cancel()
    logger.info("stopped", replica=replica)


@dataclass(slots=True)
class _Process:
    """What all tenures of this process share."""

    config: Config
    stop: asyncio.Event
    watcher: Watcher
    replica: str
    definitions: Sequence[AnyDefinition]
    readiness: Readiness = field(default_factory=Readiness)
    logs: dict[int, PostgresLog] = field(default_factory=dict[int, PostgresLog])
    presence: Presence = field(
        default_factory=lambda: Presence(lambda: time.monotonic_ns() // 1000)
    )
    """Of the participants, as this process hears it."""

    @property
    def topics(self) -> Topics:
        return Topics(self.config.kafka.prefix)

    def knowing(self, facts: ClusterFacts) -> Definitions:
        """Return definitions whose topics are there before they are used."""

        async def create_topics_of(definition: AnyDefinition) -> None:
            await ensure(self.config, definition_topics(self.config, [definition], facts.shards))

        return Definitions(create_topics_of)

    def if_starts(
        self, are: str, missing: Callable[[Iterable[str]], Sequence[str]]
    ) -> Callable[[AnyDefinition], Sequence[str]]:
        """Tell which participants a start lacks, if that is to make a difference to it."""
        if self.config.starts.absent_participants != are:
            return lambda _: ()
        return lambda definition: missing(participants(definition))

    async def listen(self) -> None:
        """Hear which participants live."""
        bootstrap = self.config.kafka.bootstrap
        begun = partial(self.readiness.begun, PRESENCE)
        await listen(bootstrap, self.topics.heartbeats, self.presence, self.stop, begun)

    async def history(self, gid: str) -> Sequence[Entry]:
        """Read a transaction's log, wherever it is."""
        name = gids.parse(gid)
        log = self.logs.get(name.shard % len(self.config.log.stores)) if name else None
        if log is None:
            raise LogUnavailable(f"the store of {gid} is away")
        return await log.history(gid)


async def _again_and_again(
    name: str, tenure: Callable[[], Awaitable[None]], process: _Process
) -> None:
    """Begin another tenure of a part whenever one has ended by trouble."""
    stop, pause_s = process.stop, FIRST_PAUSE_S
    while not stop.is_set():
        began = asyncio.get_running_loop().time()
        try:
            await tenure()
        except* NotReady:
            raise
        except* (LogUnavailable, KafkaUnavailable, EngineStalled) as group:
            for error in _leaves(group):
                kind = type(error).__name__
                logger.warning("tenure_ended", part=name, reason=str(error), kind=kind)
                process.readiness.ended(name, str(error))
        except* Exception as group:
            process.readiness.ended(name, f"failed: {_leaves(group)[0]!r}")
            # A bug. What it was about to do is not done; the log knows the rest.
            logger.exception("tenure_failed", part=name)
        if asyncio.get_running_loop().time() - began > LONGEST_PAUSE_S:
            pause_s = FIRST_PAUSE_S
        await _sleep(pause_s, stop)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


async def _tenure(process: _Process, store: int) -> None:
    """Own shards of one store, until told to stop."""
    config, watcher = process.config, process.watcher
    async with (
        _log(config.log.stores[store]) as log,
        Producer(config.kafka.bootstrap) as producer,
        ShardReader(config.kafka.bootstrap) as reader,
        ShardReader(config.kafka.bootstrap) as aside,
    ):
        facts = await log.facts()
        _check_log(config, facts, store)
        await _check_topics(config, process.topics, facts)
        for definition in process.definitions:
            await publish(log, definition)
        clock, bell, definitions = LogClock(), asyncio.Event(), process.knowing(facts)
        await log.ring_on_release(bell)
        process.logs[store] = log
        engine = Engine(
            setting=Setting(
                facts,
                process.topics,
                definitions,
                watcher.sample,
                process.if_starts("refuse", process.presence.absent),
            ),
            log=log,
            producer=producer,
            reader=reader,
            aside=aside,
            clock=clock,
            watcher=watcher,
            crowd=config.log.active,
            marks=Marks(aside, process.topics, facts.generation),
        )
        ownership = Ownership(
            replica=process.replica,
            log=log,
            engine=engine,
            clock=clock,
            shards=facts.kept,
            bell=bell,
        )
        await engine.warm_up()
        process.readiness.begun(_store(store), ownership.silent_s)
        said = {"cluster": facts.name, "shards": facts.kept, "store": store}
        logger.info("coordinating", replica=process.replica, **said)
        async with asyncio.TaskGroup() as group:
            purging = group.create_task(purge(log, definitions, clock, process.stop))
            await ownership.run(process.stop)
            purging.cancel()


async def _letters(process: _Process) -> None:
    """Put events where sagas look for them: into the box of each store."""
    config = process.config
    logs = [await _log_of(process, store) for store in range(len(config.log.stores))]
    async with Producer(config.kafka.bootstrap) as producer:
        facts = await logs[0].facts()
        await _check_topics(config, process.topics, facts)
        letterbox = Letterbox(
            bootstrap=config.kafka.bootstrap,
            topics=process.topics,
            logs=logs,
            definitions=process.knowing(facts),
            producer=producer,
            begun=partial(process.readiness.begun, LETTERS),
        )
        await letterbox.run(process.stop)


async def _trigger(process: _Process, stores: Iterator[str]) -> None:
    """Turn events into starts. Any store knows the definitions: if one is away, ask the next."""
    config = process.config
    async with (
        _log(next(stores)) as log,
        Producer(config.kafka.bootstrap) as producer,
    ):
        facts = await log.facts()
        await _check_topics(config, process.topics, facts)
        triggers = Triggers(
            bootstrap=config.kafka.bootstrap,
            topics=process.topics,
            shards=facts.shards,
            log=log,
            definitions=process.knowing(facts),
            producer=producer,
            absent=process.if_starts("hold", process.presence.unheard),
        )
        process.readiness.begun(TRIGGERS)
        await triggers.run(process.stop)


async def _keep_time(process: _Process, store: int) -> None:
    """Start what is due by the clock of one store, once it is there."""
    process.readiness.begun(f"{SCHEDULES} of {_store(store)}")
    log = await _log_of(process, store)
    facts = await log.facts()
    async with Producer(process.config.kafka.bootstrap) as producer:
        schedules = Schedules(
            facts=facts,
            topics=process.topics,
            log=log,
            definitions=process.knowing(facts),
            producer=producer,
            absent=process.if_starts("hold", process.presence.unheard),
        )
        await schedules.run(process.stop)


async def _log_of(process: _Process, store: int) -> PostgresLog:
    """Return the log that a store's tenure has opened, once it has: it needs no second pool.

    Raises:
        LogUnavailable: there was none until the process was told to stop.

    """
    while (log := process.logs.get(store)) is None:
        if process.stop.is_set():
            raise LogUnavailable(f"{_store(store)} is not open, and this process is stopping")
        await _sleep(FIRST_PAUSE_S, process.stop)
    return log


def _store(number: int) -> str:
    return f"store {number}"


@asynccontextmanager
async def _probes(process: _Process) -> AsyncGenerator[None]:
    """Answer probes, if the settings say where."""

    def unready() -> Sequence[str]:
        stopping = ["it is stopping"] if process.stop.is_set() else []
        return [*stopping, *process.readiness.unready()]

    try:
        async with probes(process.config.probes.listen, unready):
            yield
    except CannotListen as error:
        raise NotReady(str(error)) from error


@asynccontextmanager
async def _log(dsn: str) -> AsyncGenerator[PostgresLog]:
    log = await PostgresLog.open(dsn)
    try:
        yield log
    finally:
        await log.close()


def _check_log(config: Config, facts: ClusterFacts, store: int) -> None:
    """Refuse a log that is not the one that the settings describe."""
    log = config.log
    wanted = (log.cluster, log.shards, store, len(log.stores))
    there = (facts.name, facts.shards, facts.store, facts.stores)
    if there != wanted:
        raise NotReady(
            f"the log is {named(*there)}, and the settings say {named(*wanted)}: mend the settings,"
            " or name its databases in the order in which they were created"
        )


async def _check_topics(config: Config, topics: Topics, facts: ClusterFacts) -> None:
    """Refuse topics whose partitions are not the shards."""
    names = [topics.requests, topics.replies, topics.outcomes, topics.marks, topics.dead_letters]
    if config.starts.absent_participants != "ignore":
        names.append(topics.heartbeats)
    counts = await partition_counts(config.kafka.bootstrap, names)
    for name in names:
        if counts.get(name, 0) == 0:
            raise NotReady(f"the topic {name} does not exist: run `twofold topics`")
    for name in (topics.requests, topics.replies, topics.marks):
        if counts[name] != facts.shards:
            raise NotReady(
                f"{name} has {counts[name]} partitions and the log {facts.shards} shards:"
                " each shard is one partition, for ever"
            )


def _leaves(error: BaseException) -> list[BaseException]:
    inner: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return [leaf for one in inner for leaf in _leaves(one)] if inner else [error]


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
