"""One run of a transaction by the real core, in virtual time, among scripted participants."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from coordinator.core import machine
from coordinator.core.events import Published
from coordinator.core.machine import State
from coordinator.core.records import Begun, Entry, Ordered
from coordinator.core.transition import Transition
from coordinator.rehearsal import keeper
from coordinator.rehearsal.actors import DONE, Act, Actors, Part, target
from coordinator.rehearsal.arrivals import Arrivals, Happening, News
from sagas.model import AnyDefinition
from wire.messages import (
    Command,
    Compensated,
    Executed,
    Json,
    Order,
    Outcome,
    Reply,
    Settled,
    Voted,
)

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
    log: list[Entry] = field(default_factory=list[Entry])
    happened: list[Happened] = field(default_factory=list[Happened])
    _coming: list[tuple[int, int, Any]] = field(default_factory=list[tuple[int, int, Any]])
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
        state = self._take(machine.begin(GID, self.definition, begun, self.now_us))
        for _ in range(MOST_TURNS):
            active = machine.summary(state).active
            wake_us = machine.wake_at_us(state) if active else None
            if self._coming and (wake_us is None or self._coming[0][0] <= wake_us):
                self.now_us, _, event = heapq.heappop(self._coming)
                state = self._hear(state, event)
                if self._dies_after(event):
                    state = self._take_over()
            elif wake_us is not None:
                self.now_us = max(self.now_us, wake_us)
                state = self._take(machine.wake(state, self.now_us))
            else:
                break
            if active:
                self.ended_us = self.now_us
        return state

    def _hear(self, state: State, event: Any) -> State:
        """Take what comes; of what happens beside the transaction, note what becomes of it."""
        if not isinstance(event, News | Order):
            return self._take(machine.react(state, event, self.now_us))
        became = "nobody waits for it"
        for heard in self._arrivals.happens(event, state, self.now_us):
            if isinstance(heard, Order):
                move = machine.obey(state, heard, self.now_us)
                refused = next(one.refused for one in move.records if isinstance(one, Ordered))
                became = f"refused: {refused}" if refused else "done"
            else:
                move = machine.react(state, heard, self.now_us)
                became = "taken" if move.records else "it does not match"
            state = self._take(move)
        self.happened.append(Happened(self.now_us, event, became))
        return state

    def _come(self, at_us: int, event: Any) -> None:
        heapq.heappush(self._coming, (at_us, next(self._numbers), event))

    def _take(self, move: Transition[Any]) -> State:
        """Write down what is so, then send; or die in between."""
        for record in move.records:
            self.log.append(Entry(GID, len(self.log), self.now_us, record))
        looks = any(self._dies_before_look(look.step) for look in move.looks)
        if looks or any(self._dies_before(send.message) for send in move.sends):
            return self._take_over()
        for send in move.sends:
            answer, reply = DONE, Published()
            since_us = self.now_us
            if isinstance(send.message, Command):
                whom = str(send.participant)
                answer, reply = self.actors.answer(whom, send.message, self.now_us)
                if answer.act is Act.LATE:
                    since_us = max(since_us, move.state.deadline_us)
            elif isinstance(send.message, Outcome):
                self.told = send.message
            else:
                since_us, reply = keeper.answer(send.message, self.now_us, self.held_us)
            if reply is not None:
                self._come(since_us + answer.after_us, reply)
        for after_us, event in self._arrivals.of(move, self.now_us):
            self._come(self.now_us + after_us, event)
        state: State = move.state
        return state

    def _take_over(self) -> State:
        """Forget all but the log, as the next owner does."""
        self.crash = None
        recovered = machine.recover(GID, self.definition, self.log)
        return self._take(machine.resume(recovered, self.now_us))

    def _dies_before(self, message: Any) -> bool:
        crash = self.crash
        if crash is None or crash.answered or not isinstance(message, Command):
            return False
        return target(message) == (crash.name, crash.part)

    def _dies_before_look(self, step: str) -> bool:
        crash = self.crash
        return crash is not None and not crash.answered and step == crash.name

    def _dies_after(self, event: Any) -> bool:
        crash = self.crash
        if crash is None or not crash.answered or not isinstance(event, Reply):
            return False
        return _answered(event) == (crash.name, crash.part)


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
