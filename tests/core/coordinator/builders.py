"""Definitions and events by hand, and a story that they tell.

The core's tests need no YAML and no CEL: an expression is any callable.
A Story keeps the log as a store would, as JSON, and after each turn asks
whether the log still says what the state says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from coordinator.core import machine
from coordinator.core.events import Event, Published
from coordinator.core.records import AnyRecord, Begun, Entry, decode, encode
from coordinator.core.saga_state import SagaState, StepPhase
from coordinator.core.transition import Send, Transition
from coordinator.core.two_phase import TwoPhase
from sagas.model import (
    AnyDefinition,
    Approve,
    Atomic,
    Branch,
    Call,
    EvaluationFailed,
    Expression,
    Gate,
    Json,
    OnRefused,
    OnTimeout,
    OnUndoFailure,
    OnUnknown,
    Retry,
    Saga,
    Scope,
    Start,
    Step,
    Undo,
    Wait,
)
from wire.messages import (
    Action,
    Command,
    Commit,
    Compensate,
    Compensated,
    End,
    Execute,
    Executed,
    Inquired,
    Order,
    Outcome,
    Prepare,
    Result,
    Rollback,
    Settled,
    Vote,
    Voted,
)

SECOND = 1_000_000
START_US = 1_000 * SECOND
GID = "tf1.test.1.0.00000000000070008000000000000001"

M = TypeVar("M")


# ── expressions ──────────────────────────────────────────────────────────────


def constant(value: Json) -> Expression:
    """Return the same whatever is known."""

    def give(scope: Scope) -> Json:
        del scope
        return value

    return give


def look_up(*path: str) -> Expression:
    """Follow a path from the scope's root; what is not there has no value."""

    def follow(scope: Scope) -> Json:
        found: Any = scope
        for name in path:
            if not isinstance(found, Mapping) or name not in found:
                raise EvaluationFailed(f"{'.'.join(path)} has no value")
            found = found[name]  # pyright: ignore[reportUnknownVariableType]
        return found  # pyright: ignore[reportUnknownVariableType]

    return follow


def accept_any(value: Json) -> None:
    """Let every input fit."""
    del value


# ── definitions ──────────────────────────────────────────────────────────────

NO_START = Start(topic=None, when=None, key=None)


def retry(
    attempts: int = 3,
    *,
    first_s: float = 1,
    max_s: float = 60,
    jitter: bool = True,
    budget_s: float | None = None,
) -> Retry:
    return Retry(
        attempts=attempts,
        first_us=int(first_s * SECOND),
        factor=2,
        max_us=int(max_s * SECOND),
        jitter=jitter,
        budget_us=None if budget_s is None else int(budget_s * SECOND),
    )


def branch(name: str, *, data: Expression | None = None, key: Expression | None = None) -> Branch:
    return Branch(name=name, call=Call(name, "work"), data=data or constant({"of": name}), key=key)


def atomic(
    *branches: Branch | str, vote_timeout_s: float = 5, output: Expression | None = None
) -> Atomic:
    made = [branch(b) if isinstance(b, str) else b for b in branches]
    return Atomic(
        name="transfer",
        version=1,
        hash="sha256:atomic",
        source="",
        start=NO_START,
        check_input=accept_any,
        output=output,
        vote_timeout_us=int(vote_timeout_s * SECOND),
        branches={b.name: b for b in made},
    )


def undo(
    name: str, *, attempts: int = 2, timeout_s: float = 20, data: Expression | None = None
) -> Undo:
    return Undo(
        work=Call(name, f"un{name}"),
        data=data,
        timeout_us=int(timeout_s * SECOND),
        retry=retry(attempts),
    )


def step(
    name: str,
    *needs: str,
    back: Undo | bool = True,
    pivot: bool = False,
    attempts: int = 3,
    timeout_s: float = 30,
    data: Expression | None = None,
    key: Expression | None = None,
    condition: Expression | None = None,
    on_unknown: OnUnknown = OnUnknown.RETRY,
    on_refused: OnRefused = OnRefused.COMPENSATE,
    on_undo_failure: OnUndoFailure = OnUndoFailure.PARK,
) -> Step:
    """Make a step; ``back`` is its undo, True for an ordinary one."""
    made = undo(name) if back is True else back or None
    return Step(
        name=name,
        needs=needs,
        condition=condition,
        work=Call(name, f"do{name}"),
        data=data or constant({"of": name}),
        key=key,
        timeout_us=int(timeout_s * SECOND),
        retry=retry(attempts),
        on_unknown=on_unknown,
        undo=None if pivot else made,
        pivot=pivot,
        on_refused=on_refused,
        on_undo_failure=on_undo_failure,
    )


