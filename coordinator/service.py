"""One coordinator process: an engine, its ownership of shards, and triggers.

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
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog

from coordinator.clock import LogClock
from coordinator.config import Config
from coordinator.definitions import Definitions, participants, publish
from coordinator.engine import Engine, OffsetLost
from coordinator.log.postgres import PostgresLog
from coordinator.log.store import ClusterFacts, LogUnavailable
from coordinator.presence import Presence, listen
from coordinator.shards import EngineStalled, Ownership
from coordinator.telemetry.watcher import Watcher
from coordinator.triggers import Triggers
from coordinator.turn import Setting
from sagas.loader import DefinitionInvalid, load_bytes
from sagas.model import AnyDefinition
from wire.gids import uuid7
from wire.kafka import KafkaUnavailable, Producer, ShardReader, create_topics, partition_counts
from wire.topics import Topics

logger = structlog.get_logger(__name__)

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0


class NotReady(Exception):
    """The surroundings do not fit: what is wrong, and what to run."""


def definition_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files meant by files and folders."""
    found: list[Path] = []
    for path in paths:
        found.extend(sorted(path.glob("*.yaml")) if path.is_dir() else [path])
    return found


def load_files(paths: Sequence[Path]) -> list[AnyDefinition]:
    """Read definitions, or raise sagas.loader.DefinitionInvalid."""
    return [load_bytes(file.read_bytes(), str(file)) for file in definition_files(paths)]


