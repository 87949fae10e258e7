"""What all turns of an engine have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coordinator.definitions import Definitions
from coordinator.log.store import ClusterFacts
from sagas.model import AnyDefinition
from wire.topics import Topics


@dataclass(frozen=True, slots=True)
class Setting:
    """What stays the same from turn to turn."""

    facts: ClusterFacts
    topics: Topics
    definitions: Definitions
    sample: Callable[[], bool]
    """Says whether the next trace that nobody else has begun is kept."""
    absent: Callable[[AnyDefinition], Sequence[str]] = lambda _: ()
    """Names the participants for whose absence a start is refused. Asked before a
    transaction begins, and never after."""
