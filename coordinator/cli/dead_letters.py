"""`twofold dlq list`, `show` and `replay`."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from coordinator.cli import letters, reach
from coordinator.cli.errors import Trouble
from coordinator.cli.letters import Address, Letter, Query
from coordinator.cli.output import Output, as_json, as_table, note, say
from coordinator.cli.plain import moment
from coordinator.config import Config
from wire.kafka import Place, Producer, ShardReader, partition_counts
from wire.topics import Topics

AT_ONCE: Final = 100
"""Dead letters read at once, from the end backwards; each can have a megabyte."""


class Graves:
    """The dead-letter topic, read from its end backwards."""

    def __init__(self, reader: ShardReader, places: Sequence[Place]) -> None:
        self._reader, self._places = reader, places

    async def newest(self, since_us: int | None = None) -> AsyncIterator[Letter]:
        """Yield letters, the newest first, back to a time or to the beginning."""
        first = await self._reader.beginnings(self._places)
        if since_us is not None:
            first = await self._reader.since(self._places, max(0, since_us // 1000))
        ends = await self._reader.ends(self._places)
        while any(first[place] < ends[place] for place in self._places):
            begins = {p: max(first[p], ends[p] - AT_ONCE) for p in self._places}
            found = map(letters.letter, await self._reader.read(begins, ends))
            for one in sorted(found, key=lambda one: (one.at_us, one.place.offset), reverse=True):
                yield one
            ends = {p: min(begins[p], ends[p]) for p in self._places}

    async def find(self, wanted: Sequence[Address]) -> dict[Address, Letter]:
        """Find letters by where they are, or the newest of those that come from there."""
        found: dict[Address, Letter] = {}
        async for one in self.newest():
            for where in {one.place, one.origin}.intersection(wanted):
                if where is not None:
                    found.setdefault(where, one)
            if len(found) == len(set(wanted)):
                break
        return found

    async def choose(self, wanted: Query) -> list[Letter]:
        """Choose those that are to be put back."""
        choice = letters.Choice(wanted)
        async for one in self.newest(wanted.since_us):
            choice.see(one)
        return choice.letters


@asynccontextmanager
async def _graves(config: Config) -> AsyncGenerator[Graves]:
    topic = Topics(config.kafka.prefix).dead_letters
    with reach.kafka(config):
        count = (await partition_counts(config.kafka.bootstrap, [topic])).get(topic, 0)
        if not count:
            raise Trouble(f"the topic {topic} does not exist.", "Run `twofold topics`.")
        async with ShardReader(config.kafka.bootstrap) as reader:
            yield Graves(reader, [(topic, n) for n in range(count)])


def query(reason: str | None, topic: str | None, since: str | None) -> Query:
    """Read what is looked for."""
    since_us = None
    if since is not None:
        try:
            since_us = letters.moment_us(since, time.time_ns() // 1000)
        except ValueError as error:
            raise Trouble(
                f"--since {since!r} is no time: {error}.",
                "Give how long ago, such as 2h, or a time such as 2026-03-01T12:00:00Z.",
            ) from error
    return Query(reason, topic, since_us)


def addresses(texts: Sequence[str]) -> list[Address]:
    """Read addresses."""
    found: list[Address] = []
    for text in texts:
        one = letters.address(text)
        if one is None:
            raise Trouble(
                f"{text!r} is no address.", "Give TOPIC/PARTITION/OFFSET, as `twofold dlq list`."
            )
        found.append(one)
    return found


# ── list, show ───────────────────────────────────────────────────────────────


async def list_(file: Path | None, wanted: Query, limit: int, output: Output) -> None:
    """Print dead letters, the newest first."""
    config = reach.settings(file)
    found: list[Letter] = []
    async with _graves(config) as graves:
        async for one in graves.newest(wanted.since_us):
            if wanted.matches(one):
                found.append(one._replace(value=None))  # its size is enough
            if len(found) == limit:
                break
    if output is Output.JSON:
        as_json([letters.as_json(one, whole=False) for one in found])
        return
    _print_table(found)
    if len(found) == limit:
        note(f"the newest {limit}; --limit shows more")


def _print_table(found: Sequence[Letter]) -> None:
    as_table(("TIME", "ORIGIN", "SIZE", "REPLAYS", "KEY", "REASON"), list(map(letters.row, found)))


async def show(file: Path | None, where: str, output: Output) -> bool:
    """Print one dead letter; False if it is not there."""
    [wanted] = addresses([where])
    async with _graves(reach.settings(file)) as graves:
        one = (await graves.find([wanted])).get(wanted)
    if one is None:
        note(f"there is no dead letter {wanted}: neither there nor from there")
        return False
    if output is Output.JSON:
        as_json(letters.as_json(one, whole=True))
        return True
    said = letters.as_json(one, whole=True)
    lines = [
        ("origin", said["origin"] or "unknown"),
        ("buried", f"{moment(one.at_us)} as {one.place}"),
        ("reason", one.reason),
        ("cut", one.cut),
        ("key", said["key"] if said["key"] is not None else "(null)"),
        *[("replay", f"of {before}") for before in one.replays],
    ]
    for name, text in lines:
        if text:
            say(f"{name:7} {text}")
    say()
    as_table(("HEADER", "VALUE"), [(h["name"], h["value"]) for h in said["headers"]])
    say()
    for line in letters.body_lines(one.value):
        say(line)
    return True


# ── replay ───────────────────────────────────────────────────────────────────


async def replay(
    file: Path | None, where: Sequence[str], wanted: Query, *, sends: bool, output: Output
) -> bool:
    """Put letters back to where they come from, or say which; False if not all can be."""
    config, named = reach.settings(file), addresses(where)
    async with _graves(config) as graves:
        found = await _named(graves, named) if named else await graves.choose(wanted)
        verdicts = await _obstacles(config, found)
        able = [one for one, why in verdicts if not why]
        if sends and able:
            await _send(config, able)
    _report(verdicts, sent=sends, output=output)
    return bool(found) and len(able) == len(found)


async def _named(graves: Graves, named: Sequence[Address]) -> list[Letter]:
    found = await graves.find(named)
    for where in named:
        if where not in found:
            raise Trouble(f"there is no dead letter {where}.", "Nothing was sent.")
    return list({one.place: one for one in found.values()}.values())


async def _obstacles(config: Config, found: Sequence[Letter]) -> list[tuple[Letter, str]]:
    topics = {one.origin.topic for one in found if one.origin is not None}
    counts = await partition_counts(config.kafka.bootstrap, sorted(topics)) if topics else {}
    return [
        (one, letters.obstacle(one, counts.get(one.origin.topic, 0) if one.origin else 0))
        for one in found
    ]


async def _send(config: Config, able: Sequence[Letter]) -> None:
    """Put letters back in the order in which they were buried."""
    oldest_first = sorted(able, key=lambda one: (one.at_us, one.place))
    async with Producer(config.kafka.bootstrap) as producer:
        await producer.burst([letters.back(one) for one in oldest_first])


def _report(verdicts: Sequence[tuple[Letter, str]], *, sent: bool, output: Output) -> None:
    able = [one for one, why in verdicts if not why]
    if output is Output.JSON:
        told: list[dict[str, Any]] = [
            {**letters.as_json(one, whole=False), "sent": sent and not why, "obstacle": why}
            for one, why in verdicts
        ]
        as_json(told)
        return
    _print_table(able)
    for one, why in verdicts:
        if why:
            note(f"{one.address} cannot be put back: {why}")
    if not verdicts:
        note("there is no such dead letter")
    elif sent:
        say(f"{len(able)} put back")
    else:
        note(f"nothing was sent; --yes puts back {len(able)}")
