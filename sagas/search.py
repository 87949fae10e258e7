"""The words by which a transaction is found: `field=value`, for the fields that `index` names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, cast

from sagas.private import Path, Private

LONGEST: Final = 200
"""Characters of a value that count: an index takes no more than a page's part."""


def terms(fields: Sequence[str], given: Any, private: Private | None) -> tuple[str, ...]:
    """Return the words for an input. What is no text, number or boolean there has none.

    Nor has what is sensitive: that a field is, may depend on where a schema refers to.
    """
    hidden = set(private.find(given)) if private is not None else set[Path]()
    return tuple(_terms(fields, given, hidden))


def term(field: str, value: str) -> str:
    """Return the word that `--where field=value` looks for."""
    return f"{field}={value[:LONGEST]}"


def _terms(fields: Sequence[str], given: Any, hidden: Collection[Path]) -> Iterator[str]:
    for field in fields:
        value, names = given, tuple(field.split("."))
        if any(names[: len(path)] == path for path in hidden):
            continue
        for name in names:
            members = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
            value = members.get(name)
        if isinstance(value, bool):
            yield term(field, "true" if value else "false")
        elif isinstance(value, str | int | float):
            yield term(field, str(value))
