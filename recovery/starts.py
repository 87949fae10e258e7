"""What Kafka still says of the time that a log has lost: who asked for what, and what was told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from coordinator.cli.errors import Trouble
from coordinator.core.records import Begun
from coordinator.definitions import Definitions
from coordinator.log.store import Position
from coordinator.telemetry import identity
from sagas.model import AnyDefinition
from wire import gids
from wire.envelope import Unreadable, unseal
from wire.gids import Gid
from wire.kafka import Received, ShardReader, partition_counts
from wire.messages import Begin, Outcome
from wire.topics import Topics

REFUSED: Final = "REFUSED"


class Asked(NamedTuple):
    """A start that was asked for after the log's end, under the name that it would have had."""

    gid: str
    shard: int
    at_us: int
    begin: Begin
    cause: str | None

    def begun(self, definition: AnyDefinition) -> Begun:
        """Return the first record of its transaction."""
        name = gids.parse(self.gid)
        assert name is not None, "we have named it"
        # Whoever looks for what became of it will want to see it.
        context, parent = identity.root(self.gid, name.unique, self.cause, sampled=True)
        return Begun(
            definition=definition.hash,
            name=definition.name,
            version=definition.version,
            key=self.begin.key,
            input=self.begin.input,
            traceparent=context,
            parent_span=parent,
        )


async def asked_since(
    reader: ShardReader,
    topics: Topics,
    positions: Sequence[Position],
    cluster: str,
    generations: Iterable[int],
) -> dict[str, Asked]:
    """Read the starts that the log has not seen, by each name that they may have got.

    Raises:
        Trouble: the topic holds them no longer.

    """
    begins = {(topics.requests, p.shard): p.requests_offset for p in positions}
    held, ends = await reader.beginnings(begins), await reader.ends(begins)
    for (topic, shard), offset in begins.items():
        if not held[topic, shard] <= offset <= ends[topic, shard]:
            raise Trouble(
                f"{topic}/{shard} holds {held[topic, shard]} to {ends[topic, shard]}, and the log"
                f" is at {offset}: what was asked for in between is not known.",
                "Restore a younger backup.",
            )
    generations = tuple(generations)
    found: dict[str, Asked] = {}
    for record in await reader.read(begins, ends):
        for asked in _asked(record, cluster, generations):
            found[asked.gid] = asked
    return found


def _asked(record: Received, cluster: str, generations: Iterable[int]) -> Iterator[Asked]:
    with suppress(Unreadable):
        envelope = unseal(record.headers, record.value)
        begin = envelope.message
        if isinstance(begin, Begin):
            place = (record.timestamp_ms, record.partition, record.offset)
            unique = gids.unique_of_start(*place, begin.definition, begin.key)
            for generation in generations:
                gid = str(Gid(cluster, generation, record.partition, unique))
                at_us = max(0, record.timestamp_ms) * 1000
                yield Asked(gid, record.partition, at_us, begin, envelope.traceparent)


async def told_ever(reader: ShardReader, topics: Topics, bootstrap: str) -> dict[str, Outcome]:
    """Read the last outcome that was told of each transaction."""
    counts = await partition_counts(bootstrap, [topics.outcomes])
    places = [(topics.outcomes, n) for n in range(counts.get(topics.outcomes, 0))]
    found: dict[str, Outcome] = {}
    for record in await reader.read(await reader.beginnings(places), await reader.ends(places)):
        with suppress(Unreadable):
            message = unseal(record.headers, record.value).message
            if isinstance(message, Outcome) and message.gid and message.outcome != REFUSED:
                found[message.gid] = message
    return found


def followed(asked: Asked, told: Outcome | None, definitions: Definitions) -> AnyDefinition | None:
    """Return the definition that a start has followed: the one it was told with, or the newest."""
    if told is not None:
        of_version = definitions.by_version(told.definition, told.version)
        if of_version is not None:
            return of_version
    return definitions.newest(asked.begin.definition)


def by_shard(names: Iterable[str], shards: Mapping[int, object]) -> Iterator[str]:
    """Choose the transactions of these shards."""
    for name in names:
        parsed = gids.parse(name)
        if parsed is not None and parsed.shard in shards:
            yield name
