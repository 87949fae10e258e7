"""The commands, and what becomes of errors."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated

import typer

from coordinator.cli import checking, running, transactions

GROUP = "twofold.commands"
"""Entry points of this group are commands that live in other packages."""

app = typer.Typer(
    name="twofold",
    help="Two-phase commit and sagas over Kafka, with a decision log that survives any crash.",
    no_args_is_help=True,
    epilog="Exit codes: 0 done, 1 the answer is no, 2 usage, 3 not there or not ready.",
)
app.command("check")(checking.check)
app.command("serve")(running.serve)
app.command("migrate")(running.migrate)
app.command("topics")(running.topics)
app.command("config")(running.show_config)
app.command("start")(transactions.start)
app.command("list")(transactions.list_)
app.command("show")(transactions.show)


@app.callback(invoke_without_command=True)
def root(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    """Two-phase commit and sagas over Kafka, with a decision log that survives any crash."""
    if show_version:
        typer.echo(version("twofold"))
        raise typer.Exit


def _stub(entry: EntryPoint, hint: str) -> typer.Typer:
    """Stand in for commands of another package: for the list, or to say what is missing."""
    stub = typer.Typer(help=HELP.get(entry.name, ""), add_completion=False)

    @stub.callback(invoke_without_command=True)
    def say() -> None:  # pyright: ignore[reportUnusedFunction]
        typer.secho(f"error: {hint}", err=True, fg=typer.colors.RED)
        raise typer.Exit(3)

    return stub


HELP = {
    "participants": "Run services that take part in transactions, and set up their databases.",
    "demo": "Show the main job on real Kafka and real Postgres.",
    "dev": "Run Kafka and Postgres on this machine, for development.",
}


def _add_others(wanted: str | None) -> None:
    """Add the commands of other packages; only the one that is wanted is loaded."""
    for entry in entry_points(group=GROUP):
        sub: typer.Typer = _stub(entry, "not loaded")
        if entry.name == wanted:
            try:
                sub = entry.load()
            except ModuleNotFoundError as error:
                missing = f"{entry.name} needs {error.name}: pip install 'twofold[local]'"
                sub = _stub(entry, missing)
        app.add_typer(sub, name=entry.name)


def main() -> None:
    """Run the command line."""
    _add_others(next((arg for arg in sys.argv[1:] if not arg.startswith("-")), None))
    app()


if __name__ == "__main__":
    main()
