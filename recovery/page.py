"""Some transactions: what the log says of each, what their traces prove, and the difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from audit.facts import Facts, Transaction
from coordinator.core import children, machine
from coordinator.core.machine import State
from coordinator.core.records import AnyRecord, ChildBegan, Entry, WaitBegan
from coordinator.core.transition import Spawn, Transition
from coordinator.log.store import Batch, Change, Position, Row
from coordinator.recall import input_hash
from recovery.locks import Holding, given, holdings
from recovery.parts import parts
from recovery.rebuild import PREPARED, Did, Sent, Traces, proven, rebuild
from recovery.starts import Asked, Said
from sagas.model import SubSaga
from sagas.search import terms
from wire import gids


class Rebuilt(NamedTuple):
    """A transaction of which the log knew less than it does now."""

    gid: str
    name: str
    key: str
    lost: bool
    """Whether the log lacked it altogether."""
    status: str
    outcome: str | None
    """What stands, be it told or not."""


class Page:
    """What is found out about some transactions."""

    def __init__(
        self, names: Sequence[str], facts: Facts, asked: Mapping[str, Asked], said: Said
    ) -> None:
        self._facts, self._asked = facts, asked
        self._begun: list[Row] = []
        self._changes: list[Change] = []
        self._entries: list[tuple[int, Entry]] = []
        self._holdings: list[Holding] = []
        self.rebuilt: list[Rebuilt] = []
        self.parts: set[str] = set()
        """What may have begun as part of them."""
        found = collected(facts, said)
        for gid in names:
            self._compare(gid, found)

    def _compare(self, gid: str, found: Callable[[str], Traces]) -> None:
        known = self._facts.log.transactions.get(gid)
        state = known.state if known is not None else None
        definition = state.definition if state is not None else self._asked.get(gid)
        if definition is None:
            return  # an audit says what is wrong with it
        if isinstance(definition, Asked):
            definition = definition.definition
        names = tuple(parts(gid, definition))
        traced = {name: found(name) for name in names}
        traces = replace(found(gid), parts={name: one for name, one in traced.items() if one})
        if known is not None:
            self._continue(known, traces)
        elif traces:
            self._begin(self._asked[gid], traces)
        self.parts.update(traces.parts)

    def batch(self, positions: Mapping[int, Position], shards: int) -> Batch:
        """Return all that is to be persisted of it; ``shards`` are those of all stores."""
        now_us = self._facts.log.now_us
        claims = given(self._holdings, positions, shards, now_us)
        return Batch(
            list(positions.values()), self._begun, self._entries, self._changes, claims=claims
        )

    def _continue(self, known: Transaction, traces: Traces) -> None:
        if known.state is None or known.row is None:
            return  # an audit says what is wrong with it
        move = proven(known.state, traces, self._facts.log.now_us)
        state, records, shard = move.state, move.records, known.row.shard
        self._holdings += holdings(state)
        if not records:
            return
        self._note(known.gid, shard, max(known.seqs) + 1, records)
        self._begin_parts(move, shard, traces)
        summary = machine.summary(state)
        self._changes.append(Change(known.gid, shard, *summary, self._facts.log.now_us))
        self._tell(known.gid, state, lost=False)

    def _begin(self, asked: Asked, traces: Traces) -> None:
        definition = asked.definition
        first = machine.begin(asked.gid, definition, asked.begun(), asked.at_us)
        # What is to be in the same commit (the part that begins, the place at which it waits)
        # is begun once it has an owner again.
        alone = [one for one in first.records if not isinstance(one, ChildBegan | WaitBegan)]
        entries = [Entry(asked.gid, n, asked.at_us, one) for n, one in enumerate(alone)]
        born = machine.recover(asked.gid, definition, entries)
        move = proven(born, traces, self._facts.log.now_us)
        state, more = move.state, move.records
        self._holdings += holdings(state)
        self._note(asked.gid, asked.shard, 0, (*alone, *more))
        self._begin_parts(move, asked.shard, traces)
        self._begun.append(
            Row(
                asked.gid,
                asked.shard,
                definition.name,
                definition.hash,
                asked.begin.key,
                input_hash(asked.begin.input),
                asked.at_us,
                *machine.summary(state),
                search=terms(definition.index, asked.begin.input, definition.private),
            )
        )
        self._tell(asked.gid, state, lost=True)

    def _begin_parts(self, move: Transition[Any], shard: int, traces: Traces) -> None:
        """Begin what has begun as part of a saga, in the commit in which that knows it."""
        now_us, parent = self._facts.log.now_us, move.state
        for spawn in move.errands:
            if not isinstance(spawn, Spawn) or isinstance(spawn.work, SubSaga):
                continue
            begun = children.begun(parent.begun, parent.gid, spawn, spawn.work, generation=0)
            born = machine.recover(spawn.gid, spawn.work, [Entry(spawn.gid, 0, now_us, begun)])
            state, more = rebuild(born, traces.parts[spawn.gid], now_us)
            self._note(spawn.gid, shard, 0, (begun, *more))
            digest, summary = input_hash(begun.input), machine.summary(state)
            row = (spawn.gid, shard, begun.name, begun.definition, begun.key, digest, now_us)
            self._begun.append(Row(*row, *summary))

    def _note(self, gid: str, shard: int, seq: int, records: Sequence[AnyRecord]) -> None:
        now_us = self._facts.log.now_us
        self._entries += [
            (shard, Entry(gid, seq + i, now_us, record)) for i, record in enumerate(records)
        ]

    def _tell(self, gid: str, state: State, *, lost: bool) -> None:
        begun, status = state.begun, machine.summary(state).status
        self.rebuilt.append(
            Rebuilt(gid, begun.name, begun.key, lost=lost, status=status, outcome=state.outcome)
        )


def collected(facts: Facts, said: Said) -> Callable[[str], Traces]:
    """Put together what participants' databases hold of each transaction, and what topics say."""
    branches: dict[str, dict[str, str]] = {}
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
    return lambda gid: Traces(
        branches.get(gid, {}),
        steps.get(gid, {}),
        said.told.get(gid),
        said.sent.get(gid, Sent.NOTHING),
    )
