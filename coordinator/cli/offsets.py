"""`twofold offsets`: what each shard reads next, and what its topics still hold.

A shard whose topics lack what is next belongs to nobody: messages are missing,
and only a person can say that they are given up. Replies are asked for again;
of requests, those that nobody has read are gone, and must be made anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from coordinator.cli import reach, who
from coordinator.cli.output import Output, as_json, as_table, note
from coordinator.config import Config
from coordinator.log.ask import ask
from coordinator.log.store import Position
from coordinator.marks import mark_record
from wire.kafka import Place, Producer, ShardReader
from wire.topics import Topics

GENERATION: Final = "SELECT generation FROM twofold.cluster"
READ: Final = "SELECT id, requests_offset, replies_offset FROM twofold.shard ORDER BY id"

# The next epoch, so that whoever owns the shard all the same writes no more.
MOVE: Final = """
    WITH moved AS (
        UPDATE twofold.shard SET {column} = $3, epoch = epoch + 1
         WHERE id = $1 AND {column} = $2
        RETURNING id
    )
    INSERT INTO twofold.moved_offset (shard, topic, from_offset, to_offset, actor, reason)
    SELECT id, $4, $2, $3, $5, $6 FROM moved RETURNING shard
"""


class Next(NamedTuple):
    """What a shard reads next of a topic, and the offsets that the topic holds."""

    log: int
    """Which of the log's stores has the shard."""
    column: str
    place: Place
    offset: int
    first: int
    end: int

    @property
    def lost(self) -> bool:
        return not self.first <= self.offset <= self.end


async def offsets(
    file: Path | None, *, reset: bool, reason: str, actor: str | None, output: Output
) -> bool:
    """Print all offsets, and move those that are lost, if that is wished; False if any is left."""
    config = reach.settings(file)
    async with reach.logs(config) as logs:
        await reach.facts(logs[0])
        with reach.kafka(config):
            found = await _look(config, logs)
        lost = [one for one in found if one.lost]
        actor = who.actor(actor)
        given_up = lost if reset else []
        if given_up:
            with reach.kafka(config):
                await _mark(config, logs, found)
        moved = {one.place for one in given_up if await _move(logs[one.log], one, actor, reason)}
    _print(found, moved, output)
    left = len(lost) - len(moved)
    if left and not reset:
        note(f"{left} are lost; --reset goes on with the first message that is held")
    elif left:
        note(f"{left} have changed meanwhile: look again")
    return not left


async def _look(config: Config, logs: Sequence[Any]) -> list[Next]:
    topics = Topics(config.kafka.prefix)
    wanted = [
        (log, column, (topic, shard), offset)
        for log, connection in enumerate(logs)
        for shard, requests, replies in await ask(connection, READ)
        for column, topic, offset in (
            ("requests_offset", topics.requests, requests),
            ("replies_offset", topics.replies, replies),
        )
    ]
    places = [place for _, _, place, _ in wanted]
    async with ShardReader(config.kafka.bootstrap) as reader:
        firsts, ends = await reader.beginnings(places), await reader.ends(places)
    return [
        Next(log, column, place, offset, firsts[place], ends[place])
        for log, column, place, offset in wanted
    ]


async def _mark(config: Config, logs: Sequence[Any], found: Sequence[Next]) -> None:
    """Say beforehand where the shards will go on, so that nobody takes it for a loss of the log.

    What is said and not done does no harm: whoever owns the shard says more.
    """
    at = {(one.place[1], one.column): one.first if one.lost else one.offset for one in found}
    stores = {one.place[1]: one.log for one in found if one.lost}
    generations = [(await ask(log, GENERATION))[0][0] for log in logs]
    async with Producer(config.kafka.bootstrap) as producer:
        await producer.burst(
            [
                mark_record(
                    Position(shard, 0, at[shard, "requests_offset"], at[shard, "replies_offset"]),
                    Topics(config.kafka.prefix),
                    generations[store],
                )
                for shard, store in stores.items()
            ]
        )


async def _move(connection: Any, lost: Next, actor: str, reason: str) -> bool:
    """Let a shard go on with the first message that its topic holds."""
    topic, shard = lost.place
    statement = MOVE.format(column=lost.column)
    return bool(
        await ask(connection, statement, shard, lost.offset, lost.first, topic, actor, reason)
    )


def _print(found: Sequence[Next], moved: set[Place], output: Output) -> None:
    told = [dict(_told(one, moved=one.place in moved)) for one in found]
    if output is Output.JSON:
        as_json(told)
        return
    as_table(
        ("TOPIC", "SHARD", "NEXT", "HELD", "STATE"),
        [_row(one) for one in told],
    )


def _told(one: Next, *, moved: bool) -> Iterator[tuple[str, Any]]:
    topic, shard = one.place
    yield from {"topic": topic, "shard": shard, "next": one.offset}.items()
    yield from {"first": one.first, "end": one.end}.items()
    yield "behind", None if one.lost else one.end - one.offset
    yield "state", "moved" if moved else "lost" if one.lost else "ok"


def _row(told: Mapping[str, Any]) -> tuple[str, ...]:
    state = f"{told['behind']} behind" if told["behind"] else told["state"]
    if told["state"] == "moved":
        state = f"moved to {told['first']}"
    held = f"{told['first']} to {told['end']}"
    return told["topic"], str(told["shard"]), str(told["next"]), held, state
