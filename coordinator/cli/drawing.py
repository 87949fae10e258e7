"""`twofold graph`."""

from __future__ import annotations

from pathlib import Path

from coordinator.cli.checking import definition_in
from coordinator.cli.output import say
from sagas.drawing import mermaid


def graph(file: Path) -> bool:
    """Draw a definition; tell whether it is one."""
    definition = definition_in(file)
    if definition is not None:
        say(mermaid(definition))
    return definition is not None
