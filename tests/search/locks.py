"""Some sagas that want the same locks, and everything that was ever said between them.

A message may be delivered at any time, any number of times, or never. Owners of
sagas' shards are replaced at any moment: what they had not written is gone. An
owner of a lock's shard has nothing but what it has written, so its takeover
changes nothing here. Every state is also tried out: once nothing is lost any
more, all sagas end and all locks are free.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace as with_
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec.structs import replace

from coordinator.core import lock as locks
from coordinator.core import machine
from coordinator.core.events import DeadlinePassed, Published
from coordinator.core.lock import Lock
from coordinator.core.records import Locked
from coordinator.core.saga_state import Phase, SagaState, Talk
from coordinator.core.transition import Transition
from sagas.model import Busy
from sagas.model import Lock as Needs
from tests.core.coordinator.builders import begun, constant, executed, saga, step
from tests.search.explore import Step, Violation
from tests.search.log import NOW
from tests.search.shard import Numbers, bits
from wire.messages import (
    Action,
    LockAsk,
    LockDenied,
    LockGranted,
    LockMessage,
    LockRelease,
    LockReleased,
    Order,
)

FAR: Final = NOW * 2
ROUNDS: Final = 60


class State(NamedTuple):
    """The queues, the sagas by number, and what was ever said."""

    queues: tuple[tuple[str, ...], ...]
    sagas: tuple[int, ...]
    said: int
    """As bits, by the numbers of messages."""


class Effect(NamedTuple):
    """What a saga, by its number, or a queue becomes, and what it says."""

    after: Any
    said: int


Views: TypeAlias = tuple[SagaState, frozenset[str]]
"""A saga, and the locks that it goes on beside."""


@dataclass(frozen=True)
class Wants:
    """What one saga of a world needs."""

    keys: tuple[str, ...]
    busy: Busy = Busy.WAIT
    parks: bool = False


class LockWorld:
    """A world of sagas and locks."""

    def __init__(self, name: str, *wants: Wants) -> None:
        self.name = name
        self._wants = wants
        self._names = sorted({key for want in wants for key in want.keys})
        self._views: list[Views] = []
        self._numbers: dict[Any, int] = {}
        self._proven: set[Any] = set()
        self._messages = Numbers[LockMessage]()
        self._effects: dict[Any, Any] = {}

    def start(self) -> State:
        """Let all sagas begin."""
        said, sagas = 0, list[int]()
        for i, want in enumerate(self._wants):
            definition = with_(
                saga(step("a", data=constant(None))),
                lock=Needs(key=constant(list(want.keys)), busy=want.busy),
            )
            move = machine.begin(_gid(i), definition, begun(definition), NOW)
            sagas.append(self._number(move.state, frozenset()))
            said |= self._said(move)
        return State(((),) * len(self._names), tuple(sagas), said)

    def canonical(self, state: State) -> tuple[State, tuple[int, ...]]:
        """Return it as it is: who began first matters."""
        return state, tuple(range(9))

    # ── what can happen ──────────────────────────────────────────────────────

    def steps(self, state: State) -> Iterator[Step]:
        """Yield all that can happen next."""
        for number in bits(state.said):
            yield Step(("hears", self._messages[number]), self._hear(state, number))
        for i, number in enumerate(state.sagas):
            for what, effect in self._moves(number):
                yield Step((what, i), _with_saga(state, i, effect))

    def _moves(self, number: int) -> list[tuple[str, Effect]]:
        """Return what may become of a saga by itself."""
        if number not in self._effects:
            made = self._move(number)
            self._effects[number] = [(what, self._effect(number, move)) for what, move in made]
        return self._effects[number]

    def _move(self, number: int) -> Iterator[tuple[str, Transition[Any]]]:
        view: SagaState = self._views[number][0]
        i = int(view.gid[-1])
        if not machine.summary(view).active:
            if view.phase is Phase.PARKED:
                yield "is ended by a person", machine.obey(view, _order(i, Action.ROLLBACK), NOW)
                yield "is tried again", machine.obey(view, _order(i, Action.RETRY), NOW)
            return
        forgot = replace(view, asked={}, told=False, talk=Talk(), tell_at_us=0, freed=frozenset())
        yield "is taken over", machine.resume(forgot, NOW)
        if view.phase is Phase.LOCKING:
            yield "is past its deadline", machine.react(view, DeadlinePassed(), NOW)
        if view.phase is Phase.RUNNING:
            yield "does its step", machine.react(view, _done(i), NOW)
            if self._wants[i].parks:
                yield "is parked", machine.park(view, "for a test", NOW)
        if view.outcome is not None and not view.told:
            yield "is told", machine.react(view, Published(), NOW)
        yield "speaks", machine.wake(replace(view, talk=Talk()), NOW)

    def _effect(self, number: int, move: Transition[Any]) -> Effect:
        beside = self._views[number][1]
        beside |= {r.lock for r in move.records if isinstance(r, Locked) and r.beside}
        return Effect(self._number(move.state, beside), self._said(move))

    def _hear(self, state: State, number: int) -> State:
        message = self._messages[number]
        if isinstance(message, LockAsk | LockRelease):
            place = self._names.index(message.lock)
            key: Any = (place, state.queues[place], number)
            if key not in self._effects:
                move = locks.react(self._lock(state, place), message, NOW)
                queue = tuple(claim.gid for claim in move.state.claims)
                self._effects[key] = Effect(queue, self._said(move))
            effect: Effect = self._effects[key]
            queues = (*state.queues[:place], effect.after, *state.queues[place + 1 :])
            return State(queues, state.sagas, state.said | effect.said)
        i = int(message.gid[-1])
        key = (state.sagas[i], number)
        if key not in self._effects:
            self._effects[key] = self._heard(state.sagas[i], message)
        return _with_saga(state, i, self._effects[key])

    def _heard(self, number: int, message: LockMessage) -> Effect:
        view = self._views[number][0]
        if machine.summary(view).active:
            return self._effect(number, machine.react(view, message, NOW))
        if isinstance(message, LockGranted) and view.phase is Phase.ENDED:
            release = LockRelease(gid=message.gid, lock=message.lock)
            return Effect(number, 1 << self._messages.number(release))
        return Effect(number, 0)

    def _said(self, move: Transition[Any]) -> int:
        said = [send.message for send in move.sends if isinstance(send.message, LockMessage)]
        return sum(1 << number for number in {self._messages.number(one) for one in said})

    def _lock(self, state: State, place: int) -> Lock:
        claims = (
            locks.Claim(gid, n, NOW, None if n else NOW)
            for n, gid in enumerate(state.queues[place])
        )
        return Lock(self._names[place], tuple(claims))

    def _number(self, view: SagaState, beside: frozenset[str]) -> int:
        calm = replace(view, asked={}, talk=Talk(FAR), tell_at_us=FAR)
        before = view.before.phase if view.before else None
        told = view.told if view.phase in (Phase.CLOSED, Phase.PARKED) else None
        key = (view.gid, view.phase, before, view.passed, view.freed, told, beside)
        found = self._numbers.setdefault(key, len(self._views))
        if found == len(self._views):
            self._views.append((calm, beside))
        return found

    # ── what must be true ────────────────────────────────────────────────────

    def check(self, state: State) -> None:
        """Insist on one holder, which the lock knows, and on an end."""
        for place, name in enumerate(self._names):
            inside = [view.gid for view in self._inside(state, name)]
            if len(inside) > 1:
                raise Violation(f"{name} has two holders")
            if inside and state.queues[place][:1] != tuple(inside):
                raise Violation(f"{name} does not know its holder")
        if (state.queues, state.sagas) not in self._proven:
            self._proven.add((state.queues, state.sagas))
            self._insist_on_an_end(state)

    def _inside(self, state: State, name: str) -> Iterator[SagaState]:
        for number in state.sagas:
            view, beside = self._views[number]
            stands = view.before or view
            has = name in view.locks[: view.passed] and name not in beside
            if has and stands.phase in (Phase.RUNNING, Phase.COMPENSATING):
                yield view

    def _insist_on_an_end(self, state: State) -> None:
        """Let nothing be lost any more, and nothing old be heard again."""
        state = state._replace(said=0)
        for _ in range(ROUNDS):
            if not any(state.queues) and all(self._is_over(n) for n in state.sagas):
                return
            state = self._fair_round(state)
        raise Violation("no end is reached, though nothing is lost any more")

    def _is_over(self, number: int) -> bool:
        return self._views[number][0].phase is Phase.ENDED

    def _fair_round(self, state: State) -> State:
        heard, state = state.said, state._replace(said=0)
        for number in bits(heard):
            state = self._hear(state, number)
        for i in range(len(state.sagas)):
            wanted = ("does its step", "is told", "is ended by a person", "speaks")
            for what, effect in self._moves(state.sagas[i]):
                if what in wanted:
                    state = _with_saga(state, i, effect)
                    break
        for place in range(len(self._names)):
            probed = locks.probe(replace(self._lock(state, place), probe_at_us=0), NOW)
            state = state._replace(said=state.said | self._said(probed))
        return state

    def tell(self, action: tuple[Any, ...], names: tuple[int, ...]) -> str:
        """Say in words what happened."""
        del names
        match action:
            case ("hears", message):
                return f"{_heard_by(message)} hears {message}"
            case (what, i):
                return f"saga {i} {what}"
            case _:
                return str(action)


def _heard_by(message: LockMessage) -> str:
    match message:
        case LockAsk() | LockRelease():
            return message.lock
        case LockGranted() | LockDenied() | LockReleased():
            return f"saga {message.gid[-1]}"


def _with_saga(state: State, i: int, effect: Effect) -> State:
    sagas = (*state.sagas[:i], effect.after, *state.sagas[i + 1 :])
    return State(state.queues, sagas, state.said | effect.said)


def _gid(i: int) -> str:
    return f"tf1.test.1.0.0000000000007000800000000000000{i}"


def _done(i: int) -> Any:
    answer = executed("a")
    return type(answer)(gid=_gid(i), step=answer.step, attempt=1, result=answer.result)


def _order(i: int, action: Action) -> Order:
    return Order(gid=_gid(i), id="o", action=action, actor="ann", reason="seen to")
