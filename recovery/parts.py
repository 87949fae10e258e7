"""The transactions that do steps of a saga: their names say nothing, but are made of its own.

A log that was lost may have begun them, and they have marks of their own. Where
one has, its saga has begun under its own old name, however little else there is
to see of it: it begins them again, and asks (`Begun.again`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coordinator.core.children import label
from sagas.model import AnyDefinition, Group, Saga
from wire import gids

ATTEMPTS: Final = 5
"""As often as undoing is tried before somebody is asked."""


def parts(gid: str, definition: AnyDefinition) -> Iterator[str]:
    """Name all that may have begun as part of a transaction."""
    for step in definition.steps.values() if isinstance(definition, Saga) else ():
        back = step.undo.work if step.undo is not None else None
        for undoing, work in ((False, step.work), (True, back)):
            if isinstance(work, Group):
                for attempt in range(1, ATTEMPTS + 1):
                    yield gids.child(gid, label(step.name, attempt, undoing=undoing))
