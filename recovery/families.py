"""A transaction and what has begun as part of it, compared with their traces as one. Pure.

How a saga went on depends on how those ended that are its steps; and what these
were given, on how far it had come. So it is rebuilt as far as it is known, then
what it is found to have begun, and then anew, until nothing more is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
from msgspec import structs

from audit.facts import Facts, Transaction
from coordinator.core import children, machine
from coordinator.core.machine import State
from coordinator.core.records import AnyRecord, Begun, ChildBegan, Entry, Outcome, WaitBegan
from coordinator.core.saga_state import Phase, SagaState
from coordinator.core.transition import Spawn, Transition
from coordinator.telemetry import identity
from recovery.parts import Versions, parts
from recovery.rebuild import inherited, proven
from recovery.starts import Said
from recovery.traces import PREPARED, Did, Part, Sent, Traces
from sagas.model import AnyDefinition, OnRefused, Saga
from wire import gids

_BACK = (Outcome.COMPENSATED, Outcome.ABORTED)


class Proved(NamedTuple):
    """A transaction as its traces prove it."""

    gid: str
    known: Transaction | None
    """What the log had of it, if anything."""
    first: tuple[AnyRecord, ...]
    """Its beginning, if that is not in the log."""
    move: Transition[Any]
    parts: tuple[Proved, ...] = ()


class Families:
    """All of which something is known."""

    def __init__(self, facts: Facts, said: Said, versions: Versions, attempts: int) -> None:
        self._facts, self._versions, self._attempts = facts, versions, attempts
        self._now_us = facts.log.now_us
        self._found = collected(facts, said)
        self.more = False
        """Whether there may be more attempts than were looked for."""

    def traces(
        self, gid: str, definition: AnyDefinition, above: frozenset[str] = frozenset()
    ) -> Traces:
        """Put together what is known of a transaction, and of its parts."""
        here = above | {definition.name}
        found = (
            replace(one, traces=self.traces(one.gid, self._follows(one), here))
            for one in parts(gid, definition, self._versions, self._attempts)
            if one.definition.name not in above
        )
        begun = tuple(one for one in found if one.traces or self._known_saga(one) is not None)
        self.more |= any(one.attempt == self._attempts for one in begun)
        return replace(self._found(gid), parts=begun)

    def _known_saga(self, part: Part) -> Transaction | None:
        known = self._facts.log.transactions.get(part.gid)
        is_saga = known is not None and isinstance(known.state, SagaState) and known.row is not None
        return known if is_saga else None

    def _follows(self, part: Part) -> AnyDefinition:
        """Return what a part follows: it may have been moved."""
        known = self._known_saga(part)
        return known.state.definition if known and known.state else part.definition

    def continued(self, known: Transaction, traces: Traces) -> Proved:
        """Go on with what the log knows."""
        assert known.state is not None, f"{known.gid} cannot be read"
        return self._proved(known.gid, known, (), known.state, traces)

    def begun(
        self, gid: str, definition: AnyDefinition, begun: Begun, at_us: int, traces: Traces
    ) -> Proved:
        """Begin what the log does not know."""
        first = machine.begin(gid, definition, begun, at_us)
        # What is to be in the same commit (the part that begins, the place at which it waits)
        # is begun once it has an owner again.
        alone = [one for one in first.records if not isinstance(one, ChildBegan | WaitBegan)]
        born = machine.recover(
            gid, definition, [Entry(gid, n, at_us, one) for n, one in enumerate(alone)]
        )
        return self._proved(gid, None, tuple(alone), born, traces)

    def _proved(
        self,
        gid: str,
        known: Transaction | None,
        first: tuple[AnyRecord, ...],
        state: State,
        traces: Traces,
    ) -> Proved:
        found: dict[str, Proved] = {}
        move = proven(state, traces, self._now_us)
        while new := [part for part in self._sagas(move.state, traces) if part.gid not in found]:
            for part in new:
                found[part.gid] = self._saga(move, part, traces)
            judged = (
                _judged(one, found[one.gid]) if one.gid in found else one for one in traces.parts
            )
            traces = replace(traces, parts=tuple(judged))
            move = proven(state, traces, self._now_us)
        for spawn in _spawns(move):
            part = next(one for one in traces.parts if one.gid == spawn.gid)
            if part.gid not in found:
                found[part.gid] = self._part(move, part, part.traces)
        return Proved(gid, known, first, move, tuple(found.values()))

    def _sagas(self, state: State, traces: Traces) -> Iterator[Part]:
        """Yield the parts that are sagas and are known to have begun."""
        steps = state.steps.values() if isinstance(state, SagaState) else ()
        begun = {step.child.gid for step in steps if step.child is not None}
        for part in traces.parts:
            known = part.gid in begun or self._known_saga(part) is not None
            if known and isinstance(part.definition, Saga):
                yield part

    def _saga(self, move: Transition[Any], part: Part, above: Traces) -> Proved:
        """Find out about a saga that is a step, with what its own saga's traces say of its end.

        Where that goes on without it, they do not say which: it was done if it can be shown.
        """
        said = inherited(move.state, above, part)
        found = self._part(move, part, said)
        step = move.state.definition.steps.get(part.step)
        may_lack = step is not None and step.on_refused is OnRefused.CONTINUE
        if may_lack and said.came_to is Outcome.COMMITTED and found.move.state.outcome is None:
            found = self._part(move, part, replace(said, came_to=Outcome.COMPENSATED))
        return found

    def _part(self, move: Transition[Any], part: Part, traces: Traces) -> Proved:
        known = self._known_saga(part)
        if known is not None:
            return self.continued(known, traces)
        parent = move.state
        spawn = next(one for one in _spawns(move) if one.gid == part.gid)
        begun = children.begun(parent.begun, parent.gid, spawn, part.definition, generation=0)
        context, above = identity.part(begun.traceparent, parent.gid, spawn.gid, spawn.label)
        begun = structs.replace(begun, traceparent=context, parent_span=above)
        return self.begun(part.gid, part.definition, begun, self._now_us, traces)


def _spawns(move: Transition[Any]) -> Iterator[Spawn]:
    for one in move.errands:
        if isinstance(one, Spawn):
            yield one


def _judged(part: Part, proved: Proved) -> Part:
    """Tell of a part how it has ended, and whether it has turned back."""
    state = proved.move.state
    over = state.phase in (Phase.CLOSED, Phase.ENDED)
    stood = (state.before or state) if state.phase is Phase.PARKED else state
    gone = stood.phase is Phase.COMPENSATING or state.outcome in _BACK
    return replace(part, end=machine.returned(state) if over else None, gone=gone)


def collected(facts: Facts, said: Said) -> Callable[[str], Traces]:
    """Put together what participants' databases hold of each transaction, and what topics say."""
    branches: dict[str, dict[str, str]] = {}
    results: dict[str, dict[str, Any]] = {}
    steps: dict[str, dict[str, Did]] = {}
    for database in facts.databases:
        for one in database.prepared:
            if (ours := gids.parse_prepared(one.name)) is not None:
                branches.setdefault(str(ours[0]), {})[ours[1]] = PREPARED
        for barrier in database.barriers.values():
            data = None if barrier.reply is None else msgspec.json.decode(barrier.reply)
            did = Did(barrier.status, data, barrier.reason)
            steps.setdefault(barrier.gid, {})[barrier.step] = did
    # A marker that is seen is later than the moment at which its branch was prepared.
    for database in facts.databases:
        for marker in database.markers.values():
            branches.setdefault(marker.gid, {})[marker.branch] = marker.status
            if marker.reply is not None:
                data = msgspec.json.decode(marker.reply)
                results.setdefault(marker.gid, {})[marker.branch] = data
    return lambda gid: Traces(
        branches=branches.get(gid, {}),
        results=results.get(gid, {}),
        steps=steps.get(gid, {}),
        told=said.told.get(gid),
        sent=said.sent.get(gid, Sent.NOTHING),
    )
