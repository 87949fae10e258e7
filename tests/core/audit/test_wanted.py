"""What was asked for on the command line, read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import typer
from typer.testing import CliRunner

from audit import command
from audit.looking import Wanted
from coordinator.cli.errors import Trouble

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def wanted(*participants: str, since: str | None = None, grace: str = "30s") -> Wanted:
    return Wanted(participants, "postgresql://me@db:5/twofold?ssl=on", grace, since)


def test_a_database_is_a_dsn_or_a_name() -> None:
    """A name is at the place that all participants share."""
    assert wanted("a=a_db", "b=postgresql://you@there/b").dsns() == {
        "a": "postgresql://me@db:5/a_db?ssl=on",
        "b": "postgresql://you@there/b",
    }


@pytest.mark.parametrize("text", ["a", "a=", "=a_db", ""])
def test_a_participant_without_a_database_is_refused(text: str) -> None:
    """With a sentence."""
    with pytest.raises(Trouble, match="names no database"):
        wanted(text).dsns()


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("2h", datetime(2026, 3, 2, 10, tzinfo=UTC)),
        ("1d", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-01-31T12:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        (None, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_since_is_a_length_of_time_or_a_time(since: str | None, expected: datetime) -> None:
    assert wanted(since=since).began(NOW) == expected


def test_a_place_that_is_none_is_refused() -> None:
    """With a sentence."""
    with pytest.raises(Trouble, match="--postgres is no DSN"):
        Wanted(["a=a_db"], "postgresql://[", "30s").dsns()


def test_times_that_make_no_sense_are_refused() -> None:
    """With a sentence."""
    for since in ("yesterday", "2026-01-31T12:00", "999999999d"):
        with pytest.raises(Trouble, match="its zone"):
            wanted(since=since).began(NOW)
    with pytest.raises(Trouble, match="--grace"):
        _ = wanted(grace="long").grace_us


@pytest.mark.parametrize(
    ("app", "args", "says"),
    [
        (command.app, ["--help"], "twofold audit --participant"),
        (command.indoubt, ["list", "--help"], "twofold indoubt list --participant"),
    ],
)
def test_both_commands_explain_themselves(app: typer.Typer, args: list[str], says: str) -> None:
    """With an example that can be pasted."""
    shown = CliRunner().invoke(app, args, env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    assert says in shown.output
