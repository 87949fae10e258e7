"""The topics that must be there, and what new ones are made with.

A topic that is there is never changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from coordinator.config import Config
from coordinator.definitions import participants
from coordinator.letterbox import waits_of
from sagas.model import AnyDefinition
from wire.envelope import MAX_BODY_BYTES
from wire.kafka import create_topics, partition_counts
from wire.topics import Topics

logger = structlog.get_logger(__name__)

DAY_MS: Final = 24 * 3_600_000
BROKERS_CLOCK: Final = {"message.timestamp.type": "LogAppendTime"}
"""A record's time is the broker's, not that of whoever has sent it."""

SIGNS: Final = {
    **BROKERS_CLOCK,
    "retention.ms": "600000",
    "segment.ms": "300000",
}
"""Signs of life are of interest for minutes."""
SETTLE_LOOKS: Final = 50
"""How often to look for a topic that was created, until all brokers know it."""


class Plan(NamedTuple):
    """A topic as it should be."""

    name: str
    partitions: int
    exactly: bool
    """Whether another number of partitions is wrong."""
    config: Mapping[str, str]
    """Of a new one."""


def own_topics(config: Config, shards: int) -> list[Plan]:
    """List Twofold's own topics."""
    names, ours = Topics(config.kafka.prefix), _ours(config)
    week = _kept(config, days=7)
    return [
        Plan(names.requests, shards, exactly=True, config={**week, **BROKERS_CLOCK}),
        Plan(names.replies, shards, exactly=True, config=week),
        Plan(names.outcomes, shards, exactly=False, config=week),
        Plan(names.marks, shards, exactly=True, config={**ours, "cleanup.policy": "compact"}),
        Plan(names.dead_letters, 1, exactly=False, config=_kept(config, days=30)),
        Plan(names.heartbeats, 1, exactly=False, config={**ours, **SIGNS}),
    ]


def definition_topics(
    config: Config, definitions: Iterable[AnyDefinition], partitions: int
) -> list[Plan]:
    """List the topics that definitions name."""
    definitions = tuple(definitions)
    commands = {Topics.commands(name) for d in definitions for name in participants(d)}
    # Topics of events are somebody else's: how long they keep events is not for us to say.
    starts = {d.start.topic for d in definitions if d.start.topic is not None}
    events = starts | waits_of(definitions).keys()
    replies = {d.start.reply_to for d in definitions if d.start.reply_to is not None}
    settings = {
        **dict.fromkeys(replies, _ours(config)),
        **dict.fromkeys(commands, _kept(config, days=7)),
        **dict.fromkeys(events, _safe(config)),
    }
    return [
        Plan(name, partitions, exactly=False, config=settings[name]) for name in sorted(settings)
    ]


async def ensure(config: Config, plans: Sequence[Plan]) -> None:
    """Create the topics that are not there.

    Raises:
        KafkaUnavailable: Kafka was lost, or refuses one of them.

    """
    counts = await partition_counts(config.kafka.bootstrap, [plan.name for plan in plans])
    missing = [plan for plan in plans if not counts.get(plan.name)]
    if missing:
        await create(config, missing)
        logger.info("topics_created", topics=[plan.name for plan in missing])


async def create(config: Config, missing: Sequence[Plan]) -> None:
    """Create topics, and wait a while until all brokers know them."""
    kafka = config.kafka
    for settings in {tuple(plan.config.items()) for plan in missing}:
        wanted = {p.name: p.partitions for p in missing if tuple(p.config.items()) == settings}
        await create_topics(
            kafka.bootstrap, wanted, replication=kafka.replication, config=dict(settings)
        )
    for _ in range(SETTLE_LOOKS):
        seen = await partition_counts(kafka.bootstrap, [plan.name for plan in missing])
        if all(seen.values()):
            return
        await asyncio.sleep(0.1)


def _safe(config: Config) -> dict[str, str]:
    return {"min.insync.replicas": "2"} if config.kafka.replication > 2 else {}  # noqa: PLR2004


def _ours(config: Config) -> dict[str, str]:
    return {"max.message.bytes": str(MAX_BODY_BYTES + 100_000), **_safe(config)}


def _kept(config: Config, *, days: int) -> dict[str, str]:
    return {**_ours(config), "retention.ms": str(days * DAY_MS)}
