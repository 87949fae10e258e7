"""How an owner comes to lose its shards: it dies, sleeps, is cut off, or leaves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, NamedTuple, TypeAlias

import asyncpg

from coordinator.log.postgres import DURABLE
from tests.chaos.system import Link, Process, System
from tests.takeovers.watch import Watch

LATE_S: Final = 6.0
"""Twice a lease: what is written before it ends arrives when somebody else has the shard."""

HOLD: Final = "SELECT FROM twofold.shard WHERE id = ANY($1::int[]) ORDER BY id FOR NO KEY UPDATE"


class Scene(NamedTuple):
    """Who is to lose its shards, and where."""

    system: System
    watch: Watch
    victim: Process
    shards: Sequence[int]


class Way(NamedTuple):
    """A harm that lasts as long as its context does."""

    name: str
    said: str
    harm: Callable[[Scene], AbstractAsyncContextManager[None]]
    proxied: bool = False
    """Whether it must be somebody who reaches Kafka through the proxy."""


@asynccontextmanager
async def _killed(scene: Scene) -> AsyncGenerator[None]:
    await scene.victim.kill()
    yield
    await scene.victim.start()


@asynccontextmanager
async def _asleep(scene: Scene) -> AsyncGenerator[None]:
    scene.victim.pause()
    try:
        yield
    finally:
        scene.victim.resume()


@asynccontextmanager
async def _asleep_in_a_transaction(scene: Scene) -> AsyncGenerator[None]:
    """Leave a session of the owner's kind in the middle of a transaction that locks its shards.

    Nothing of a coordinator spans two statements, so none can be caught there.
    """
    connect: Any = asyncpg.connect  # asyncpg ships no types
    dsn = scene.system.log.dsn("twofold")
    connection = await connect(dsn, server_settings=DURABLE)
    try:
        await connection.execute("BEGIN")
        await connection.fetch(HOLD, list(scene.shards))
        async with _asleep(scene):
            yield
    finally:
        connection.terminate()


@asynccontextmanager
async def _refused(link: Link) -> AsyncGenerator[None]:
    link.proxy.refuse()
    link.proxy.reset()
    try:
        yield
    finally:
        link.proxy.heal()


@asynccontextmanager
async def _swallowed(link: Link) -> AsyncGenerator[None]:
    """Lose all bytes, both ways. What TCP would repeat is gone, so connections break at the end."""
    link.proxy.drop()
    try:
        yield
    finally:
        link.proxy.reset()
        link.proxy.heal()


@asynccontextmanager
async def _late(link: Link) -> AsyncGenerator[None]:
    link.proxy.delay(LATE_S)
    try:
        yield
    finally:
        link.proxy.heal()


Harm: TypeAlias = Callable[[Scene], AbstractAsyncContextManager[None]]
Trouble: TypeAlias = Callable[[Link], AbstractAsyncContextManager[None]]


def _to_the_log(trouble: Trouble) -> Harm:
    return lambda scene: trouble(scene.victim.database)


def _to_kafka(trouble: Trouble) -> Harm:
    return lambda scene: trouble(scene.system.kafka_links[0])


UNPLANNED: Final = (
    Way("killed", "SIGKILL", _killed),
    Way("asleep", "SIGSTOP, and SIGCONT after the takeover", _asleep),
    Way(
        "asleep-in-transaction",
        "the same, while an open transaction locks its shards",
        _asleep_in_a_transaction,
    ),
    Way("log-refused", "its connections to the log break", _to_the_log(_refused)),
    Way("log-silent", "nothing passes to or from the log", _to_the_log(_swallowed)),
    Way("log-late", f"what it says to the log arrives {LATE_S:g} s late", _to_the_log(_late)),
    Way("kafka-refused", "its connections to Kafka break", _to_kafka(_refused), proxied=True),
    Way("kafka-silent", "nothing passes to or from Kafka", _to_kafka(_swallowed), proxied=True),
)
