"""Transactions that come from the log into memory: at a takeover, or because they are spoken of.

Who sleeps is read again shortly before its time. What is let go of, and when,
is the turn's business: see `Turn.let_rest`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from coordinator.core import machine
from coordinator.core.machine import State
from coordinator.core.records import Entry, Ordered
from coordinator.core.transition import Status
from coordinator.definitions import Definitions
from coordinator.holdings import Live
from sagas.model import AnyDefinition
from wire import gids


class DefinitionGone(Exception):
    """A transaction follows a definition that the log does not have."""


def replay(entries: Sequence[Entry], definitions: Definitions) -> State:
    """Return the state that a transaction's records tell.

    Raises:
        DefinitionGone: its definition is not there.

    """
    gid = entries[0].gid
    versions: list[AnyDefinition] = []
    for hash_ in machine.followed(entries):
        definition = definitions.by_hash(hash_)
        if definition is None:
            raise DefinitionGone(f"{gid}: its definition {hash_} is gone")
        versions.append(definition)
    return machine.recover(gid, versions[0], entries, versions[1:] and versions)


def awake(entries: Iterable[Entry], definitions: Definitions) -> Iterator[Live]:
    """Hold those again that need an owner. Raises DefinitionGone."""
    for log in _each(entries):
        yield _live(replay(log, definitions), log)


def at_rest(entries: Iterable[Entry], definitions: Definitions) -> Iterator[Live]:
    """Hold those again that needed none: asleep, parked or over, as their rows say.

    Raises DefinitionGone.
    """
    for log in _each(entries):
        state = replay(log, definitions)
        if machine.summary(state).status is not Status.OPEN:
            state = machine.told(state)
        live = _live(state, log)
        live.summary = machine.shown(state, 0)
        yield live


def input_hash(value: Any) -> str:
    """Name an input by its content: the order of keys does not matter."""
    canonical = msgspec.json.encode(value, order="deterministic")
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


def _each(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    for _, log in groupby(entries, key=lambda entry: entry.gid):
        yield list(log)


def _live(state: State, log: Sequence[Entry]) -> Live:
    gid = log[0].gid
    name = gids.parse(gid)
    assert name is not None, f"{gid} is no name"
    ordered = {entry.record.id for entry in log if isinstance(entry.record, Ordered)}
    return Live(
        gid,
        name.shard,
        state,
        input_hash(state.begun.input),
        log[-1].seq + 1,
        machine.summary(state),
        orders=ordered,
    )
