"""The published definitions that this process knows.

Compiled once, by hash. A transaction follows the one it began with; a start
follows the newest of its name.
"""

from __future__ import annotations

from coordinator.log.store import DecisionLog, StoredDefinition
from sagas.loader import load
from sagas.model import AnyDefinition


class Definitions:
    """Definitions by hash, and the newest by name."""

    def __init__(self) -> None:
        self._by_hash: dict[str, AnyDefinition] = {}
        self._newest: dict[str, AnyDefinition] = {}

    def add(self, definition: AnyDefinition) -> None:
        """Know a definition."""
        self._by_hash[definition.hash] = definition
        newest = self._newest.get(definition.name)
        if newest is None or newest.version < definition.version:
            self._newest[definition.name] = definition

    def newest(self, name: str) -> AnyDefinition | None:
        """Return what new starts of this name follow."""
        return self._newest.get(name)

    def by_hash(self, hash_: str) -> AnyDefinition | None:
        """Return what a running transaction follows."""
        return self._by_hash.get(hash_)

    def all_newest(self) -> tuple[AnyDefinition, ...]:
        """Return the newest of every name."""
        return tuple(self._newest.values())

    async def refresh(self, log: DecisionLog) -> bool:
        """Read what has been published since; tell whether there was anything."""
        fresh = [d for d in await log.definitions() if d.hash not in self._by_hash]
        for stored in fresh:
            self.add(load(stored.source, f"{stored.name} version {stored.version}"))
        return bool(fresh)


async def publish(log: DecisionLog, definition: AnyDefinition) -> bool:
    """Publish a definition; False if it was. Raises VersionTaken."""
    return await log.publish(
        StoredDefinition(definition.hash, definition.name, definition.version, definition.source)
    )
