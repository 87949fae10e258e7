"""`twofold participants`, as far as it needs no server."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from participants.cli import app
from participants.resolver import Patience
from participants.schema import schema_sql
from participants.settings import Settings
from participants.worker import Worker


def test_the_schema_is_printed_as_it_would_be_run() -> None:
    result = CliRunner().invoke(app, ["schema"])
    assert result.exit_code == 0
    assert result.stdout == schema_sql()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("no.such.module", "No module named 'no'"),
        (
            "participants.examples.bank:nobody",
            "no Participant in participants.examples.bank:nobody",
        ),
        ("participants.settings", "no Participant in participants.settings"),
    ],
)
def test_what_cannot_be_found_is_said_in_one_line(name: str, complaint: str) -> None:
    result = CliRunner().invoke(app, ["run", name])
    assert result.exit_code == 3
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_settings_come_from_the_caller_then_the_environment_then_the_defaults() -> None:
    environment = {
        "TWOFOLD_KAFKA__BOOTSTRAP": "kafka:9092",
        "TWOFOLD_PG_DSN": "postgresql://db/x",
        "TWOFOLD_RESOLVE_AFTER": "2.5",
    }

    settings = Settings.from_environment(bootstrap="mine:1", environment=environment)

    assert settings == Settings(
        bootstrap="mine:1", postgres="postgresql://db/x", patience=Patience(after_seconds=2.5)
    )


@pytest.mark.parametrize("value", ["soon", "0", "-1"])
def test_a_setting_that_is_no_time_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="TWOFOLD_RESOLVE_EVERY"):
        Settings.from_environment(environment={"TWOFOLD_RESOLVE_EVERY": value})


def test_a_worker_needs_participants() -> None:
    with pytest.raises(ValueError, match="needs participants"):
        Worker([], Settings())
