"""Text for people, JSON for programs; data on stdout, all else on stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
import typer

from coordinator.cli.errors import Trouble

UNREAD: Final = 128 + 13
"""The exit code that a shell gives to what ended by SIGPIPE."""


class Output(StrEnum):
    """How to print."""

    TEXT = "text"
    JSON = "json"


def say(text: str = "") -> None:
    """Print what was asked for."""
    _write(printable(text))


def note(text: str) -> None:
    """Say something beside what was asked for."""
    _write(printable(text), err=True)


def as_json(value: Any) -> None:
    """Print a value as one JSON document."""
    encoded = msgspec.json.encode(value, enc_hook=str)
    _write(msgspec.json.format(encoded, indent=2).decode("utf-8", "replace"))


def compact(value: Any, limit: int = 300) -> str:
    """Write a value as JSON in one line, cut where it would be too long to read."""
    text = msgspec.json.encode(value, enc_hook=str).decode("utf-8", "replace")
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def as_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as they need to be; the last one is open."""
    lines = [tuple(map(_in_line, line)) for line in [headings, *rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings) - 1)]
    screen = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        _write("  ".join([*cells, line[-1]]).rstrip()[:screen])


def _write(text: str, *, err: bool = False) -> None:
    """Print, unless nobody reads any more: `twofold list | head`. No server is to blame then."""
    try:
        typer.echo(text, err=err)
    except OSError as error:
        # Else the interpreter would try once more, at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), (sys.stderr if err else sys.stdout).fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(UNREAD) from error
        raise Trouble(f"the answer could not be written: {error.strerror}.") from error


def printable(text: str) -> str:
    """Leave out what would steer a terminal: reasons and keys are written by others."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def _in_line(text: str) -> str:
    return printable(text).replace("\n", " ")
