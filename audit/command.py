"""`twofold audit` and `twofold indoubt`: what each takes, and how it is explained."""
# ruff: noqa: PLC0415  # clients of Kafka and Postgres take longer to load than `--help` may take

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from coordinator.cli.errors import NO, Trouble
from coordinator.cli.output import Output

app = typer.Typer(add_completion=False)
indoubt = typer.Typer(help="Prepared transactions, and who will end them.", no_args_is_help=True)

Participants = Annotated[
    list[str],
    typer.Option(
        "--participant",
        metavar="NAME=DSN",
        envvar="TWOFOLD_PARTICIPANTS",
        help="A participant and its database; may be repeated. A name of a database is"
        " enough where --postgres says the rest.",
    ),
]
Postgres = Annotated[
    str | None,
    typer.Option(
        "--postgres", envvar="TWOFOLD_PG_DSN", help="Where databases are that are only named."
    ),
]
Grace = Annotated[
    str,
    typer.Option(
        "--grace",
        help="How long anything may be under way. So long is also waited before a second look.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="A TOML file of settings.", envvar="TWOFOLD_CONFIG"),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print.")]


@app.command()
def audit(
    participant: Participants,
    *,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Do what is safe: ask coordinators about branches in doubt."),
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            help="Only what began since: 2h, 7d, or a time such as 2026-01-31T12:00Z."
            " What has not ended is always looked at.",
        ),
    ] = None,
    grace: Grace = "30s",
    postgres: Postgres = None,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Compare the log with what participants' databases really hold.

    Nothing is written, unless by --repair. What is found is looked for again
    after the grace time, and reported only if it is still so. Exit code 0 if
    all agrees, 1 if there are findings left, 3 if it could not be looked at.

    Example: twofold audit --participant bank-a=bank_a --participant bank-b=bank_b --since 7d
    """
    from audit import looking

    wanted = looking.Wanted(participant, postgres, grace, since, repair=repair)
    if not asyncio.run(looking.audit(config, wanted, output)):
        raise typer.Exit(NO)


@indoubt.callback()
def root() -> None:
    """Prepared transactions, and who will end them."""


@indoubt.command("list")
def list_(
    participant: Participants,
    grace: Grace = "30s",
    postgres: Postgres = None,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List what is prepared: what was decided, who will end it, and why it waits.

    Example: twofold indoubt list --participant bank-a=bank_a --participant bank-b=bank_b
    """
    from audit import looking

    wanted = looking.Wanted(participant, postgres, grace)
    asyncio.run(looking.list_in_doubt(config, wanted, output))


@indoubt.command()
def resolve(
    gid: Annotated[str, typer.Argument(help="The transaction, as `indoubt list` shows it.")],
    branch: Annotated[str, typer.Argument(help="The branch.")],
    participant: Participants,
    *,
    commit: Annotated[bool, typer.Option("--commit", help="Commit what is prepared.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Roll it back.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is written to the log.")],
    actor: Annotated[
        str | None,
        typer.Option("--actor", help="Who; USER@HOST if not given.", envvar="TWOFOLD_ACTOR"),
    ] = None,
    postgres: Postgres = None,
    config: ConfigFile = None,
) -> None:
    """End one prepared transaction that no coordinator will end, or not soon enough.

    Refused if the log says otherwise, if it may still be decided, and if it is
    not ours. Who has done it and why is written to the log first. Exit code 0
    if it is done, 3 if not.

    Example: twofold indoubt resolve tf1.main.1.3.0192… debit --rollback
    --reason "its log is lost" --participant bank-a=bank_a
    """
    from audit import looking, resolving

    if commit == rollback:
        raise Trouble("what is to become of it?", "Give either --commit or --rollback.")
    if not reason.strip():
        raise Trouble("there is no reason.", "Give one with --reason.")
    order = resolving.Order(gid, branch, commit, reason, actor)
    wanted = looking.Wanted(participant, postgres, "30s")
    asyncio.run(resolving.resolve(config, wanted, order))
