"""Services that play whatever is asked of them, on a real Postgres, by the scripts of plays.

What comes too early for its act waits at the door, as on a slow network. What
is to stay silent is lost there, before or after it was done. All else is done
by handlers, and nothing here keeps an effect from happening twice: what the
kit and the coordinator fail to prevent shows in the table `effect`.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import asyncpg
from msgspec.structs import replace

from coordinator.definitions import family
from coordinator.rehearsal.actors import DONE, Act, Answer, Asked, Part, target
from coordinator.rehearsal.trial import label
from participants import Call, Failed, Participant, ReadOnly, Refused
from participants.calls import Busy, Verdict
from participants.service import Service, Source, Told
from sagas.model import AnyDefinition, Group, Saga
from tests.acceptance.plays import Play
from wire import gids
from wire.messages import (
    Command,
    Commit,
    Compensate,
    Execute,
    Executed,
    Prepare,
    Result,
    Rollback,
    Vote,
    Voted,
)

STAGE: Final = "company"
"""The database of all services but those with branches, which have one each."""

EFFECT: Final = """
    CREATE TABLE IF NOT EXISTS effect (key text NOT NULL, name text NOT NULL, what text NOT NULL)
"""
ENTER: Final = "INSERT INTO effect VALUES ($1, $2, $3)"

CHILD: Final = gids.child_key("", "")
"""What stands in the start key of a part of a transaction, between that one's name and its own."""

Said: TypeAlias = tuple[str, str, Part]
"""A play's start key, a step or branch of it, and what is asked of that."""

_NO: Final[Mapping[Act, type[Verdict]]] = {
    Act.REFUSED: Refused,
    Act.BUSY: Busy,
    Act.FAILED: Failed,
}


class Place(NamedTuple):
    """Whose a command is, and how its branches are called there beside their names."""

    play: Play | None
    """None is for a transaction that belongs to no play."""
    prefix: str = ""


class Theatre:
    """Knows which transaction is which play, which act is on, and what was asked."""

    def __init__(self, plays: Mapping[str, Play], log: str) -> None:
        self.act = 0
        self.lost = 0
        """How often all that waited at the door was lost."""
        self.asked: dict[str, dict[str, Command]] = defaultdict(dict)
        """By start key and label, what came first."""
        self._plays, self._log = plays, log
        self._places: dict[str, Place] = {}
        self._counts: Counter[Said] = Counter()
        self._answers: dict[Said, Answer] = {}
        self._over: dict[str, set[str]] = defaultdict(set)

    async def let_in(self, command: Command) -> bool:
        """Wait until it is a command's turn; False if it is never heard of again."""
        lost = self.lost
        if command.gid not in self._places:
            self._places[command.gid] = await self._place(command.gid)
        play, prefix = self._places[command.gid]
        if play is None:
            return True
        if not isinstance(command, Execute | Compensate):
            command = replace(command, branch=f"{prefix}{command.branch}")
        said = label(Asked(0, "", command, DONE))
        self.asked[play.key].setdefault(said, command)
        # Whatever goes on after a person's order was not rehearsed.
        first = play.beside(said) if said in play.acts else set[str]()
        while self.act < play.acts.get(said, 0) or not first <= self._over[play.key]:
            await asyncio.sleep(0.05)
            if lost < self.lost:
                return False
        name, part = target(command)
        self._counts[play.key, name, part] += 1
        answers = play.answers(name, part)
        answer = answers[min(self._counts[play.key, name, part], len(answers)) - 1]
        self._answers[play.key, name, part] = answer
        return answer.act is not Act.NOTHING

    async def _place(self, gid: str) -> Place:
        """Look into the log, where no service may: only there it says which play this is."""
        connection: Any = await asyncpg.connect(self._log)
        try:
            query = "SELECT start_key FROM twofold.transaction WHERE gid = $1"
            key = str(await connection.fetchval(query, gid))
        finally:
            await connection.close()
        if key in self._plays or CHILD not in key:
            return Place(self._plays.get(key))
        parent, _, part = key.partition(CHILD)
        what, step, attempt = part.split("/")
        play = (await self._place(parent)).play
        if play is None or not isinstance(play.steps[step].work, Group):
            return Place(play)
        return Place(play, f"{step}.undo.{attempt}." if what == "undo" else f"{step}.")

    def turn(self, gid: str, name: str, part: Part) -> tuple[Play, str, Answer]:
        """Tell whose turn it is, by what name, and what is to become of it."""
        play, prefix = self._places[gid]
        assert play is not None, f"nothing of {gid} is played"
        full = f"{prefix}{name}"
        return play, full, self._answers[play.key, full, part]

    def lets_out(self, told: Told) -> bool:
        """Note what has taken effect, and tell whether anybody hears of it."""
        match told.reply:
            case Executed(gid=gid, step=name, result=Result.DONE):
                pass
            case Voted(gid=gid, branch=name, vote=Vote.COMMIT | Vote.READ_ONLY):
                pass
            case _:
                return True
        play, name, answer = self.turn(gid, name, Part.DO)
        self._over[play.key].add(name)
        return answer.act is not Act.LOST


