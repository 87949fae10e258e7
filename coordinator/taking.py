"""What a new owner of shards must know before it works on them, asked all at once.

Nobody works on a shard until the last of it is known. Kafka is asked over a
connection that reads nothing: a broker answers one request of a connection
after the other, and those of a reader only after its long poll.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog
from msgspec.structs import asdict

from coordinator.core.lock import Claim
from coordinator.core.records import Entry
from coordinator.log.store import DecisionLog, Position
from coordinator.marks import Marks
from wire.kafka import Place, ShardReader
from wire.topics import Topics

logger = structlog.get_logger(__name__)


class Found(NamedTuple):
    """What is known of shards. Of those that are lost nothing may be done."""

    lost: frozenset[int]
    ends: Mapping[Place, int]
    """Where their topics end now."""
    claims: Sequence[tuple[int, str, Claim]]
    entries: Sequence[Entry]
    """What is unfinished there."""


async def learn(
    positions: Sequence[Position],
    *,
    log: DecisionLog,
    reader: ShardReader,
    marks: Marks | None,
    topics: Topics,
) -> Found:
    """Ask the log and Kafka.

    Raises:
        LogUnavailable: the log is gone.
        KafkaUnavailable: Kafka is.

    """
    shards = [position.shard for position in positions]
    (ends, lost), forgotten, claims, entries = await asyncio.gather(
        _bounds(positions, reader, topics),
        _forgotten(positions, marks),
        log.claims(shards),
        log.active(shards),
    )
    return Found(lost | forgotten, ends, claims, entries)


async def _bounds(
    positions: Sequence[Position], reader: ShardReader, topics: Topics
) -> tuple[Mapping[Place, int], frozenset[int]]:
    """Return where the topics end now, and the shards whose offsets they do not hold.

    What lies between is lost: the topic was recreated, or has expired. How
    to go on from there is for a person to say.
    """
    wanted = {(topics.requests, p.shard): p.requests_offset for p in positions}
    wanted |= {(topics.replies, p.shard): p.replies_offset for p in positions}
    ends, begins = await asyncio.gather(reader.ends(wanted), reader.beginnings(wanted))
    lost = {p: at for p, at in wanted.items() if not begins[p] <= at <= ends[p]}
    for (topic, shard), offset in lost.items():
        held = f"{begins[topic, shard]} to {ends[topic, shard]}"
        logger.error("offset_lost", topic=topic, shard=shard, next=offset, held=held)
    return ends, frozenset(shard for _, shard in lost)


async def _forgotten(positions: Sequence[Position], marks: Marks | None) -> frozenset[int]:
    """Find the shards whose log has lost what it had acknowledged. Nothing is done there."""
    if marks is None:
        return frozenset()
    forgotten = await marks.forgotten(positions)
    for position in positions:
        if (mark := forgotten.get(position.shard)) is not None:
            logger.error("log_has_forgotten", **position._asdict(), was=asdict(mark))
    return frozenset(forgotten)
