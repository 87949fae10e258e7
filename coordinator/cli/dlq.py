"""What the commands of `twofold dlq` take. Loads nothing heavy."""
# ruff: noqa: PLC0415

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from coordinator.cli.commands import ConfigFile, OutputOption
from coordinator.cli.errors import NO
from coordinator.cli.output import Output

app = typer.Typer(
    help="Look at dead letters, and put them back once their cause is mended.",
    no_args_is_help=True,
)

Reason = Annotated[
    str | None, typer.Option("--reason", help="Only those whose reason contains this.")
]
Topic = Annotated[str | None, typer.Option("--topic", help="Only those from this topic.")]
Since = Annotated[
    str | None,
    typer.Option("--since", help="Only those buried since: 30m, 2h, 3d, or a time (RFC 3339)."),
]


@app.command("list")
def list_(
    *,
    reason: Reason = None,
    topic: Topic = None,
    since: Since = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = 20,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List dead letters, the newest first.

    ORIGIN is where a record was read that could not be understood, and the
    name by which `show` and `replay` find it.

    Example: twofold dlq list --since 2h --reason "not JSON"
    """
    from coordinator.cli import dead_letters

    wanted = dead_letters.query(reason, topic, since)
    asyncio.run(dead_letters.list_(config, wanted, limit, output))


@app.command()
def show(
    address: Annotated[
        str,
        typer.Argument(
            help="Where it was read, or where it is buried.", metavar="TOPIC/PARTITION/OFFSET"
        ),
    ],
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show one dead letter: why it is one, its headers, its body.

    Of several from one place, the newest. Exit code 1 if there is none.

    Example: twofold dlq show orders.placed/0/17
    """
    from coordinator.cli import dead_letters

    if not asyncio.run(dead_letters.show(config, address, output)):
        raise typer.Exit(NO)


@app.command()
def replay(
    addresses: Annotated[
        list[str] | None,
        typer.Argument(help="Which; or say it by options.", metavar="TOPIC/PARTITION/OFFSET…"),
    ] = None,
    *,
    reason: Reason = None,
    topic: Topic = None,
    since: Since = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; otherwise only say what.")] = False,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Put dead letters back to where they come from, as they were.

    A record goes to the end of the partition where it was read, and carries a
    header `twofold-replayed` that names the dead letter. The dead letter stays
    where it is. Exit code 1 if there is none, or if one cannot be put back.

    Example: twofold dlq replay --topic orders.placed --since 2h --yes
    """
    from coordinator.cli import dead_letters

    wanted = dead_letters.query(reason, topic, since)
    if bool(addresses) != wanted.is_open:
        raise typer.BadParameter("name dead letters, or choose them by options: one of both")
    work = dead_letters.replay(config, addresses or [], wanted, sends=yes, output=output)
    if not asyncio.run(work):
        raise typer.Exit(NO)
