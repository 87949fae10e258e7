"""A saga: what its participants may do, and what must be true of it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Final, NamedTuple

from msgspec.structs import replace

from coordinator.core.records import Closed, Outcome
from coordinator.core.saga_state import Asked, SagaState
from participants import step as barrier
from participants.step import Status, absorb, settle
from sagas.model import Saga
from tests.core.coordinator.builders import GID
from tests.search.explore import Step, Violation
from tests.search.fair import Fairness
from tests.search.log import NOW, Log
from tests.search.owner import FAR, LONG_AGO, Core, Kind
from tests.search.shard import Action, Ending, Faults, Numbers, Part, Shard, State, bits, describe
from wire.messages import Compensate, Compensated, Execute, Executed, Result

DUE: Final = 0


# ── what can matter again ────────────────────────────────────────────────────


def _simplify(saga: SagaState) -> SagaState:
    steps = {
        name: replace(
            state,
            since_us=FAR if state.since_us > NOW else DUE,
            deferrals=0,
            data=None,
            reason="",
        )
        for name, state in saga.steps.items()
    }
    asked = {
        name: Asked((state.phase, state.attempt, DUE), NOW)
        for name, state in saga.steps.items()
        if name in saga.asked
        and saga.asked[name].attempt == (state.phase, state.attempt, state.since_us)
    }
    tell_at_us = FAR if saga.tell_at_us > NOW else 0
    return replace(
        saga, began_us=NOW, steps=steps, asked=asked, tell_at_us=tell_at_us, output=None, reason=""
    )


def _durable(saga: SagaState) -> Hashable:
    steps = tuple((state.phase, state.attempt) for state in saga.steps.values())
    return saga.phase, saga.outcome, steps


def _key(saga: SagaState) -> Hashable:
    waits = tuple(state.since_us for state in saga.steps.values())
    return _durable(saga), waits, tuple(saga.asked), saga.tell_at_us, saga.told


KIND: Final = Kind(_simplify, _key, _durable)


class Barrier(NamedTuple):
    """What one step's database says: its row, and what was really done."""

    status: Status = Status.FRESH
    effects: int = 0
    undos: int = 0


MOODS: Final = frozenset({Result.BUSY, Result.FAILED})


