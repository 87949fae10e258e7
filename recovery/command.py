"""`twofold recover`: what it takes, and how it is explained."""
# ruff: noqa: PLC0415  # clients of Kafka and Postgres take longer to load than `--help` may take

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from audit.command import ConfigFile, OutputOption, Participants, Postgres
from coordinator.cli.errors import NO, Trouble
from coordinator.cli.output import Output

app = typer.Typer(add_completion=False)


@app.command()
def recover(
    participant: Participants,
    *,
    restored: Annotated[
        bool, typer.Option("--restored", help="The log was restored, or has lost its end.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why; it is written to the log.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what would be done. Writes nothing.")
    ] = False,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Also where the marks do not show that anything is lost."),
    ] = False,
    patience: Annotated[
        float,
        typer.Option("--patience", help="Seconds to wait until no coordinator is heard of."),
    ] = 10.0,
    actor: Annotated[
        str | None,
        typer.Option("--actor", help="Who; USER@HOST if not given.", envvar="TWOFOLD_ACTOR"),
    ] = None,
    postgres: Postgres = None,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Bring a log up to date that was restored from a backup, or has failed over with a loss.

    Stop all coordinators first: one that is only paused would go on where it
    was. Then what the log lacks is learnt from Kafka and from the databases of
    all participants, whose services may run or not, and coordinators may start.
    Exit code 0 if nothing is left unexplained, 1 if something is, 3 if it
    could not be done.

    Example: twofold recover --restored --reason "disk lost, backup of 3 am"
    --participant bank-a=bank_a --participant bank-b=bank_b
    """
    from recovery import telling

    _insist(restored=restored, reasoned=plan or bool((reason or "").strip()))
    wanted = telling.Wanted(
        participant, postgres, None if plan else reason, actor, patience, anyway=anyway
    )
    if not asyncio.run(telling.recover(config, wanted, output)):
        raise typer.Exit(NO)


def _insist(*, restored: bool, reasoned: bool) -> None:
    if not restored:
        raise Trouble("what happened to it?", "Say --restored, if the log was, or lost its end.")
    if not reasoned:
        raise Trouble("there is no reason.", "Give one with --reason, or only --plan it.")
