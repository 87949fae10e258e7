"""The words by which a transaction is found: `field=value`, for the fields that `index` names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

LONGEST: Final = 200
"""Characters of a value that count: an index takes no more than a page's part."""


def terms(fields: Sequence[str], given: Any) -> tuple[str, ...]:
    """Return the words for an input. What is no text, number or boolean there has none."""
    return tuple(_terms(fields, given))


def term(field: str, value: str) -> str:
    """Return the word that `--where field=value` looks for."""
    return f"{field}={value[:LONGEST]}"


def _terms(fields: Sequence[str], given: Any) -> Iterator[str]:
    for field in fields:
        value = given
        for name in field.split("."):
            members = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
            value = members.get(name)
        if isinstance(value, bool):
            yield term(field, "true" if value else "false")
        elif isinstance(value, str | int | float):
            yield term(field, str(value))