def gate(name: str, *needs: str, pivot: bool = False) -> Step:
    """Make a step that does nothing."""
    return replace(step(name, *needs, back=False, pivot=pivot), work=Gate())


def waiting(
    name: str,
    *needs: str,
    timeout_s: float | None = None,
    on_timeout: OnTimeout = OnTimeout.FAIL,
    match: Expression | None = None,
    pivot: bool = False,
) -> Step:
    """Make a step that waits for an event on `news` about the input's `id`."""
    work = Wait(
        topic="news",
        about="event.of",
        key_of=look_up("event", "of"),
        key=look_up("input", "id"),
        match=match or constant(value=True),
        timeout_us=None if timeout_s is None else int(timeout_s * SECOND),
        on_timeout=on_timeout,
    )
    return replace(step(name, *needs, back=False, pivot=pivot), work=work)


def approving(
    name: str,
    *needs: str,
    roles: tuple[str, ...] = (),
    timeout_s: float | None = None,
    on_timeout: OnTimeout = OnTimeout.FAIL,
    pivot: bool = False,
) -> Step:
    """Make a step that waits for a person."""
    timeout_us = None if timeout_s is None else int(timeout_s * SECOND)
    work = Approve(roles=roles, timeout_us=timeout_us, on_timeout=on_timeout)
    return replace(step(name, *needs, back=False, pivot=pivot), work=work)


def saga(*steps: Step, deadline_s: float = 3600, output: Expression | None = None) -> Saga:
    return Saga(
        name="order",
        version=1,
        hash="sha256:saga",
        source="",
        start=NO_START,
        check_input=accept_any,
        output=output,
        deadline_us=int(deadline_s * SECOND),
        steps={s.name: s for s in steps},
        dependents={
            s.name: tuple(other.name for other in steps if s.name in other.needs) for s in steps
        },
    )


def begun(definition: AnyDefinition, **given: Json) -> Begun:
    return Begun(
        definition=definition.hash,
        name=definition.name,
        version=definition.version,
        key="k-1",
        input=given,
    )


# ── events ───────────────────────────────────────────────────────────────────


def voted(branch: str, vote: Vote, *, data: Json = None, reason: str = "") -> Voted:
    return Voted(gid=GID, branch=branch, vote=vote, data=data, reason=reason)


def settled(branch: str, end: End, *, reason: str = "") -> Settled:
    return Settled(gid=GID, branch=branch, end=end, reason=reason)


def inquired(branch: str) -> Inquired:
    return Inquired(gid=GID, branch=branch, participant=branch)


def executed(
    step: str,
    result: Result = Result.DONE,
    attempt: int = 1,
    *,
    data: Json = None,
    reason: str = "",
) -> Executed:
    return Executed(gid=GID, step=step, attempt=attempt, result=result, data=data, reason=reason)


def compensated(
    step: str,
    result: Result = Result.DONE,
    attempt: int = 1,
    *,
    undone: bool = True,
    reason: str = "",
) -> Compensated:
    return Compensated(
        gid=GID, step=step, attempt=attempt, result=result, undone=undone, reason=reason
    )


# ── stories ──────────────────────────────────────────────────────────────────