class Door(Service):
    """A service that hears and says only what the theatre lets through."""

    def __init__(
        self,
        theatre: Theatre,
        *of: Any,
        spawn: Callable[[Any], Any],
        tell: Callable[[Told], None],
        **more: Any,
    ) -> None:
        def say(told: Told) -> None:
            heard = theatre.lets_out(told)
            tell(told if heard else Told(None, told.traceparent, told.sources))

        super().__init__(*of, spawn=spawn, tell=say, **more)
        self._theatre, self._later, self._lose = theatre, spawn, tell

    def take_step(self, message: Execute | Compensate, source: Source) -> None:
        self._later(self._admit(message, source, super().take_step))

    def take_branch(
        self, message: Prepare | Commit | Rollback, source: Source, *, late: bool
    ) -> None:
        def take(message: Any, source: Source) -> None:
            super(Door, self).take_branch(message, source, late=late)

        self._later(self._admit(message, source, take))

    async def _admit(
        self, message: Any, source: Source, take: Callable[[Any, Source], None]
    ) -> None:
        if await self._theatre.let_in(message):
            take(message, source)
        else:
            self._lose(Told(None, source.traceparent, [(source.place, source.offset)]))


def cast(theatre: Theatre, definitions: Iterable[AnyDefinition]) -> list[Participant]:
    """Make all services that these definitions name."""

    async def perform(db: Any, call: Call, part: Part, what: str) -> Any:
        play, name, said = theatre.turn(call.gid, call.name, part)
        if said.act in _NO:
            raise _NO[said.act](said.reason)
        result = play.result(name, said) if part is Part.DO else None
        if said.act is Act.READ_ONLY:
            return ReadOnly(result)
        await db.execute(ENTER, play.key, name, what)
        return result

    async def do(db: Any, call: Call) -> Any:
        return await perform(db, call, Part.DO, "done")

    async def undo(db: Any, call: Call) -> Any:
        return await perform(db, call, Part.UNDO, "undone")

    services: dict[str, Participant] = {}
    for name, kind, command in sorted(_asked_of(definitions)):
        database = _database_of(name) if kind is Part.END else STAGE
        if name not in services:
            services[name] = Participant(name, database=database, setup_sql=EFFECT)
        service = services[name]
        ways = {Part.DO: service.step, Part.UNDO: service.undo, Part.END: service.branch}
        ways[kind](command)(undo if kind is Part.UNDO else do)
    return list(services.values())


def _asked_of(definitions: Iterable[AnyDefinition]) -> set[tuple[str, Part, str]]:
    """Name each command that a service must know: a step, an undo, or a branch, which ends."""
    found: set[tuple[str, Part, str]] = set()
    for one in (one for definition in definitions for one in family(definition)):
        if not isinstance(one, Saga):
            calls = [branch.call for branch in one.branches.values()]
            found |= {(call.participant, Part.END, call.command) for call in calls}
            continue
        for step in one.steps.values():
            undo = step.undo.call if step.undo is not None else None
            for part, call in ((Part.DO, step.call), (Part.UNDO, undo)):
                if call is not None:
                    found.add((call.participant, part, call.command))
    return found


def databases(definitions: Iterable[AnyDefinition]) -> set[str]:
    """Name the databases that services of these need."""
    asked = _asked_of(definitions)
    return {STAGE} | {_database_of(name) for name, part, _ in asked if part is Part.END}


def _database_of(participant: str) -> str:
    """Name the database of a service that has branches."""
    return participant.replace("-", "_")


def carried(command: Command) -> Any:
    """Return what a command brings, as JSON would have it."""
    said = {word: getattr(command, word, None) for word in ("command", "data")}
    return json.loads(json.dumps(said))
