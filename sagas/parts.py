"""Pieces of a document → pieces of the model: each by itself, and nothing that can be wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sagas.document import GroupPart, GroupUndoPart
from sagas.expressions import compile_expression
from sagas.model import Expression
from sagas.templates import compile_text


def texts_of(part: GroupPart) -> Mapping[str, Any]:
    """Return what is written of expressions in the branches of an atomic step."""
    return {
        name: {
            "with": one.with_,
            "undo": {"with": one.undo.with_} if isinstance(one.undo, GroupUndoPart) else None,
        }
        for name, one in part.branches.items()
    }


def hole(expression: str | None) -> str | None:
    return None if expression is None else f"${{ {expression} }}"


def named(root: str, ids: Collection[str]) -> list[str]:
    return [f"{root}.{one}" for one in ids]


def is_result(dotted: str) -> bool:
    return dotted.partition(".")[0] in ("steps", "branches")


def compile_holes(text: str, names: Collection[str]) -> Expression:
    return compile_text(text, lambda source: compile_expression(source, names))