class SagaWorld(Shard):
    """The steps of a saga, each with a database of its own.

    A step, its barrier and its effect are one local transaction. A participant
    that dies before its commit has done nothing; after it, its answer is lost.
    Both are here without a fault of their own, since any message may be lost.
    """

    def __init__(self, name: str, definition: Saga, faults: Faults) -> None:
        super().__init__(Core(definition, tuple(definition.steps), KIND), faults)
        self.name, self.definition = name, definition
        self.bases: Numbers[Barrier] = Numbers(Barrier())
        self._ends: dict[tuple[int, Part], list[tuple[int, Ending]]] = {}
        self._true: set[tuple[int, tuple[Part, ...]]] = set()
        self._above = {n: _built_on(definition, n) for n in definition.steps}

        self._fair = Fairness(self)

    def start(self) -> State:
        """Return the first state."""
        return self.beginning(0)

    def canonical(self, state: State) -> tuple[State, tuple[int, ...]]:
        """Return the state with all answers that only repeat: its steps are all different."""
        parts = tuple(
            (base, self.answered(part, base, said)) for part, (base, said) in enumerate(state.parts)
        )
        return State(state.owner, state.log, parts, state.faults), ()

    def steps(self, state: State) -> Iterator[Step]:
        """Yield all that can happen next."""
        yield from self.owner_steps(state)
        yield from self.participant_steps(state)

    # ── time ─────────────────────────────────────────────────────────────────

    def moments(self) -> tuple[bool, ...]:
        """A pivot that is busy may be so past the deadline."""
        return False, True

    def timers(self, view: int) -> Iterable[tuple[Hashable, SagaState]]:
        """Yield: the deadline; and for each step, its pause is over, or its silence too long."""
        saga: SagaState = self.core[view]
        yield "the deadline passes", replace(saga, began_us=LONG_AGO)
        if saga.tell_at_us:
            yield "it tells the outcome again", replace(saga, tell_at_us=0)
        for name, state in saga.steps.items():
            if state.since_us == FAR:
                steps = {**saga.steps, name: replace(state, since_us=DUE)}
                yield f"the pause of {name} is over", replace(saga, steps=steps)
            if name in saga.asked:
                asked = {**saga.asked, name: saga.asked[name]._replace(sent_us=LONG_AGO)}
                yield f"{name} has been silent for too long", replace(saga, asked=asked)

    # ── participants ─────────────────────────────────────────────────────────

    def participant_steps(self, state: State) -> Iterator[Step]:
        """Yield what participants may do with any command that was ever sent to them."""
        faults, parts = state.faults, state.parts
        for part, place in enumerate(parts):
            ends = self._ends.get((part, place))
            if ends is None:
                ends = self._ends[part, place] = list(self._answers(part, *place))
            for number, end in ends:
                if end.moods > faults.moods:
                    continue
                left = faults._replace(moods=faults.moods - end.moods) if end.moods else faults
                after = (*parts[:part], (end.base, place[1] | end.said), *parts[part + 1 :])
                action = ("step", part, number, end.how)
                yield Step(action, State(state.owner, state.log, after, left))

    def _answers(self, part: int, base: int, said: int) -> Iterator[tuple[int, Ending]]:
        for number in bits(said & self.core.messages.commands):
            for end in self.ends(part, base, number):
                if end.base != base or end.said & ~said:
                    yield number, end

    def ends(self, part: int, base: int, number: int) -> Iterator[Ending]:
        """Yield how a command may end: the database, the answer, and what it took."""
        command, before = self.core.messages[part, number], self.bases[base]
        forward = isinstance(command, Execute)
        asked = barrier.Asked.EXECUTE if forward else barrier.Asked.COMPENSATE
        entry = barrier.Entry(before.status)
        settled = settle(entry, asked)
        if settled is not None:
            yield self._ending(before, command, settled[0].status, settled[1])
            return
        for result in Result:
            undone = not forward and result is Result.DONE
            made = barrier.Reply(result, undone=undone)
            done = int(result is Result.DONE)
            after = before._replace(
                effects=before.effects + done * forward,
                undos=before.undos + done * (not forward),
            )
            yield self._ending(after, command, absorb(entry, asked, made).status, made)

    def _ending(
        self, after: Barrier, command: Execute | Compensate, status: Status, made: barrier.Reply
    ) -> Ending:
        answer = reply(command, made)
        return Ending(
            self.bases.number(after._replace(status=status)),
            1 << self.core.messages.number(answer)[1],
            describe(answer),
            int(
                made.result in MOODS or (made.result, type(command)) == (Result.REFUSED, Compensate)
            ),
        )

    # ── what must be true ────────────────────────────────────────────────────

    def check_log(self, log: Log, action: Action) -> None:
        """One outcome, and only one."""
        super().check_log(log, action)
        if sum(isinstance(r, Closed) for r in log.facts) > 1:
            raise Violation("closed twice", action)

    def check(self, state: State) -> None:
        """Check what was really done against what was said, and against the outcome."""
        place = (state.log, state.parts)
        if place not in self._true:
            for text, so in self._truths(self.logs[state.log], state.parts):
                if not so:
                    raise Violation(text)
            self._true.add(place)
        self._fair.check(state)

    def _truths(self, log: Log, parts: tuple[Part, ...]) -> Iterator[tuple[str, bool]]:
        names = self.core.names
        rows = {name: self.bases[base] for name, (base, _) in zip(names, parts, strict=True)}
        said = {
            name: [self.core.messages[i, n] for n in bits(parts[i][1])]
            for i, name in enumerate(names)
        }
        asked = {n for n in names if any(isinstance(m, Execute) for m in said[n])}
        undone = {n for n in names if any(isinstance(m, Compensate) for m in said[n])}
        gone = {Status.REFUSED, Status.SEALED, Status.UNDONE}
        for name, row in rows.items():
            step = self.definition.steps[name]
            yield f"{name} took effect twice", row.effects <= 1
            yield f"{name} was undone without effect, or twice", row.undos <= row.effects
            if name in asked:
                early = f"{name} was asked for before what it needs was done"
                yield early, all(rows[need].effects == 1 for need in step.needs)
            if name in undone:
                early = f"{name} is undone before what was built on it"
                above = asked & self._above[name]
                yield early, all(rows[other].status in gone for other in above)
                yield f"{name} is undone and has no undo", step.undo is not None
            if step.pivot and (name in asked or row.effects):
                back = f"the saga goes back past its pivot {name}"
                yield back, not undone or row.status is Status.REFUSED
            attempts = max((m.attempt for m in said[name] if isinstance(m, Execute)), default=0)
            yield f"{name} has more attempts than allowed", attempts <= step.retry.attempts
        closed = [r.outcome for r in log.facts if isinstance(r, Closed)]
        if closed:
            yield f"the outcome {closed[0]} is not so", self._is_so(closed[0], rows)

    def _is_so(self, outcome: Outcome, rows: dict[str, Barrier]) -> bool:
        match outcome:
            case Outcome.COMMITTED:
                return all(row[1:] == (1, 0) for row in rows.values())
            case Outcome.ABORTED:
                return not any(row.effects for row in rows.values())
            case _:
                return all(
                    row.effects == row.undos or self.definition.steps[name].undo is None
                    for name, row in rows.items()
                )

    # ── in words ─────────────────────────────────────────────────────────────

    def tell(self, action: Action, names: tuple[int, ...]) -> str:
        """Say in words what happened."""
        match action:
            case ("step", part, number, how):
                said = describe(self.core.messages[part, number])
                return f"step {self.core.names[part]} is given {said}; it answers {how}"
            case _:
                return self.tell_owner(action, names)


def _built_on(definition: Saga, name: str) -> set[str]:
    above = set(definition.dependents[name])
    return above.union(*(_built_on(definition, other) for other in above))


def reply(command: Execute | Compensate, made: barrier.Reply) -> Executed | Compensated:
    """Put an answer into a message."""
    if isinstance(command, Execute):
        return Executed(gid=GID, step=command.step, attempt=command.attempt, result=made.result)
    return Compensated(
        gid=GID,
        step=command.step,
        attempt=command.attempt,
        result=made.result,
        undone=made.undone,
    )
