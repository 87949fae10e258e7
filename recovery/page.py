"""Some transactions: what the log says of each, what their traces prove, and the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from audit.facts import Facts
from coordinator.core import machine
from coordinator.core.machine import State
from coordinator.core.records import AnyRecord, Entry
from coordinator.log.store import Batch, Change, Position, Row
from coordinator.recall import input_hash
from recovery.families import Families, Proved
from recovery.locks import Holding, given, holdings
from recovery.parts import ATTEMPTS, Versions
from recovery.starts import Asked, Said
from sagas.model import AnyDefinition
from sagas.search import terms


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


def _unpublished(_name: str) -> tuple[AnyDefinition, ...]:
    return ()


class Page:
    """What is found out about some transactions, each with those that have begun as part of it."""

    def __init__(
        self,
        names: Sequence[str],
        facts: Facts,
        asked: Mapping[str, Asked],
        said: Said,
        *,
        versions: Versions = _unpublished,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._facts, self._asked = facts, asked
        self._begun: list[Row] = []
        self._changes: list[Change] = []
        self._entries: list[tuple[int, Entry]] = []
        self._holdings: list[Holding] = []
        self._families = Families(facts, said, versions, attempts)
        self.rebuilt: list[Rebuilt] = []
        self.seen: set[str] = set()
        """All of which something was found out, also as part of others."""
        for gid in sorted(names, key=self._is_part):
            if gid not in self.seen:
                self._compare(gid)

    @property
    def more(self) -> bool:
        """Whether to look for more attempts."""
        return self._families.more

    def _is_part(self, gid: str) -> bool:
        """Tell whether it is known as a part: it is rebuilt with its saga, if that is here."""
        known = self._facts.log.transactions.get(gid)
        return known is not None and known.state is not None and bool(known.state.begun.parent)

    def _compare(self, gid: str) -> None:
        known = self._facts.log.transactions.get(gid)
        if known is not None:
            if known.state is None or known.row is None:
                return  # an audit says what is wrong with it
            traces = self._families.traces(gid, known.state.definition)
            self._keep(self._families.continued(known, traces), known.row.shard)
        elif (asked := self._asked.get(gid)) is not None:
            traces = self._families.traces(gid, asked.definition)
            if traces:
                begun = asked.begun()
                found = self._families.begun(gid, asked.definition, begun, asked.at_us, traces)
                self._keep(found, asked.shard)

    def batch(self, positions: Mapping[int, Position], shards: int) -> Batch:
        """Return all that is to be persisted of it; ``shards`` are those of all stores."""
        now_us = self._facts.log.now_us
        claims = given(self._holdings, positions, shards, now_us)
        return Batch(
            list(positions.values()), self._begun, self._entries, self._changes, claims=claims
        )

    def _keep(self, found: Proved, shard: int) -> None:
        """Take what was found out about a transaction, and about those that are part of it."""
        state, records = found.move.state, (*found.first, *found.move.records)
        self.seen.add(found.gid)
        self._holdings += holdings(state)
        for part in found.parts:
            self._keep(part, shard)
        if not records:
            return
        if found.known is None:
            self._begun.append(_row(state, shard))
        else:
            summary = machine.summary(state)
            self._changes.append(Change(found.gid, shard, *summary, self._facts.log.now_us))
        self._note(found, shard, records)
        if found.known is not None or not state.begun.parent:
            self._tell(found.gid, state, lost=found.known is None)

    def _note(self, found: Proved, shard: int, records: Sequence[AnyRecord]) -> None:
        now_us = self._facts.log.now_us
        seq = max(found.known.seqs) + 1 if found.known is not None else 0
        self._entries += [
            (shard, Entry(found.gid, seq + i, now_us, record)) for i, record in enumerate(records)
        ]

    def _tell(self, gid: str, state: State, *, lost: bool) -> None:
        begun, status = state.begun, machine.summary(state).status
        self.rebuilt.append(
            Rebuilt(gid, begun.name, begun.key, lost=lost, status=status, outcome=state.outcome)
        )


def _row(state: State, shard: int) -> Row:
    """Return the row of what the log lacked."""
    begun, definition = state.begun, state.definition
    return Row(
        state.gid,
        shard,
        begun.name,
        begun.definition,
        begun.key,
        input_hash(begun.input),
        state.began_us,
        *machine.summary(state),
        search=terms(definition.index, begun.input, definition.private),
    )
