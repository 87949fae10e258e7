"""What a turn does about transactions that are parts of others: all of it in one commit.

A child begins as its parent says that it has, goes back as its parent does,
and its parent knows how it ended as soon as it has. Both live in one shard,
and a child, or who waits for one, stays in memory: so both are at hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from msgspec import structs

from coordinator.core import children, machine
from coordinator.core.events import Dismissed, Event, Revoked, Spawned
from coordinator.core.records import Begun
from coordinator.core.saga_state import SagaState
from coordinator.core.transition import Dismiss, Errand, Heed, Return, Revoke, Spawn, Transition
from coordinator.definitions import Definitions
from coordinator.holdings import Holdings, Live
from coordinator.recall import input_hash
from coordinator.telemetry import identity
from sagas.model import AnyDefinition, SubSaga
from wire.messages import Executed, Result

DEEPEST: Final = 10
"""How many sagas may be parts of one another: what goes deeper is most likely a circle."""

Begin = Callable[[str, int, AnyDefinition, Begun, str], None]
React = Callable[[Live, Event], None]


class Errands:
    """Those of one turn. ``begin`` lets a transaction begin, ``react`` tells one of an event."""

    def __init__(
        self,
        definitions: Definitions,
        holdings: Holdings,
        begin: Begin,
        react: React,
        generation: int,
    ) -> None:
        self._definitions = definitions
        self._generation = generation
        self._holdings = holdings
        self._begin = begin
        self._react = react
        self._rest: deque[tuple[Live, Errand]] = deque()
        self._running = False

    def note(self, live: Live, step: Transition[Any]) -> None:
        """Keep in mind what follows from a transition."""
        self._rest += ((live, errand) for errand in children.errands(step))

    def run(self) -> None:
        """Do one after the other, also what follows from them: a child is there before it goes."""
        if self._running:
            return
        self._running = True
        while self._rest:
            live, errand = self._rest.popleft()
            match errand:
                case Spawn():
                    self._spawn(live, errand)
                case Return():
                    self._return(live)
                case Heed():
                    self._heed(live)
                case Revoke():
                    self._revoke(errand.child)
                case Dismiss():
                    if (child := self._holdings.live.get(errand.child)) is not None:
                        self._react(child, Dismissed())
        self._running = False

    def _heed(self, child: Live) -> None:
        """Revoke a child once more: while it was parked, nothing was done about that."""
        begun, parent = child.state.begun, self._holdings.live.get(child.state.begun.parent)
        if parent is not None and children.is_revoked(parent.state, begun.step, child.gid):
            self._react(child, Revoked())
        if isinstance(child.state, SagaState) and child.state.held:
            self._return(child)  # it is done, and nobody has gone back

    def _return(self, child: Live) -> None:
        parent = self._holdings.live.get(child.state.begun.parent)
        if parent is not None:  # it was not ended by hand
            self._react(parent, machine.returned(child.state))

    def _revoke(self, name: str) -> None:
        child = self._holdings.live.get(name)
        if child is None:
            return
        self._react(child, Revoked())
        if isinstance(child.state, SagaState) and child.state.held:
            self._return(child)  # it is past its pivot

    def _spawn(self, parent: Live, spawn: Spawn) -> None:
        work, saga = spawn.work, parent.state
        if not isinstance(work, SubSaga):
            self._let_begin(parent, spawn, work)
            return
        assert isinstance(saga, SagaState), f"{parent.gid} has no steps"
        definition = self._definitions.newest(work.saga)
        why = children.objection(saga, spawn, work.saga, definition)
        if not why and self._depth(parent) >= DEEPEST:
            why = f"it would be the part of a part, {DEEPEST} times"
        if definition is None or why:
            no = Executed(
                gid=parent.gid,
                step=spawn.step,
                attempt=spawn.attempt,
                result=Result.REFUSED,
                reason=why,
            )
            self._react(parent, no)
            return
        spawn = children.named(parent.gid, spawn, definition)
        self._react(parent, Spawned(spawn.step, spawn.gid, spawn.attempt))
        if children.has(parent.state, spawn):
            self._let_begin(parent, spawn, definition)

    def _let_begin(self, parent: Live, spawn: Spawn, definition: AnyDefinition) -> None:
        """Begin a child, in the same commit as the fact that its parent has it."""
        begun = children.begun(parent.state.begun, parent.gid, spawn, definition, self._generation)
        context, above = identity.part(begun.traceparent, parent.gid, spawn.gid, spawn.label)
        begun = structs.replace(begun, traceparent=context, parent_span=above)
        self._begin(spawn.gid, parent.shard, definition, begun, input_hash(begun.input))

    def _depth(self, live: Live) -> int:
        depth = 1
        while (above := self._holdings.live.get(live.state.begun.parent)) is not None:
            live, depth = above, depth + 1
        return depth
