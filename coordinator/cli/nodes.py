"""`twofold nodes`: who runs, who is suspected, who is gone, and how much waits for whom.

Coordinators are judged by the clock of the log's database. Participants are
judged by the broker's time on their heartbeats, against the same clock: the
servers' clocks must agree to a second or so, and this machine's does not count.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from coordinator.cli import plain, reach
from coordinator.cli.output import Output, as_json, as_table, note, say
from coordinator.config import Config
from coordinator.definitions import participants, understood
from coordinator.log.views import (
    CoordinatorView,
    definitions,
    list_coordinators,
    unowned_shards,
)
from coordinator.presence import BEAT_US, Life, Sign, Signs, judge
from coordinator.shards import BEAT_S
from sagas.model import AnyDefinition
from wire.kafka import Place, ShardReader, committed, partition_counts
from wire.topics import Topics

REMEMBERED_MS: Final = 300_000
"""How far back signs of life are looked for."""

AGAIN_S: Final = 1.0


class ParticipantView(NamedTuple):
    """A participant: its instances, and how far they are behind."""

    name: str
    needed: bool
    """Whether the newest version of a definition names it."""
    behind: int | None
    """Commands that its group has not yet finished; None if nobody knows."""
    signs: tuple[Sign, ...]


class View(NamedTuple):
    """All nodes, at one moment."""

    now_us: int
    coordinators: list[CoordinatorView]
    unowned: list[int]
    participants: list[ParticipantView]

    @property
    def troubles(self) -> list[str]:
        """What keeps work from being done."""
        found: list[str] = []
        if self.unowned:
            shards = ", ".join(map(str, self.unowned))
            found.append(f"nobody has the shards {shards}: start a coordinator, `twofold serve`")
        for one in self.participants:
            lives = any(life(sign, self.now_us) is not Life.GONE for sign in one.signs)
            if one.needed and not lives:
                found.append(f"no instance of {one.name} lives, and a definition needs it")
        return found


def life(sign: Sign, now_us: int) -> Life:
    """Judge an instance of a participant."""
    return judge(now_us - sign.at_us, BEAT_US)


class Lookout:
    """Looks at all nodes, again and again."""

    def __init__(self, config: Config, logs: Sequence[Any], reader: ShardReader) -> None:
        self._config, self._logs, self._reader = config, logs, reader
        self._topics = Topics(config.kafka.prefix)
        self._known, self._signs = dict[str, AnyDefinition](), Signs()
        self._read: dict[Place, int] = {}

    async def look(self) -> View:
        """Say how things are now."""
        needed = await self._needed()
        await self._hear()
        names = sorted(needed | self._signs.participants)
        behind = await self._behind(names)
        await self._hear()
        now_us = max((await reach.facts(self._logs[0])).now_us, self._signs.newest_us)
        return View(
            now_us,
            joined([one for log in self._logs for one in await list_coordinators(log)]),
            sorted([shard for log in self._logs for shard in await unowned_shards(log)]),
            [
                ParticipantView(n, n in needed, behind[n], tuple(self._shown(n, now_us)))
                for n in names
            ],
        )

    def _shown(self, name: str, now_us: int) -> Iterable[Sign]:
        """Leave out those that said goodbye, and went."""
        signs = self._signs.of(name)
        return (s for s in signs if not s.beat.leaving or life(s, now_us) is not Life.GONE)

    async def _needed(self) -> set[str]:
        for stored in await definitions(self._logs[0], self._known):
            self._known[stored.hash] = understood(stored)
        newest = {d.name: d for d in sorted(self._known.values(), key=lambda d: d.version)}
        return {name for definition in newest.values() for name in participants(definition)}

    async def _hear(self) -> None:
        """Read what has come since the last time."""
        if not self._read:
            topic = self._topics.heartbeats
            counts = await partition_counts(self._config.kafka.bootstrap, [topic])
            places = [(topic, n) for n in range(counts.get(topic, 0))]
            if not places:
                return
            since_ms = (await reach.facts(self._logs[0])).now_us // 1000 - REMEMBERED_MS
            self._read = await self._reader.since(places, since_ms)
        ends = await self._reader.ends(self._read)
        self._signs.hear(await self._reader.read(self._read, ends))
        self._read = ends

    async def _behind(self, names: Sequence[str]) -> dict[str, int | None]:
        """Tell how many commands of each participant are not yet finished."""
        bootstrap = self._config.kafka.bootstrap
        counts = await partition_counts(bootstrap, [Topics.commands(name) for name in names])
        groups = {n: {sign.beat.group for sign in self._signs.of(n)} for n in names}
        asked = sorted(set[str]().union(*groups.values()))
        done = {group: await committed(bootstrap, group) for group in asked}
        found: dict[str, int | None] = dict.fromkeys(names)
        for name in names:
            topic = Topics.commands(name)
            places = [(topic, n) for n in range(counts.get(topic, 0))]
            ends = await self._reader.ends(places)
            first = await self._reader.beginnings(places)
            lags = [
                sum(ends[p] - max(first[p], done[group].get(p, 0)) for p in places)
                for group in groups[name]
            ]
            found[name] = min(lags, default=None)
        return found


async def nodes(file: Path | None, *, watch: bool, output: Output) -> bool:
    """Print all nodes; tell whether work can be done."""
    config = reach.settings(file)
    async with lookout(config) as out:
        while True:
            view = await out.look()
            if output is Output.JSON:
                as_json(_as_json(view))
            else:
                _print(view, clear=watch and sys.stdout.isatty())
            if not watch:
                return not view.troubles
            await asyncio.sleep(AGAIN_S)


@asynccontextmanager
async def lookout(config: Config) -> AsyncGenerator[Lookout]:
    """Connect to all that is looked at."""
    async with reach.logs(config) as logs:
        await reach.facts(logs[0])
        with reach.kafka(config):
            async with ShardReader(config.kafka.bootstrap) as reader:
                yield Lookout(config, logs, reader)


def joined(views: Iterable[CoordinatorView]) -> list[CoordinatorView]:
    """Put together what several stores know of each coordinator. One of them heard it last."""
    found: dict[str, CoordinatorView] = {}
    for view in views:
        before = found.get(view.id, view._replace(shards=(), active=0))
        found[view.id] = view._replace(
            silent_us=min(before.silent_us, view.silent_us),
            up_us=max(before.up_us, view.up_us),
            shards=tuple(sorted((*before.shards, *view.shards))),
            active=before.active + view.active,
        )
    return [found[name] for name in sorted(found)]


# ── what is told ─────────────────────────────────────────────────────────────


def _print(view: View, *, clear: bool) -> None:
    if clear:
        sys.stdout.write("\033[H\033[2J")
    coordinators = [
        (
            c.id,
            coordinator_life(c),
            str(len(c.shards)),
            str(c.active),
            _ago(c.silent_us),
            plain.span(c.up_us),
        )
        for c in view.coordinators
    ]
    as_table(("COORDINATOR", "STATE", "SHARDS", "OPEN", "HEARD", "UP"), coordinators)
    say()
    headings = ("PARTICIPANT", "INSTANCE", "STATE", "BEHIND", "STEPS", "PREPARES", "HELD", "HEARD")
    rows = [row for one in view.participants for row in _rows(one, view.now_us)]
    as_table(headings, rows)
    for trouble in view.troubles:
        note(trouble)


def _rows(one: ParticipantView, now_us: int) -> list[tuple[str, ...]]:
    behind = str(one.behind) if one.behind is not None else "?"
    rows = [
        (
            one.name,
            sign.beat.instance,
            _state(sign, now_us),
            behind,
            str(sign.beat.steps_waiting),
            str(sign.beat.prepares_waiting),
            f"{sign.beat.branches_held} of {sign.beat.held_limit}" if sign.beat.held_limit else "",
            _ago(now_us - sign.at_us),
        )
        for sign in one.signs
    ]
    return rows or [(one.name, "none", Life.GONE, behind, "", "", "", "")]


def coordinator_life(view: CoordinatorView) -> Life:
    """Judge a coordinator."""
    return judge(view.silent_us, round(BEAT_S * 1_000_000))


def _state(sign: Sign, now_us: int) -> str:
    return "leaving" if sign.beat.leaving else life(sign, now_us)


def _ago(silent_us: int) -> str:
    return f"{plain.span(max(0, silent_us))} ago"


def _as_json(view: View) -> dict[str, Any]:
    return {
        "coordinators": [
            {
                "id": c.id,
                # A name is HOST-PID-RANDOM, and a host's name may have a - in it.
                "host": c.id.rsplit("-", 2)[0],
                "state": coordinator_life(c),
                "shards": c.shards,
                "active": c.active,
                "silent_ms": c.silent_us // 1000,
                "up_ms": c.up_us // 1000,
            }
            for c in view.coordinators
        ],
        "unowned_shards": view.unowned,
        "participants": [
            {
                "name": one.name,
                "needed": one.needed,
                "behind": one.behind,
                "instances": [_sign_as_json(sign, view.now_us) for sign in one.signs],
            }
            for one in view.participants
        ],
        "troubles": view.troubles,
    }


def _sign_as_json(sign: Sign, now_us: int) -> dict[str, Any]:
    beat = sign.beat
    return {
        "instance": beat.instance,
        "state": _state(sign, now_us),
        "silent_ms": (now_us - sign.at_us) // 1000,
        "up_ms": (now_us - round(beat.started.timestamp() * 1_000_000)) // 1000,
        "group": beat.group,
        "steps_waiting": beat.steps_waiting,
        "prepares_waiting": beat.prepares_waiting,
        "branches_held": beat.branches_held,
        "held_limit": beat.held_limit,
        "slots": beat.slots,
    }
