"""`twofold participants`: run the services of a module, and set up their databases."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from participants.app import Participant
from participants.connections import DatabaseAway
from participants.running import run as serve
from participants.schema import schema_sql
from participants.settings import Settings
from participants.worker import NotReady, Worker

app = typer.Typer(help="Run the services that take part in transactions.", no_args_is_help=True)

Modules = Annotated[
    list[str],
    typer.Argument(
        metavar="MODULE[:ATTRIBUTE]…",
        help="A Python module, and the participant in it; without one, all that are in it.",
    ),
]
Dsn = Annotated[
    str | None,
    typer.Option(
        "--postgres",
        envvar="TWOFOLD_PG_DSN",
        help="Where the databases are; a participant puts its own database's name in.",
    ),
]
Bootstrap = Annotated[
    str | None,
    typer.Option("--kafka", envvar="TWOFOLD_KAFKA__BOOTSTRAP", help="host:port of Kafka"),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group",
        envvar="TWOFOLD_GROUP",
        help="The consumer group. By default it is named after the participants, so that"
        " a process with others of them starts from the oldest command that is kept.",
    ),
]


@app.command()
def run(
    modules: Modules,
    kafka: Bootstrap = None,
    postgres: Dsn = None,
    group: Group = None,
    no_migrate: Annotated[  # noqa: FBT002  # how Typer declares a flag
        bool, typer.Option("--no-migrate", help="Create nothing; fail if tables are missing.")
    ] = False,
) -> None:
    """Serve participants until Ctrl-C.

    Example: twofold participants run shop.stock shop.payments
    """
    found = _load(modules)
    _settings(postgres)
    try:
        serve(*found, kafka=kafka, postgres=postgres, group=group, migrate=not no_migrate)
    except NotReady as error:
        _fail(str(error))


@app.command()
def migrate(modules: Modules, postgres: Dsn = None) -> None:
    """Create the tables that participants need, and run their own set-up.

    Example: twofold participants migrate shop.stock
    """
    found = _load(modules)
    try:
        asyncio.run(Worker(found, _settings(postgres)).migrate())
    except (DatabaseAway, NotReady) as error:
        _fail(str(error))
    for participant in found:
        typer.echo(f"{participant.name} is ready")


@app.command()
def schema() -> None:
    """Print the SQL of the tables that every participant's database needs.

    Example: twofold participants schema | psql stock
    """
    typer.echo(schema_sql(), nl=False)


def _settings(postgres: str | None) -> Settings:
    """Read the settings, or say which of them is wrong."""
    try:
        return Settings.from_environment(postgres=postgres)
    except ValueError as error:
        _fail(str(error))


def _load(modules: list[str]) -> list[Participant]:
    """Import what is named. The current folder may be imported from, as with `python -m`."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    found: dict[str, Participant] = {}
    for name in modules:
        module_name, _, attribute = name.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            _fail(f"{name}: {error}")
        values = [getattr(module, attribute, None)] if attribute else vars(module).values()
        here = [value for value in values if isinstance(value, Participant)]
        if not here:
            _fail(f"there is no Participant in {name}")
        found |= {participant.name: participant for participant in here}
    return list(found.values())


def _fail(why: str) -> NoReturn:
    typer.secho(f"error: {why}", err=True, fg=typer.colors.RED)
    raise typer.Exit(3)  # as everywhere: it could not be tried
