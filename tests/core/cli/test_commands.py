"""The command line as far as it needs no server: help, exit codes, and errors in sentences."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from coordinator.cli import commands, main
from coordinator.cli.errors import EXPECTED, Trouble, createdb, explain, log_trouble, mask

GOOD = "saga: a\nversion: 1\nsteps:\n  x: {call: s.r, undo: s.u}\n"
NOWHERE = {
    "TWOFOLD_LOG__DSN": "postgresql://me:secret@127.0.0.1:1/log",
    "TWOFOLD_KAFKA__BOOTSTRAP": "127.0.0.1:1",
    "COLUMNS": "120",
}
NAMES = [
    *(command.__name__.rstrip("_") for command in commands.ALL),
    *("dlq list", "dlq show", "dlq replay"),
]


def run(*args: str, given: str | None = None, **environment: str) -> Any:
    """Run a command in this process."""
    return CliRunner().invoke(main.app, args, input=given, env={**NOWHERE, **environment})


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    """Help that one can paste."""
    result = run(*name.split(), "--help")

    assert result.exit_code == 0
    assert f"twofold {name}" in result.output


def test_help_loads_nothing_heavy() -> None:
    """So that it answers at once."""
    code = (
        "import sys\n"
        "from coordinator.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'asyncpg', 'aiokafka', 'pydantic', 'structlog', 'opentelemetry', 'compose'}\n"
        "sys.exit(str(sorted(heavy & sys.modules.keys())) if heavy & sys.modules.keys() else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert all(
        name in done.stdout
        for name in [*(name.split()[0] for name in NAMES), "participants", "demo", "dev"]
    )


def test_a_mistyped_command_gets_a_suggestion() -> None:
    """And the exit code of usage."""
    result = run("shwo")

    assert result.exit_code == 2
    assert "Did you mean 'show'?" in result.stderr


def test_a_command_of_another_package_is_loaded_when_it_is_wanted() -> None:
    """Its own help, not the summary of the list."""
    assert "migrate" in run("participants", "--help").output


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nonexistent_package.cli:app", "pip install 'twofold[local]'"),
        ("coordinator.cli.errors:nothing", "cannot be loaded"),
    ],
)
def test_a_broken_command_of_another_package_breaks_no_other(
    monkeypatch: pytest.MonkeyPatch, target: str, said: str
) -> None:
    """It is told when it is called, in a sentence."""
    entry = EntryPoint("demo", target, main.GROUP)
    monkeypatch.setattr(main, "others", lambda: {"demo": entry})

    broken = run("demo")
    assert broken.exit_code == 3
    assert said in broken.stderr
    assert run("--version").exit_code == 0


# ── check ────────────────────────────────────────────────────────────────────


def test_check_names_what_is_right(tmp_path: Path) -> None:
    """One line a file."""
    (tmp_path / "a.yaml").write_text(GOOD)

    result = run("check", str(tmp_path))

    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path}/a.yaml: saga a version 1, 1 step\n"


def test_check_reports_all_files_at_once(tmp_path: Path) -> None:
    """Place, code, sentence and hint for each problem; the good file is named too."""
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD.replace("undo:", "udno:"))
    (tmp_path / "c.yaml").write_bytes(b"\xff")

    result = run("check", str(tmp_path))

    assert result.exit_code == 1
    assert f"{tmp_path}/b.yaml:4:" in result.stdout
    assert "did you mean `undo`?" in result.stdout
    assert f"{tmp_path}/c.yaml:1:1: error[encoding]" in result.stdout
    assert "a.yaml: saga a" in result.stdout


def test_check_refuses_two_texts_for_one_version(tmp_path: Path) -> None:
    """Publishing the second would be refused; the same text twice is no harm."""
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD)
    assert run("check", str(tmp_path)).exit_code == 0

    (tmp_path / "b.yaml").write_text(GOOD.replace("x:", "y:"))
    assert "b.yaml:2:1: error[version-twice]" in run("check", str(tmp_path)).stdout


def test_check_as_json(tmp_path: Path) -> None:
    """For an editor, or for CI."""
    (tmp_path / "b.yaml").write_text(GOOD.replace("undo:", "udno:"))

    result = run("check", "-o", "json", str(tmp_path))

    [file] = json.loads(result.stdout)
    assert (result.exit_code, file["ok"]) == (1, False)
    assert file["problems"][0]["line"] == 4


def test_check_of_nothing_is_no_success(tmp_path: Path) -> None:
    """A folder without definitions is a mistake in the path."""
    assert run("check", str(tmp_path)).exit_code == 1
    assert run("check", str(tmp_path / "nope")).exit_code == 2


# ── errors ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "args",
    [["list"], ["show", "x"], ["migrate"], ["topics"], ["start", "x"], ["migrate", "-o", "json"]],
)
def test_a_log_that_does_not_answer_is_one_sentence(args: list[str]) -> None:
    """Where it was looked for, without the password, and what to do."""
    result = run(*args)

    assert result.exit_code == 3
    assert result.stdout == ""
    assert "nothing answers at postgresql://me:***@127.0.0.1:1/log" in result.stderr
    assert "Is Postgres running?" in result.stderr
    assert "secret" not in result.output


def test_migrate_plan_needs_no_database() -> None:
    """Without one it prints all of it."""
    result = run("migrate", "--plan", TWOFOLD_LOG__SHARDS="3")

    assert result.exit_code == 0
    assert result.stdout.startswith("BEGIN;")
    assert "CREATE TABLE twofold.decision_log" in result.stdout
    assert "VALUES ('main', 3, 0, 1)" in result.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [("{", "--input is not JSON"), ("[1]", "not an object"), ("@/nope.json", "/nope.json")],
)
def test_an_input_that_cannot_be_read(given: str, said: str) -> None:
    """Nothing was sent."""
    result = run("start", "x", "--input", given)

    assert result.exit_code == 3
    assert said in result.stderr


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TWOFOLD_LOG__SHARDS", "many", "log.shards"),
        ("TWOFOLD_LOG__CLUSTER", "Ä", "log.cluster"),
        ("TWOFOLD_KAFKA__BOOTSTARP", "x", "kafka.bootstarp"),
        ("TWOFOLD_DEFINITIONS", "a", "definitions"),
    ],
)
def test_settings_that_make_no_sense_are_named(variable: str, value: str, said: str) -> None:
    """Which one, and where it may come from."""
    result = run("list", **{variable: value})

    assert result.exit_code == 3
    assert said in result.stderr


def test_a_word_in_the_file_that_is_no_setting_is_named(tmp_path: Path) -> None:
    """A typo must not be a default."""
    file = tmp_path / "twofold.toml"
    file.write_text("[lgo]\nshards = 4\n")

    assert "lgo" in run("config", "--config", str(file)).stderr
    file.write_text("[log\n")
    assert "is not TOML" in run("config", "--config", str(file)).stderr
    assert run("config", "--config", str(tmp_path / "nope.toml")).exit_code == 3


def test_serve_does_not_begin_with_a_wrong_definition(tmp_path: Path) -> None:
    """The problems are shown as `check` shows them."""
    (tmp_path / "a.yaml").write_text(GOOD.replace("undo:", "udno:"))
    done = subprocess.run(
        [sys.executable, "-m", "coordinator.cli.main", "serve", "--definitions", str(tmp_path)],
        env={**os.environ, **NOWHERE},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 3
    assert "a.yaml:4:" in done.stderr
    assert "Traceback" not in done.stderr


def test_config_tells_where_each_setting_is_said(tmp_path: Path) -> None:
    """The environment beats the file, the file beats the default."""
    file = tmp_path / "twofold.toml"
    file.write_text('[log]\nshards = 4\ndsn = "postgresql://x"\n[kafka]\nprefix = "p"\n')

    result = run("config", "-o", "json", "--config", str(file))

    shown = json.loads(result.stdout)
    assert shown["log.shards"] == {"value": 4, "from": str(file)}
    assert shown["log.dsn"]["value"] == "postgresql://me:***@127.0.0.1:1/log"
    assert shown["log.dsn"]["from"] == "TWOFOLD_LOG__DSN"
    assert shown["log.cluster"] == {"value": "main", "from": "default"}


# ── the sentences themselves ─────────────────────────────────────────────────


@pytest.mark.parametrize(("module", "name"), EXPECTED)
def test_every_error_that_is_explained_exists(module: str, name: str) -> None:
    """They are found by name, so that nothing is loaded for them."""
    assert issubclass(getattr(importlib.import_module(module), name), Exception)


def test_what_nobody_expects_keeps_its_traceback() -> None:
    """A bug is not dressed up as a sentence, neither alone nor in a group."""
    assert explain(AssertionError("bug")) is None
    assert explain(ModuleNotFoundError("x", name="coordinator.nope")) is None
    assert explain(ExceptionGroup("g", [Trouble("a"), AssertionError("bug")])) is None
    assert explain(ExceptionGroup("g", [Trouble("a")])) is not None


def test_what_is_not_utf_8_is_no_bug() -> None:
    """A shell hands over any bytes."""
    with pytest.raises(UnicodeEncodeError) as caught:
        "\udcff".encode()
    assert r"\udcff" in str(explain(caught.value))


def test_a_dsn_that_is_none_is_no_bug() -> None:
    """Whatever it is that cannot be read."""
    assert "Invalid IPv6 URL" in str(log_trouble("postgresql://[", ValueError("Invalid IPv6 URL")))


@pytest.mark.parametrize(
    ("dsn", "masked"),
    [
        ("postgresql://me:p@ss@db:5/x", "postgresql://me:***@db:5/x"),
        ("postgresql://me@db/x?password=p&ssl=1", "postgresql://me@db/x?password=***&ssl=1"),
        ("postgresql://db/x", "postgresql://db/x"),
    ],
)
def test_passwords_are_never_shown(dsn: str, masked: str) -> None:
    """Wherever a DSN carries one."""
    assert mask(dsn) == masked


def test_a_database_that_is_missing_comes_with_its_command() -> None:
    """One that can be pasted."""

    class Missing(Exception):
        sqlstate = "3D000"

    dsn = "postgresql://me:secret@db:5433/log"
    assert createdb(dsn) == "createdb -h db -p 5433 -U me log"
    assert createdb("postgresql://me@db:5433,other:1/log") == createdb(
        "postgresql://me@db:5433/log"
    )
    assert "createdb -h db -p 5433 -U me log" in str(log_trouble(dsn, Missing()))
