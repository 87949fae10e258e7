"""How far each shard's log has come, said outside of the log.

A Postgres that has failed over, or was restored from a backup, may have lost
what it had acknowledged, and cannot know it. So each owner says now and then,
on a topic, what its log says is to be read next; and before a shard is worked
on, its log is compared with the last that was said
([decision 9](../docs/adr/0009-marks.md)).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from coordinator.log.store import Position
from wire.envelope import Envelope, Record, Unreadable, seal, unseal
from wire.kafka import Place, ShardReader
from wire.messages import Mark
from wire.topics import Topics


def mark_record(position: Position, topics: Topics, generation: int) -> Record:
    """Write a mark."""
    mark = Mark(
        shard=position.shard,
        generation=generation,
        requests=position.requests_offset,
        replies=position.replies_offset,
    )
    return seal(
        Envelope(mark),
        topic=topics.marks,
        source="/twofold/marks",
        key=str(position.shard),
        partition=position.shard,
    )


class Marks:
    """The topic of marks, for one generation of the log."""

    def __init__(self, reader: ShardReader, topics: Topics, generation: int) -> None:
        self._reader, self._topics, self._generation = reader, topics, generation

    def record(self, position: Position) -> Record:
        """Write what a shard's log says, to be sent once that is durable."""
        return mark_record(position, self._topics, self._generation)

    async def forgotten(self, positions: Iterable[Position]) -> Mapping[int, Mark]:
        """Find the shards whose logs say less than was said before, with what was said.

        Raises:
            KafkaUnavailable: the marks could not be read.

        """
        found: dict[int, Mark] = {}
        held = {position.shard: position for position in positions}
        for shard, mark in (await self.last(held)).items():
            position = held[shard]
            behind = (
                position.requests_offset < mark.requests or position.replies_offset < mark.replies
            )
            if mark.generation > self._generation or (
                mark.generation == self._generation and behind
            ):
                found[shard] = mark
        return found

    async def last(self, shards: Iterable[int]) -> dict[int, Mark]:
        """Read the last mark of each shard. Compaction keeps it.

        Raises:
            KafkaUnavailable: they could not be read.

        """
        topic = self._topics.marks
        ends = await self._reader.ends([(topic, shard) for shard in shards])
        begins: dict[Place, int] = {place: max(0, end - 1) for place, end in ends.items()}
        last: dict[int, Mark] = {}
        for record in await self._reader.read(begins, ends):
            try:
                message = unseal(record.headers, record.value).message
            except Unreadable:
                continue
            if isinstance(message, Mark):
                last[record.partition] = message
        return last
