"""What Kafka still says of the time that a log has lost: who asked for what, and what was told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from coordinator.cli.errors import Trouble
from coordinator.core.records import Begun
from coordinator.definitions import Definitions
from coordinator.log.store import Position
from coordinator.telemetry import identity
from recovery.traces import Sent
from sagas.model import AnyDefinition
from wire import gids
from wire.envelope import Unreadable, type_of, unseal
from wire.gids import Gid
from wire.kafka import Received, ShardReader, partition_counts
from wire.messages import Begin, Commit, Compensate, Outcome
from wire.topics import Topics

REFUSED: Final = "REFUSED"


class Asked(NamedTuple):
    """A start that the log has not seen, under a name that it would have had."""

    gid: str
    shard: int
    at_us: int
    begin: Begin
    definition: AnyDefinition
    cause: str | None

    def begun(self) -> Begun:
        """Return the first record of its transaction."""
        name = gids.parse(self.gid)
        assert name is not None, "we have named it"
        # Whoever looks for what became of it will want to see it.
        context, parent = identity.root(self.gid, name.unique, self.cause, sampled=True)
        return Begun(
            definition=self.definition.hash,
            name=self.definition.name,
            version=self.definition.version,
            key=self.begin.key,
            input=self.begin.input,
            traceparent=context,
            parent_span=parent,
        )


class Naming(NamedTuple):
    """What the names of transactions are made of, beside the records of their starts."""

    cluster: str
    generations: Sequence[int]
    definitions: Definitions

    def asked(self, record: Received) -> Iterator[Asked]:
        """Yield a start, under each name that it may have got."""
        with suppress(Unreadable):
            envelope = unseal(record.headers, record.value)
            begin, shard = envelope.message, record.partition
            if not isinstance(begin, Begin):
                return
            at = (record.timestamp_ms, shard, record.offset)
            for definition in self.definitions.of_name(begin.definition):
                unique = gids.unique_of_start(*at, begin.key, definition.hash)
                for generation in self.generations:
                    gid = str(Gid(self.cluster, generation, shard, unique))
                    at_us = max(0, record.timestamp_ms) * 1000
                    yield Asked(gid, shard, at_us, begin, definition, envelope.traceparent)


async def asked_since(
    reader: ShardReader, topics: Topics, positions: Sequence[Position], naming: Naming
) -> dict[str, Asked]:
    """Read the starts that the log has not seen, by name.

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
    records = await reader.read(begins, ends)
    return {asked.gid: asked for record in records for asked in naming.asked(record)}


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


KINDS: Final[Mapping[object, Sent]] = {
    Commit: Sent.ANYTHING | Sent.COMMIT,
    Compensate: Sent.ANYTHING | Sent.UNDO,
}


class Said(NamedTuple):
    """What the topics say that coordinators have said, by gid."""

    told: Mapping[str, Outcome]
    """The last outcome that was told."""
    sent: Mapping[str, Sent]
    """What participants were sent."""


def sent(records: Iterable[Received]) -> dict[str, Sent]:
    """Find out what was sent, by gid, which is the subject of commands; their keys may differ."""
    found: dict[str, Sent] = {}
    for record in records:
        subject = dict(record.headers).get("ce_subject")
        if subject is not None:
            gid = subject.decode(errors="replace")
            kind = KINDS.get(type_of(record.headers), Sent.ANYTHING)
            found[gid] = found.get(gid, Sent.NOTHING) | kind
    return found


async def sent_since(
    reader: ShardReader, bootstrap: str, participants: Iterable[str], at_ms: int
) -> dict[str, Sent]:
    """Read all commands that were sent since: a partition at a time, since they may be many."""
    counts = await partition_counts(bootstrap, map(Topics.commands, participants))
    places = [(topic, n) for topic, count in counts.items() for n in range(count)]
    begins, ends = await reader.since(places, at_ms), await reader.ends(places)
    found: dict[str, Sent] = {}
    for place in places:
        records = await reader.read({place: begins[place]}, {place: ends[place]})
        for gid, kinds in sent(records).items():
            found[gid] = found.get(gid, Sent.NOTHING) | kinds
    return found


def by_shard(names: Iterable[str], shards: Collection[int]) -> list[str]:
    """Choose the transactions of these shards."""
    parsed = ((name, gids.parse(name)) for name in names)
    return [name for name, found in parsed if found is not None and found.shard in shards]
