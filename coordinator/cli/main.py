"""The `twofold` command: its subcommands, found late, and what becomes of errors.

Nothing heavy is imported here: `twofold --help` answers at once. Subcommands
of other packages are entry points, and loaded when one of them is wanted.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from coordinator.cli import commands, dlq, order_commands
from coordinator.cli.errors import TROUBLE, Trouble, explain, missing_module

GROUP: Final = "twofold.commands"
"""Entry points of this group are commands that live in other packages."""

SUMMARIES: Final = {
    "participants": "Run services that take part in transactions, and set up their databases.",
    "audit": "Compare the log with what participants' databases really hold.",
    "indoubt": "Prepared transactions, and who will end them.",
    "recover": "Bring a log up to date that was restored, or has lost its end.",
    "demo": "Show the main job on real Kafka and real Postgres.",
    "dev": "Run Kafka and Postgres on this machine, for development.",
}
"""What the list of commands says of those that it does not load."""


class Commands(TyperGroup):
    """Subcommands, some of which are loaded when they are wanted."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a subcommand, and put the real one in the place of its stand-in."""
        entry = others().get(args[0]) if args else None
        if entry is not None:
            self.commands[entry.name] = _loaded(entry)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a subcommand; what a user can mend is told in a sentence, without a traceback."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            trouble = explain(error)
            if trouble is None:
                raise
            tell(trouble)
            raise typer.Exit(TROUBLE) from error


def others() -> dict[str, EntryPoint]:
    """Find the commands of other packages, unloaded."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _loaded(entry: EntryPoint) -> Any:
    try:
        loaded = typer.main.get_command(entry.load())
    except ModuleNotFoundError as error:
        raise missing_module(error) from error
    except Exception as error:
        what = f"`twofold {entry.name}` cannot be loaded: {type(error).__name__}: {error}."
        raise Trouble(what, f"It comes from {entry.value}.") from error
    loaded.name = entry.name
    return loaded


def tell(trouble: Trouble) -> None:
    """Say what is so, and what to do."""
    typer.secho(f"error: {trouble}", err=True, fg=typer.colors.RED)


app = typer.Typer(
    name="twofold",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done · 1 the answer is no · 2 usage · 3 something is not reachable,"
    " not ready, or not readable.",
)
for command in (*commands.ALL, *order_commands.ALL):
    app.command(command.__name__.rstrip("_"))(command)


app.add_typer(dlq.app, name="dlq")


def _stand_in(entry: EntryPoint) -> None:
    @app.command(entry.name, help=SUMMARIES.get(entry.name, f"From {entry.value}."))
    def never_run() -> None:  # pyright: ignore[reportUnusedFunction]
        raise AssertionError(f"{entry.name} was to be loaded")


for other in others().values():
    _stand_in(other)


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # Typer's way
    if wanted:
        typer.echo(version("twofold"))
        raise typer.Exit


@app.callback()
def root(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Two-phase commit and sagas over Kafka, with a decision log that survives any crash."""


def main() -> None:
    """Run the command line."""
    try:
        app(prog_name="twofold")
    except KeyboardInterrupt:  # one that came between two commands' own handling
        sys.exit(130)


if __name__ == "__main__":
    main()