@dataclass
class Story:
    """One transaction, its log, its clock, and all that it ever sent."""

    definition: AnyDefinition
    gid: str = GID
    now_us: int = START_US
    log: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    sent: list[Send] = field(default_factory=list[Send])
    turns: int = 0
    versions: list[AnyDefinition] = field(default_factory=list[AnyDefinition])
    last: Transition[Any] = field(init=False)
    state: TwoPhase | SagaState = field(init=False)

    @classmethod
    def begin(cls, definition: AnyDefinition, **given: Json) -> Story:
        """Start at START_US with this input."""
        story = cls(definition)
        story.take(machine.begin(story.gid, definition, begun(definition, **given), story.now_us))
        return story

    def take(self, move: Transition[Any]) -> Transition[Any]:
        """Persist what a transition says, then count as sent what it sends."""
        self.log += [(self.now_us, encode(record)) for record in move.records]
        self.sent += move.sends
        self.state, self.last = move.state, move
        assert self.replayed() == self.state, "the log and the state have parted"
        return move

    def hear(self, event: Event) -> Transition[Any]:
        return self.take(machine.react(self.state, event, self.now_us))

    def order(
        self, action: Action, step: str = "", *, data: Json = None, role: str = ""
    ) -> Transition[Any]:
        """Let a person order something; each order has a name of its own."""
        order = Order(
            gid=self.gid,
            id=f"order-{len(self.log)}",
            action=action,
            actor="ann",
            reason="seen to",
            step=step,
            data=data,
            role=role,
        )
        return self.take(machine.obey(self.state, order, self.now_us))

    def move(self, to: AnyDefinition | None, version: int = 2) -> Transition[Any]:
        """Let a person order that it goes by another version."""
        order = Order(
            gid=self.gid,
            id=f"order-{len(self.log)}",
            action=Action.MOVE,
            actor="ann",
            reason="mended",
            to=version,
        )
        self.versions += [self.state.definition, *([] if to is None else [to])]
        return self.take(machine.obey(self.state, order, self.now_us, to))

    def publish(self) -> Transition[Any]:
        """Let the outcome be acknowledged by its topic."""
        return self.hear(Published())

    def wake(self) -> Transition[Any]:
        return self.take(machine.wake(self.state, self.now_us))

    def wait(self, seconds: float) -> Transition[Any]:
        """Let time pass, and wake once."""
        self.now_us += int(seconds * SECOND)
        return self.wake()

    def sleep(self) -> Transition[Any]:
        """Let time pass until there is something to do, and do it."""
        self.turns += 1
        assert self.turns < 1000, "it goes round in circles"
        at_us = machine.wake_at_us(self.state)
        assert at_us is not None, "nothing would ever wake it"
        self.now_us = max(self.now_us, at_us)
        return self.wake()

    def crash(self) -> Transition[Any]:
        """Forget all that is not in the log; a new owner takes over."""
        self.state = self.replayed()
        return self.wake()

    def take_over(self) -> Transition[Any]:
        """Forget all that is not in the log; a new owner sends what is outstanding."""
        self.state = self.replayed()
        return self.take(machine.resume(self.state, self.now_us))

    def park(self, reason: str) -> Transition[Any]:
        return self.take(machine.park(self.state, reason, self.now_us))

    def replayed(self) -> TwoPhase | SagaState:
        return machine.recover(self.gid, self.definition, self.entries(), self.versions)

    def entries(self) -> list[Entry]:
        return [Entry(self.gid, n, at, decode(text)) for n, (at, text) in enumerate(self.log)]

    @property
    def records(self) -> list[AnyRecord]:
        return [entry.record for entry in self.entries()]

    @property
    def txn(self) -> TwoPhase:
        assert isinstance(self.state, TwoPhase)
        return self.state

    @property
    def saga(self) -> SagaState:
        assert isinstance(self.state, SagaState)
        return self.state

    def at(self, step: str) -> StepPhase:
        return self.saga.steps[step].phase


def messages(move: Transition[Any], kind: type[M]) -> list[M]:
    """Return the messages of one kind that a transition sends."""
    return [send.message for send in move.sends if isinstance(send.message, kind)]


def told(move: Transition[Any]) -> list[str]:
    """Say in words what a transition sends, to whom."""
    return [f"{send.participant or 'anyone'} <- {describe(send.message)}" for send in move.sends]


def describe(message: Any) -> str:
    match message:
        case Prepare():
            return "Prepare one-phase" if message.one_phase else "Prepare"
        case Commit() | Rollback():
            return type(message).__name__
        case Execute() | Compensate():
            return f"{type(message).__name__} {message.attempt}"
        case Outcome():
            return f"Outcome {message.outcome}"
        case _:
            raise AssertionError(f"{message!r} is nothing that a coordinator says")


def commands(sends: list[Send]) -> list[Command]:
    """Return what was said to participants."""
    return [send.message for send in sends if isinstance(send.message, Command)]
