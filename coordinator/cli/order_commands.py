"""The commands with which a person gives orders, and how they are explained."""
# ruff: noqa: PLC0415  # as in commands.py: what is heavy is imported when it is called

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final

import typer

from coordinator.cli.commands import ConfigFile, OutputOption
from coordinator.cli.errors import NO
from coordinator.cli.output import Output
from wire.messages import Action

Gids = Annotated[list[str] | None, typer.Argument(help="Transactions.", metavar="GID…")]
Parked = Annotated[
    bool, typer.Option("--parked", help="All that are parked, after a look at them.")
]
Name = Annotated[str | None, typer.Option("--name", help="With --parked: of this definition.")]
Reason = Annotated[str, typer.Option("--reason", help="Why. It stays in the log for ever.")]
Actor = Annotated[
    str | None, typer.Option("--actor", help="Who; USER@HOST if not given.", envvar="TWOFOLD_ACTOR")
]
Yes = Annotated[bool, typer.Option("--yes", help="With --parked: do not ask.")]


def plain(action: Action, explanation: str) -> Callable[..., None]:
    """Make the command of an order that needs no more than a reason."""

    def order(
        reason: Reason,
        gids: Gids = None,
        *,
        parked: Parked = False,
        name: Name = None,
        actor: Actor = None,
        yes: Yes = False,
        config: ConfigFile = None,
        output: OutputOption = Output.TEXT,
    ) -> None:
        from coordinator.cli.ordering import Wanted

        wanted = Wanted(action, gids or (), parked, name, reason, actor, yes)
        _order(config, wanted, output)

    order.__name__, order.__doc__ = str(action), explanation
    return order


