"""One run of a transaction by the real core, in virtual time, among scripted participants."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from msgspec import structs

from coordinator.core import children, machine
from coordinator.core.events import Dismissed, Event, Published, Revoked, Spawned
from coordinator.core.machine import State
from coordinator.core.records import Begun, Entry, Ordered
from coordinator.core.transition import (
    Dismiss,
    Errand,
    Heed,
    Return,
    Revoke,
    Send,
    Spawn,
    Transition,
)
from coordinator.rehearsal import keeper
from coordinator.rehearsal.actors import DONE, Act, Actors, Part, target
from coordinator.rehearsal.arrivals import Arrival, Arrivals, Happening, News
from coordinator.rehearsal.stand_in import stand_in
from sagas.model import AnyDefinition, SubSaga
from wire.messages import (
    Command,
    Compensate,
    Compensated,
    Execute,
    Executed,
    Json,
    Order,
    Outcome,
    Reply,
    Settled,
    Voted,
)

GENERATION: Final = 1
GID: Final = "tf1.rehearsal.1.0.00000000000070008000000000000001"
MOST_TURNS: Final = 1_000_000


class Crash(NamedTuple):
    """When the coordinator dies, once: at the first command of this kind, or its first answer."""

    name: str
    part: Part
    answered: bool
    """True: once its answer is dealt with. False: once the command is due and the log
    says so, and nothing has left."""


class Happened(NamedTuple):
    """What happened beside a transaction, and what became of it."""

    at_us: int
    what: Happening
    became: str


@dataclass
class Play:
    """A run, to be played once."""

    definition: AnyDefinition
    actors: Actors
    crash: Crash | None = None
    held_us: int = 0
    """Until when somebody else has its locks."""
    meanwhile: Sequence[tuple[int, Happening]] = ()
    """What happens beside it, and when."""
    now_us: int = 0
    ended_us: int = 0
    """When it was told how it ended, or that it is parked. What comes later changes nothing."""
    told: Outcome | None = None
    """What everybody is told of its end."""
    logs: dict[str, list[Entry]] = field(default_factory=dict[str, list[Entry]])
    """By name: of the transaction itself, and of those that are part of it."""
    happened: list[Happened] = field(default_factory=list[Happened])
    _states: dict[str, State] = field(default_factory=dict[str, State])
    _prefixes: dict[str, str] = field(default_factory=dict[str, str])
    """What the branches of a part are called before the participants, beside their names."""
    _coming: list[tuple[int, int, str, Any]] = field(
        default_factory=list[tuple[int, int, str, Any]]
    )
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        script, data = self.actors.script, self.actors.data
        self._arrivals = Arrivals(self.definition, script, data, self.meanwhile)
        for at_us, what in self.meanwhile:
            self._come(at_us, what)

    def run(self, given: dict[str, Json], key: str) -> State:
        """Run until nothing is to come, not even what comes after the end, and nothing waits."""
        begun = Begun(
            definition=self.definition.hash,
            name=self.definition.name,
            version=self.definition.version,
            key=key,
            input=given,
        )
        self._begin(GID, machine.begin(GID, self.definition, begun, self.now_us), "")
        for _ in range(MOST_TURNS):
            active = machine.summary(self._states[GID]).active
            wake_us, gid = self._next_wake()
            if self._coming and (wake_us is None or self._coming[0][0] <= wake_us):
                self.now_us, _, gid, event = heapq.heappop(self._coming)
                self._hear(gid, event)
                if self._dies_after(gid, event):
                    self._take_over()
            elif wake_us is not None:
                self.now_us = max(self.now_us, wake_us)
                self._take(gid, machine.wake(self._states[gid], self.now_us))
            else:
                break
            if active:
                self.ended_us = self.now_us
        return self._states[GID]

    def parts(self) -> Iterator[tuple[str, State]]:
        """Yield what is part of it, by the step that it is for, as it is now."""
        for gid, state in self._states.items():
            if gid != GID:
                yield self._prefixes[gid].removesuffix("."), state

    def _hear(self, gid: str, event: Any) -> None:
        """Take what comes; of what happens beside the transaction, note what becomes of it."""
        if not isinstance(event, News | Order):
            self._take(gid, machine.react(self._states[gid], event, self.now_us))
            return
        became = "nobody waits for it"
        for heard in self._arrivals.happens(event, self._states[gid], self.now_us):
            if isinstance(heard, Order):
                move = machine.obey(self._states[gid], heard, self.now_us)
                refused = next(one.refused for one in move.records if isinstance(one, Ordered))
                became = f"refused: {refused}" if refused else "done"
            else:
                move = machine.react(self._states[gid], heard, self.now_us)
                became = "taken" if move.records else "it does not match"
            self._take(gid, move)
        self.happened.append(Happened(self.now_us, event, became))

    def _come(self, at_us: int, event: Any, gid: str = GID) -> None:
        heapq.heappush(self._coming, (at_us, next(self._numbers), gid, event))

    def _next_wake(self) -> tuple[int | None, str]:
        """Tell when time alone will change something, and for whom."""
        times = (
            (at_us, gid)
            for gid, state in self._states.items()
            if machine.summary(state).active and (at_us := machine.wake_at_us(state)) is not None
        )
        return min(times, default=(None, GID))

    def _begin(self, gid: str, move: Transition[Any], prefix: str) -> None:
        self.logs[gid], self._prefixes[gid] = [], prefix
        self._take(gid, move)

    def _take(self, gid: str, move: Transition[Any]) -> None:
        """Write down what is so, then send; or die in between."""
        log = self.logs[gid]
        log += [Entry(gid, n, self.now_us, one) for n, one in enumerate(move.records, len(log))]
        self._states[gid] = move.state
        for errand in children.errands(move):
            self._run_errand(gid, errand)
        if gid == GID:
            self._arrive(self._arrivals.words(move))
        looks = any(self._dies_before_look(look.step) for look in move.looks)
        if looks or any(self._dies_before(gid, send.message) for send in move.sends):
            self._take_over()
            return
        for send in move.sends:
            self._send(gid, send)
        if gid == GID:
            self._arrive(self._arrivals.seen(move, self.now_us))

    def _arrive(self, arrivals: Iterable[Arrival]) -> None:
        for after_us, event in arrivals:
            self._come(self.now_us + after_us, event)

    def _send(self, gid: str, send: Send) -> None:
        message, since_us = send.message, self.now_us
        answer, reply = DONE, Published()
        if isinstance(message, Command):
            asked = self._as_called(gid, message)
            answer, reply = self.actors.answer(str(send.participant), asked, self.now_us)
            reply = self._as_named(gid, reply) if reply is not None else None
            if answer.act is Act.LATE:
                since_us = max(since_us, self._states[gid].deadline_us)
        elif not isinstance(message, Outcome):
            since_us, reply = keeper.answer(message, self.now_us, self.held_us)
        elif gid == GID:
            self.told = message
        if reply is not None:
            self._come(since_us + answer.after_us, reply, gid)

    def _run_errand(self, gid: str, errand: Errand) -> None:
        state = self._states[gid]
        match errand:
            case Return():
                self._tell(state.begun.parent, machine.returned(state))
            case Revoke():
                self._tell(errand.child, Revoked())
            case Dismiss():
                self._tell(errand.child, Dismissed())
            case Spawn():
                self._spawn(gid, errand)
            case Heed():
                pass  # nobody orders anything of a part here

    def _tell(self, gid: str, event: Event) -> None:
        self._take(gid, machine.react(self._states[gid], event, self.now_us))

    def _spawn(self, gid: str, spawn: Spawn) -> None:
        """Begin a part; somebody stands in for another saga, of which only the name is known."""
        definition = spawn.work
        if isinstance(definition, SubSaga):
            definition = stand_in(spawn.step, definition.saga)
            spawn = children.named(gid, spawn, definition)
            self._tell(gid, Spawned(spawn.step, spawn.gid, spawn.attempt))
        begun = children.begun(self._states[gid].begun, gid, spawn, definition, GENERATION)
        first = machine.begin(spawn.gid, definition, begun, self.now_us)
        what, step, attempt = spawn.label.split("/")
        self._begin(spawn.gid, first, f"{step}.undo.{attempt}." if what == "undo" else f"{step}.")

    def _as_called(self, gid: str, command: Command) -> Command:
        """Name a branch as the participants know it: two parts may have branches of one name."""
        prefix = self._prefixes[gid]
        if not prefix or isinstance(command, Execute | Compensate):
            return command
        return structs.replace(command, branch=f"{prefix}{command.branch}")

    def _as_named(self, gid: str, reply: Reply) -> Reply:
        """Name a branch as its definition does."""
        prefix = self._prefixes[gid]
        if not prefix or isinstance(reply, Executed | Compensated):
            return reply
        return structs.replace(reply, branch=reply.branch.removeprefix(prefix))

    def _take_over(self) -> None:
        """Forget all but the log, as the next owner does."""
        self.crash = None
        for gid, log in self.logs.items():
            self._states[gid] = machine.recover(gid, self._states[gid].definition, log)
        for gid, state in tuple(self._states.items()):
            if machine.summary(state).active:
                self._take(gid, machine.resume(self._states[gid], self.now_us))

    def _dies_before(self, gid: str, message: Any) -> bool:
        crash = self.crash
        if crash is None or crash.answered or not isinstance(message, Command):
            return False
        return target(self._as_called(gid, message)) == (crash.name, crash.part)

    def _dies_before_look(self, step: str) -> bool:
        crash = self.crash
        return crash is not None and not crash.answered and step == crash.name

    def _dies_after(self, gid: str, event: Any) -> bool:
        crash = self.crash
        if crash is None or not crash.answered or not isinstance(event, Reply):
            return False
        answered = _answered(event)
        if answered is None:
            return False
        return (self._prefixes[gid] + answered[0], answered[1]) == (crash.name, crash.part)


def _answered(reply: Reply) -> tuple[str, Part] | None:
    """Tell which command a reply is the answer to."""
    match reply:
        case Executed():
            return reply.step, Part.DO
        case Compensated():
            return reply.step, Part.UNDO
        case Voted():
            return reply.branch, Part.DO
        case Settled():
            return reply.branch, Part.END
        case _:
            return None
