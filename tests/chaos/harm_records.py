"""Records that come again long after their time, and records that nobody can read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from tests.chaos.system import System
from wire.envelope import Record
from wire.kafka import KafkaUnavailable, Place, Producer, Received, ShardReader, partition_counts
from wire.topics import Topics

OWN: Final = Topics()
REPLAYED: Final = (
    OWN.requests,
    OWN.replies,
    *(Topics.commands(f"node-{node}") for node in "abc"),
    "chaos.move-two",
    "chaos.pay",
)
POISONED: Final = (*REPLAYED, "chaos.count")
PIECES: Final = 6
PIECE: Final = 40
PATIENCE_S: Final = 15.0

Note = Callable[[str], None]


async def replay(system: System, dice: random.Random, note: Note) -> None:
    """Read old records of several topics, shuffle them, and produce them again."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            old = await _old_records(system.kafka.bootstrap, dice)
            dice.shuffle(old)
            await _produce(system.kafka.bootstrap, [_again(record) for record in old])
            if old:
                note(f"{len(old)} records of {len({r.topic for r in old})} topics")
    except (KafkaUnavailable, TimeoutError):
        return  # it is down just now, and nobody replays anything


async def _old_records(bootstrap: str, dice: random.Random) -> list[Received]:
    counts = await partition_counts(bootstrap, REPLAYED)
    places = [(topic, n) for topic, count in counts.items() for n in range(count)]
    reader = ShardReader(bootstrap)
    await reader.start()
    try:
        first, end = await reader.beginnings(places), await reader.ends(places)
        full = [place for place in places if first[place] < end[place]]
        chosen = dice.sample(full, min(PIECES, len(full)))
        froms = {place: dice.randrange(first[place], end[place]) for place in chosen}
        reader.assign(froms)
        return await _read(reader, sum(min(PIECE, end[p] - froms[p]) for p in chosen))
    finally:
        await reader.stop()


async def _read(reader: ShardReader, limit: int) -> list[Received]:
    found: list[Received] = []
    while len(found) < limit:
        more = await reader.poll(wait_ms=500, limit=limit - len(found))
        if not more:
            break
        found += more
    return found


def _again(record: Received) -> Record:
    return Record(
        record.topic, record.key, record.value, list(record.headers), partition=record.partition
    )


async def poison(system: System, dice: random.Random, note: Note) -> None:
    """Send what cannot be read, each under a key of its own by which it is found again."""
    try:
        counts = await partition_counts(system.kafka.bootstrap, POISONED)
        records = [
            _poison(system, dice, (topic, dice.randrange(count)))
            for topic, count in counts.items()
            for _ in range(2 if count else 0)
        ]
        await _produce(system.kafka.bootstrap, records)
    except KafkaUnavailable:
        return
    system.poisons.update(record.key for record in records if record.key)
    note(f"{len(records)} records of {len(counts)} topics")


def _poison(system: System, dice: random.Random, place: Place) -> Record:
    """Make a record that no reader of this topic can make sense of."""
    topic, partition = place
    key = f"poison-{len(system.poisons)}-{dice.randrange(10**9)}".encode()
    types = [t.encode() for t in ("twofold.begin.v1", "twofold.execute.v1", "twofold.surprise.v9")]
    value = dice.choice([b"", b"not json", b"[1]", b"\xff\xfe", b"0" * 900_000, b"[" * 5_000, None])
    headers = [("ce_type", dice.choice(types))] if dice.random() < 0.7 else []
    return Record(topic, key, value, headers, partition=partition)


async def _produce(bootstrap: str, records: list[Record]) -> None:
    producer = Producer(bootstrap)
    await producer.start()
    try:
        await producer.burst(records)
    finally:
        await producer.stop()


async def dead_letter_keys(bootstrap: str) -> set[bytes]:
    """Read the keys of all dead letters."""
    count = (await partition_counts(bootstrap, [OWN.dead_letters]))[OWN.dead_letters]
    places = [(OWN.dead_letters, n) for n in range(count)]
    reader = ShardReader(bootstrap)
    await reader.start()
    try:
        ends = await reader.ends(places)
        reader.assign(await reader.beginnings(places))
        found = await _read(reader, sum(ends.values()))
    finally:
        await reader.stop()
    return {record.key for record in found if record.key}