def skip(
    reason: Reason,
    step: Annotated[str, typer.Option("--step", help="The step that it is parked for.")],
    gids: Gids = None,
    *,
    data: Annotated[
        str | None, typer.Option("--data", help="JSON that the step is to have returned.")
    ] = None,
    parked: Parked = False,
    name: Name = None,
    actor: Actor = None,
    yes: Yes = False,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Go on as if a saga's step were done, or undone: you have seen to it by hand.

    Example: twofold skip GID --step refund --reason "refunded by hand, see ticket 812"
    """
    from coordinator.cli.ordering import Wanted, read_data

    value = read_data(data)
    wanted = Wanted(Action.SKIP, gids or (), parked, name, reason, actor, yes, step, value)
    _order(config, wanted, output)


def resolve(
    reason: Reason,
    gids: Gids = None,
    *,
    commit: Annotated[
        bool, typer.Option("--commit", help="It ended so, in every participant.")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Or it ended so, in every participant.")
    ] = False,
    parked: Parked = False,
    name: Name = None,
    actor: Actor = None,
    yes: Yes = False,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """End a transaction by hand: you know how it ended, and nobody is asked any more.

    Of a decided transaction that waits for a participant, this takes your word
    for that participant; against the decision, it is recorded as heuristic.

    Example: twofold resolve GID --rollback --reason "ledger mended, see ticket 77"
    """
    from coordinator.cli.ordering import Wanted

    if commit == rollback:
        raise typer.BadParameter("say how it ended: --commit or --rollback, and not both")
    action = Action.COMMIT if commit else Action.ROLLBACK
    wanted = Wanted(action, gids or (), parked, name, reason, actor, yes)
    _order(config, wanted, output)


def move(
    reason: Reason,
    gids: Gids = None,
    *,
    to: Annotated[
        int | None, typer.Option("--to", min=1, help="The version; the newest if not given.")
    ] = None,
    parked: Parked = False,
    name: Name = None,
    actor: Actor = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Let parked sagas go on by a newer version of their definition.

    Shows first what differs between both versions, and what would become of
    each transaction. What has begun is kept; one that does not fit the new
    version is refused, with the reason.

    Example: twofold move --parked --name place-order --to 3 --reason "the mail's `with` is mended"
    """
    from coordinator.cli.moving import choose
    from coordinator.cli.ordering import Wanted

    wanted = Wanted(Action.MOVE, gids or (), parked, name, reason, actor, yes, to=to or 0)
    _order(config, wanted, output, partial(choose, output))


Gid = Annotated[str, typer.Argument(help="The transaction.")]
Waits = Annotated[str, typer.Argument(help="The step that waits.", metavar="STEP")]


def approve(
    gid: Gid,
    step: Waits,
    reason: Reason,
    *,
    role: Annotated[str, typer.Option("--role", help="As whom you decide.")] = "",
    refuse: Annotated[bool, typer.Option("--refuse", help="Say no: the saga goes back.")] = False,
    data: Annotated[
        str | None, typer.Option("--data", help="JSON that the saga is to know beside.")
    ] = None,
    actor: Actor = None,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Let a saga go on that waits for a person's word, or refuse it.

    Exit code 1 if your word does not count: the step does not wait for it, or
    it takes another role.

    Example: twofold approve GID review --role clerk --reason "the papers are complete"
    """
    from coordinator.cli.ordering import Wanted, read_data

    action = Action.REFUSE if refuse else Action.APPROVE
    value = read_data(data)
    wanted = Wanted.of_one(gid, action, reason, actor, step=step, data=value, role=role)
    _order(config, wanted, output)


def signal(
    gid: Gid,
    step: Waits,
    reason: Reason,
    *,
    data: Annotated[str | None, typer.Option("--data", help="JSON: the event.")] = None,
    actor: Actor = None,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Let a saga go on that waits for an event: you know that it has happened.

    Example: twofold signal GID paid --data '{"sum": 40}' --reason "paid in cash"
    """
    from coordinator.cli.ordering import Wanted, read_data

    value = read_data(data)
    wanted = Wanted.of_one(gid, Action.SIGNAL, reason, actor, step=step, data=value)
    _order(config, wanted, output)


def orders(
    gid: Annotated[str | None, typer.Argument(help="Only of this transaction.")] = None,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = 50,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what people have ordered, who and why, the newest first.

    Example: twofold orders -o json
    """
    from coordinator.cli import ordering

    asyncio.run(ordering.trail(config, gid=gid, limit=limit, output=output))


def offsets(
    *,
    reset: Annotated[
        bool, typer.Option("--reset", help="Give up what is lost, and go on with what is held.")
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", help="With --reset: why. It stays in the log for ever.")
    ] = "",
    actor: Actor = None,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show what each shard reads next, and what its topics hold.

    Where the two do not meet, since a topic was recreated or has expired, the
    shard waits, and the exit code is 1. --reset lets it go on with the first
    message that is held: replies are asked for again, but requests that nobody
    has read are gone, and must be made anew.

    Example: twofold offsets --reset --reason "the topic was recreated, see ticket 9"
    """
    from coordinator.cli import offsets as shards

    if reset and not reason.strip():
        raise typer.BadParameter("--reset needs a --reason")
    done = asyncio.run(
        shards.offsets(config, reset=reset, reason=reason, actor=actor, output=output)
    )
    if not done:
        raise typer.Exit(NO)


RETRY: Final = """Go on with what is parked, where it stopped, with all attempts anew.

Exit code 1 if the order is refused.

Example: twofold retry --parked --name place-order --reason "the bank is back"
"""
COMPENSATE: Final = """Undo a parked saga, even past its pivot. What has no undo stands.

Exit code 1 if the order is refused.

Example: twofold compensate GID --reason "the customer has cancelled"
"""
ABORT: Final = """Do not go on: undo a running saga, or abort what is not decided yet.

Exit code 1 if the order is refused.

Example: twofold abort GID --reason "started by mistake"
"""

ALL: Final[tuple[Callable[..., None], ...]] = (
    plain(Action.RETRY, RETRY),
    skip,
    plain(Action.COMPENSATE, COMPENSATE),
    plain(Action.ABORT, ABORT),
    resolve,
    move,
    approve,
    signal,
    orders,
    offsets,
)


def _order(config: Any, wanted: Any, output: Output, choose: Any = None) -> None:
    from coordinator.cli import ordering

    choose = choose or ordering.all_of_them
    if not asyncio.run(ordering.order(config, wanted, output, choose)):
        raise typer.Exit(NO)
