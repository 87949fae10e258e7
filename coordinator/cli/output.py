"""Text for people, JSON for programs; data on stdout, all else on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import msgspec
import typer

NO = 1
NOT_READY = 3


class Output(StrEnum):
    """How to print."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("-o", "--output", help="How to print.")]


def fail(what: str, *, code: int = NOT_READY) -> NoReturn:
    """Say what happened and what to do, and end."""
    typer.secho(f"error: {what}", err=True, fg=typer.colors.RED)
    raise typer.Exit(code)


def as_json(value: Any) -> None:
    """Print a value as one JSON document."""
    encoded = msgspec.json.encode(value, enc_hook=str)
    typer.echo(msgspec.json.format(encoded, indent=2).decode())


def as_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as they need to be; the last one is open."""
    lines = [tuple(headings), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings) - 1)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        typer.echo("  ".join([*cells, line[-1]]).rstrip())


def moment(at_us: int) -> str:
    """Write a time: UTC, to the millisecond."""
    at = datetime.fromtimestamp(at_us / 1e6, UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def span(duration_us: int) -> str:
    """Write a duration as people say it."""
    seconds = abs(duration_us) / 1e6
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004  # the units of time
        return f"{seconds:.1f} s"
    if seconds < 3600:  # noqa: PLR2004
        return f"{seconds / 60:.0f} min"
    if seconds < 86400:  # noqa: PLR2004
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d"
