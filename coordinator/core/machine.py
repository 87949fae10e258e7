"""One door to both machines.

    begin     a start, accepted                → its first transition
    react     an event                         → a transition
    obey      a person's order                 → a transition, which says what became of it
    wake      time has passed                  → a transition with all that is due
    recover   the log                          → the state it says
    resume    a recovered state                → a transition with all that is outstanding

A transition holds records to persist and then messages to send, in this order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from coordinator.core import orders, saga, saga_table, two_phase, two_phase_table, waiting
from coordinator.core.events import Event, Moving, Returned, kind
from coordinator.core.records import Begun, Entry, Moved, Parked
from coordinator.core.saga_state import SagaState
from coordinator.core.transition import Look, Rules, Summary, Transition
from coordinator.core.two_phase import TwoPhase
from sagas.model import AnyDefinition, Saga
from wire.messages import Action, Inquired, Order, Settled, Voted

State: TypeAlias = TwoPhase | SagaState

SLEEP_US: Final = 60_000_000
"""Who waits for longer is not worth anybody's memory."""

_OF_A_BRANCH: Final = (Voted, Settled, Inquired)


def begin(gid: str, definition: AnyDefinition, begun: Begun, now_us: int) -> Transition[Any]:
    """Start a transaction."""
    state = _born(gid, definition, begun, now_us)
    machine: Any = _machine(state)
    first: Transition[Any] = machine.begin(state, now_us)
    return replace(first, records=(begun, *first.records))


def react(state: State, event: Event, now_us: int) -> Transition[Any]:
    """Apply the table's rule for this event, then send what the new state calls for."""
    machine: Any = _machine(state)
    rule = _rules(state).get((state.phase, kind(event)))
    if rule is None:
        return Transition(state, dropped=f"{kind(event)} means nothing to a {_kind(state)}")
    if isinstance(event, _OF_A_BRANCH) and not _has_branch(state, event.branch):
        return Transition(state, dropped=f"no branch {event.branch!r}")
    if rule.act is None:
        return Transition(state, dropped=rule.reason)
    step = rule.act(state, event, now_us)
    return step if step.dropped else machine.dispatch(step, now_us)


def obey(
    state: State, order: Order, now_us: int, to: AnyDefinition | None = None
) -> Transition[Any]:
    """Carry out an order, or refuse it: either is written down.

    ``to`` is the version to which a transaction is to be moved, if it is published.
    """
    event = Moving(order, to) if order.action is Action.MOVE else order
    step = react(state, event, now_us)
    return orders.obeyed(state, order, now_us, step.dropped) if step.dropped else step


def wake(state: State, now_us: int) -> Transition[Any]:
    """Apply all that time has brought, then send what is due and not yet asked."""
    machine: Any = _machine(state)
    step: Transition[Any] = Transition(state)
    for event in tuple(machine.due(state, now_us)):
        rule = _rules(state)[step.state.phase, kind(event)]
        if rule.act is not None:
            brought = rule.act(step.state, event, now_us)
            step = Transition(brought.state, (*step.records, *brought.records))
    return machine.dispatch(step, now_us)


def resume(state: State, now_us: int) -> Transition[Any]:
    """Send what the state calls for: all that is outstanding, if the state was just recovered."""
    machine: Any = _machine(state)
    return machine.dispatch(Transition(state), now_us)


def park(state: State, reason: str, now_us: int) -> Transition[Any]:
    """Leave a transaction to a person, whatever it was doing."""
    machine: Any = _machine(state)
    step: Transition[Any] = Transition(state)
    return machine.dispatch(step.remember(Parked(reason=reason), now_us), now_us)


def followed(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Name the definitions by which a transaction has gone, by hash: the first, and others."""
    records = (entry.record for entry in entries)
    return tuple(record.definition for record in records if isinstance(record, Begun | Moved))


def versions(state: State) -> Collection[AnyDefinition]:
    """Return all versions by which it has gone, if it was moved."""
    return tuple(state.versions.values()) if isinstance(state, SagaState) else ()


def moved_to(state: State) -> str | None:
    """Name the definition by which it goes since it was moved, by hash; None if it was not."""
    return state.begun.definition if versions(state) else None


def knowing(state: State, later: State) -> State:
    """Return a state that knows the versions to which it was moved later."""
    if isinstance(state, SagaState) and isinstance(later, SagaState) and later.versions:
        return replace(state, versions=later.versions)
    return state


def recover(
    gid: str,
    definition: AnyDefinition,
    entries: Iterable[Entry],
    versions: Iterable[AnyDefinition] = (),
) -> State:
    """Replay a transaction's log. ``versions`` are all by which it has gone, if it was moved."""
    rest, known = iter(entries), {one.hash: one for one in versions}
    first = next(rest)
    assert isinstance(first.record, Begun), f"{gid}: the log does not begin with its beginning"
    definition = known.get(first.record.definition, definition)
    state = _born(gid, definition, first.record, first.at_us)
    if isinstance(state, SagaState) and known:
        sagas = {hash_: one for hash_, one in known.items() if isinstance(one, Saga)}
        state = replace(state, versions=sagas)
    for entry in rest:
        state = state.evolve(entry.record, entry.at_us)
    return state


def returned(state: State) -> Returned:
    """Tell how a transaction has ended, to the one that it is a part of."""
    assert state.outcome is not None, f"{state.gid} has not ended"
    if isinstance(state, SagaState):
        output = state.output
    else:
        output = state.decided.output if state.decided else None
    step = state.begun.step
    return Returned(step, state.gid, state.outcome, data=output, reason=state.reason)


def told(state: State) -> State:
    """Return the state of a transaction whose outcome is known to be told."""
    return replace(state, told=True)


def wake_at_us(state: State) -> int | None:
    """Tell when `wake` has something to do, if nothing happens before."""
    machine: Any = _machine(state)
    return machine.wake_at_us(state)


def summary(state: State) -> Summary:
    """Tell what the transaction's row shows."""
    machine: Any = _machine(state)
    return machine.summary(state)


def shown(state: State, now_us: int) -> Summary:
    """Tell what the row shows of a state that is settled: one that waits for long may sleep.

    Not one that is a part of another, which may speak to it at any time. And only
    one that expects no answer: what was asked is not in the log, and would
    be asked again, and its time would count anew.
    """
    told = summary(state)
    machine: Any = _machine(state)
    if not told.active or state.begun.parent or machine.expects_answers(state):
        return told
    wake_us = wake_at_us(state)
    if wake_us is None or wake_us - now_us < SLEEP_US:
        return told
    return told._replace(active=False, wake_at_us=wake_us)


def waits(state: State) -> frozenset[Look]:
    """Tell for which events it waits."""
    return waiting.waits(state) if isinstance(state, SagaState) else frozenset()


def _born(gid: str, definition: AnyDefinition, begun: Begun, at_us: int) -> State:
    if isinstance(definition, Saga):
        return SagaState.born(gid, definition.as_written or definition, begun, at_us)
    return TwoPhase.born(gid, definition, begun, at_us)


def _machine(state: State) -> Any:
    return saga if isinstance(state, SagaState) else two_phase


def _rules(state: State) -> Rules:
    return saga_table.RULES if isinstance(state, SagaState) else two_phase_table.RULES


def _kind(state: State) -> str:
    return "saga" if isinstance(state, SagaState) else "atomic transaction"


def _has_branch(state: State, branch: str) -> bool:
    return isinstance(state, TwoPhase) and branch in state.definition.branches
