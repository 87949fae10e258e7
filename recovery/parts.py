"""The transactions that do steps of a saga: their names say nothing, but are made of its own.

A log that was lost may have begun them, and they have marks of their own. Where
one has, its saga has begun under its own old name, however little else there is
to see of it: it begins them again. A saga's name is made of its version as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from coordinator.core.children import label, versioned
from recovery.traces import Part
from sagas.model import AnyDefinition, Group, Saga, SubSaga
from wire import gids

ATTEMPTS: Final = 2
"""As many are looked for at first; and more, for as long as the last of them has left a trace."""

Versions = Callable[[str], Iterable[AnyDefinition]]
"""Gives all versions that were ever published under a name."""


def parts(gid: str, definition: AnyDefinition, versions: Versions, attempts: int) -> Iterator[Part]:
    """Name all that may have begun as part of a transaction, in so many attempts."""
    for step in definition.steps.values() if isinstance(definition, Saga) else ():
        back = step.undo.work if step.undo is not None else None
        for undoing, work in ((False, step.work), (True, back)):
            for attempt in range(1, attempts + 1):
                name = label(step.name, attempt, undoing=undoing)
                for one, called in _followed(work, name, versions, undoing=undoing):
                    yield Part(
                        step=step.name,
                        attempt=attempt,
                        undoing=undoing,
                        gid=gids.child(gid, called),
                        definition=one,
                    )


def _followed(
    work: object, name: str, versions: Versions, *, undoing: bool
) -> Iterator[tuple[AnyDefinition, str]]:
    """Yield what a part may follow, and what it is called then. A saga undoes itself."""
    if isinstance(work, Group):
        yield work.definition, name
    elif isinstance(work, SubSaga) and not undoing:
        for one in versions(work.saga):
            yield one, versioned(name, one)


def below(
    gid: str,
    definition: AnyDefinition,
    versions: Versions,
    attempts: int,
    above: frozenset[str] = frozenset(),
) -> Iterator[str]:
    """Name all that may have begun as part of a transaction, or of a part of it."""
    for part in parts(gid, definition, versions, attempts):
        if part.definition.name not in above:  # a circle never comes to an end
            yield part.gid
            here = above | {definition.name}
            yield from below(part.gid, part.definition, versions, attempts, here)
