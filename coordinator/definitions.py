"""The published definitions that this process knows.

Compiled once, by hash. A transaction follows the one it began with; a start
follows the newest of its name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from coordinator.log.store import DecisionLog, StoredDefinition
from sagas.composition import sub_sagas
from sagas.loader import load_published
from sagas.model import AnyDefinition, Saga

Prepare = Callable[[AnyDefinition], Awaitable[None]]


async def _nothing(_: AnyDefinition) -> None:
    return


class Definitions:
    """Definitions by hash, and the newest by name.

    ``prepare`` is awaited before a definition is used for the first time: its
    topics must be there, since one that is missing would hold up all shards.
    """

    def __init__(self, prepare: Prepare = _nothing) -> None:
        self._prepare = prepare
        self._participants: set[str] = set()
        self._by_hash: dict[str, AnyDefinition] = {}
        self._newest: dict[str, AnyDefinition] = {}

    def add(self, definition: AnyDefinition) -> None:
        """Know a definition."""
        self._by_hash |= {one.hash: one for one in family(definition)}
        self._participants |= participants(definition)
        newest = self._newest.get(definition.name)
        if newest is None or newest.version < definition.version:
            self._newest[definition.name] = definition

    def newest(self, name: str) -> AnyDefinition | None:
        """Return what new starts of this name follow."""
        return self._newest.get(name)

    def knows(self, name: str) -> bool:
        """Tell whether there is one of this name, and of each that it would begin itself."""
        newest = self._newest.get(name)
        return newest is not None and self._newest.keys() >= {*sub_sagas(newest).values()}

    def by_hash(self, hash_: str) -> AnyDefinition | None:
        """Return what a running transaction follows."""
        return self._by_hash.get(hash_)

    def of_name(self, name: str) -> tuple[AnyDefinition, ...]:
        """Return all versions of a definition."""
        return tuple(d for d in self._by_hash.values() if d.name == name)

    def kept_us(self) -> Mapping[str, int]:
        """Tell how long those of each name are kept, as parts of a newer version are."""
        names = {one.name: one.name.partition(".")[0] for one in self._by_hash.values()}
        return {name: self._newest[whole].retain_us for name, whole in names.items()}

    def of_version(self, name: str, version: int) -> AnyDefinition | None:
        """Return a version of a definition."""
        return next((d for d in self.of_name(name) if d.version == version), None)

    def all_newest(self) -> tuple[AnyDefinition, ...]:
        """Return the newest of every name."""
        return tuple(self._newest.values())

    def all_versions(self) -> tuple[AnyDefinition, ...]:
        """Return all that is known."""
        return tuple(self._by_hash.values())

    def names_participant(self, name: str) -> bool:
        """Tell whether any definition ever called this participant."""
        return name in self._participants

    async def refresh(self, log: DecisionLog) -> bool:
        """Read what has been published since; tell whether there was anything."""
        fresh = await log.definitions(self._by_hash)
        for stored in fresh:
            definition = understood(stored)
            await self._prepare(definition)
            self.add(definition)
        return bool(fresh)


def understood(stored: StoredDefinition, followed: str = "") -> AnyDefinition:
    """Read a published definition, by the rules that it was published under.

    ``followed`` is the hash of the part of it that is wanted, if not all.

    Raises:
        sagas.loader.DefinitionInvalid: it cannot be understood at all.

    """
    definition = load_published(stored.source, f"{stored.name} version {stored.version}")
    known = {one.hash: one for one in family(definition)}
    return known.get(followed, definition)


def family(definition: AnyDefinition) -> tuple[AnyDefinition, ...]:
    """Return a definition, and those of the transactions that may begin as part of it."""
    steps = definition.steps.values() if isinstance(definition, Saga) else ()
    return (definition, *(group for step in steps for group in step.groups))


def participants(definition: AnyDefinition) -> set[str]:
    """Return the participants that a definition may call."""
    if not isinstance(definition, Saga):
        return {branch.call.participant for branch in definition.branches.values()}
    asked = {call.participant for step in definition.steps.values() for call in step.calls}
    return asked.union(*(participants(one) for one in family(definition)[1:]))


async def publish(log: DecisionLog, definition: AnyDefinition) -> bool:
    """Publish a definition; False if it was. Raises VersionTaken."""
    return await log.publish(
        StoredDefinition(definition.hash, definition.name, definition.version, definition.source)
    )
