"""Try, confirm, cancel: what the word `tcc` stands for.

The step itself is the try, and its cancel is its undo. Each has a second
step, which confirms it once there is no way back: past the pivot, or, where
the saga has none, past a gate that needs all that is written. No id has a
dot, so that no name here can be taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sagas.document import SagaDocument

PIVOT: Final = ".pivot"


def confirm_of(step: str) -> str:
    """Name the step that confirms this one."""
    return f"{step}.confirm"


def with_confirms(document: SagaDocument, needs: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Add what is not written: the steps that confirm others, and perhaps the gate before them."""
    tries = [name for name, step in document.steps.items() if step.tcc is not None]
    if not tries:
        return dict(needs)
    pivot = next((name for name, step in document.steps.items() if step.pivot), PIVOT)
    gate = {PIVOT: list(needs)} if pivot == PIVOT else {}
    return {**needs, **gate, **{confirm_of(name): [pivot, name] for name in tries}}