def new_replica() -> str:
    """Name a process, so that no other ever had this name."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


async def serve(config: Config, stop: asyncio.Event, watcher: Watcher, replica: str) -> None:
    """Coordinate until told to stop.

    Raises:
        NotReady: something is missing that no waiting will bring.

    """
    try:
        definitions = load_files(config.definitions)
    except (DefinitionInvalid, OSError) as error:
        raise NotReady(str(error)) from error
    pause_s = FIRST_PAUSE_S
    while not stop.is_set():
        began = asyncio.get_running_loop().time()
        try:
            await _tenure(config, stop, watcher, replica, definitions)
        except* NotReady:
            raise
        except* (LogUnavailable, KafkaUnavailable, OffsetLost, EngineStalled) as group:
            for error in _leaves(group):
                logger.warning("tenure_ended", reason=str(error), kind=type(error).__name__)
        except* Exception:
            # A bug. What it was about to do is not done; the log knows the rest.
            logger.exception("tenure_failed")
        if asyncio.get_running_loop().time() - began > LONGEST_PAUSE_S:
            pause_s = FIRST_PAUSE_S
        await _sleep(pause_s, stop)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
    logger.info("stopped", replica=replica)


async def _tenure(
    config: Config,
    stop: asyncio.Event,
    watcher: Watcher,
    replica: str,
    own_definitions: Sequence[AnyDefinition],
) -> None:
    topics = Topics(config.kafka.prefix)
    async with _connected(config) as (log, producer, reader):
        facts = await log.facts()
        await _check_topics(config, topics, facts)
        for definition in own_definitions:
            await publish(log, definition)
        clock, definitions, bell = LogClock(), _no_definitions(config, facts), asyncio.Event()
        presence = Presence(lambda: time.monotonic_ns() // 1000)
        await log.ring_on_release(bell)
        watcher.history = log.history
        engine = Engine(
            setting=Setting(
                facts,
                topics,
                definitions,
                _new_unique,
                watcher.sample,
                _if_starts(config, "refuse", presence.absent),
            ),
            log=log,
            producer=producer,
            reader=reader,
            clock=clock,
            watcher=watcher,
        )
        ownership = Ownership(
            replica=replica, log=log, engine=engine, clock=clock, shards=facts.shards, bell=bell
        )
        triggers = Triggers(
            bootstrap=config.kafka.bootstrap,
            topics=topics,
            shards=facts.shards,
            log=log,
            definitions=definitions,
            producer=producer,
            absent=_if_starts(config, "hold", presence.unheard),
        )
        logger.info("coordinating", replica=replica, cluster=facts.name, shards=facts.shards)
        besides = [triggers.run(stop)]
        if config.starts.absent_participants != "ignore":
            besides.append(listen(config.kafka.bootstrap, topics.heartbeats, presence, stop))
        await _work(engine, ownership, watcher, besides, stop)


async def _work(
    engine: Engine,
    ownership: Ownership,
    watcher: Watcher,
    besides: Iterable[Coroutine[Any, Any, None]],
    stop: asyncio.Event,
) -> None:
    """Run everything until told to stop, or until one of them fails."""
    engine_stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(engine.run(engine_stop))
        for one in besides:
            group.create_task(one)
        watching = group.create_task(watcher.run())
        # Shards are given back by a running engine, so it stops last.
        await ownership.run(stop)
        engine_stop.set()
        watching.cancel()


def _no_definitions(config: Config, facts: ClusterFacts) -> Definitions:
    """Know no definitions yet; the topics of each are created before it is known."""

    async def create_topics_of(definition: AnyDefinition) -> None:
        await ensure_topics(config, definition_topics(definition, facts.shards))

    return Definitions(create_topics_of)


def _if_starts(
    config: Config, are: str, missing: Callable[[Iterable[str]], Sequence[str]]
) -> Callable[[AnyDefinition], Sequence[str]]:
    """Tell which participants a start lacks, if that is to make a difference to it."""
    if config.starts.absent_participants != are:
        return lambda _: ()
    return lambda definition: missing(participants(definition))


@asynccontextmanager
async def _connected(
    config: Config,
) -> AsyncGenerator[tuple[PostgresLog, Producer, ShardReader]]:
    log = await PostgresLog.open(config.log.dsn)
    try:
        producer = Producer(config.kafka.bootstrap)
        await producer.start()
        try:
            reader = ShardReader(config.kafka.bootstrap)
            await reader.start()
            try:
                yield log, producer, reader
            finally:
                await reader.stop()
        finally:
            await producer.stop()
    finally:
        await log.close()


async def _check_topics(config: Config, topics: Topics, facts: ClusterFacts) -> None:
    """Refuse topics whose partitions are not the shards."""
    names = [topics.requests, topics.replies, topics.outcomes, topics.dead_letters]
    if config.starts.absent_participants != "ignore":
        names.append(topics.heartbeats)
    counts = await partition_counts(config.kafka.bootstrap, names)
    for name in names:
        if counts.get(name, 0) == 0:
            raise NotReady(f"the topic {name} does not exist: run `twofold topics`")
    for name in (topics.requests, topics.replies):
        if counts[name] != facts.shards:
            raise NotReady(
                f"{name} has {counts[name]} partitions and the log {facts.shards} shards:"
                " each shard is one partition, for ever"
            )


def definition_topics(definition: AnyDefinition, partitions: int) -> dict[str, int]:
    """Return the topics that a definition needs, with the partitions of new ones."""
    names = {Topics.commands(participant) for participant in participants(definition)}
    if definition.start.topic is not None:
        names.add(definition.start.topic)
    return dict.fromkeys(sorted(names), partitions)


async def ensure_topics(config: Config, wanted: Mapping[str, int]) -> None:
    """Create the topics that are not there; leave the others as they are."""
    counts = await partition_counts(config.kafka.bootstrap, wanted)
    missing = {name: count for name, count in wanted.items() if not counts.get(name)}
    if missing:
        await create_topics(
            config.kafka.bootstrap, missing, replication=config.kafka.replication, config={}
        )
        logger.info("topics_created", topics=sorted(missing))


def _new_unique(now_us: int) -> str:
    return uuid7(now_us, secrets.randbits(80))


def _leaves(error: BaseException) -> list[BaseException]:
    inner: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return [leaf for one in inner for leaf in _leaves(one)] if inner else [error]


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
