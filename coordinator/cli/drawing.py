"""`twofold graph`."""

from __future__ import annotations

from pathlib import Path

from coordinator.cli.checking import definition_in
from coordinator.cli.output import say
from sagas.drawing import mermaid
from sagas.svg import svg


def graph(file: Path, *, as_svg: bool) -> bool:
    """Draw a definition; tell whether it is one."""
    definition = definition_in(file)
    if definition is not None:
        drawn = mermaid(definition)
        say(svg(drawn) if as_svg else drawn)
    return definition is not None
