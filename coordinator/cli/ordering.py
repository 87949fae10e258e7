"""`twofold retry`, `skip`, `compensate`, `abort`, `resolve`, `move`, `approve`, and `orders`.

An order is a message to the transaction's shard. What became of it is read
from the transaction's log, where it is written whether it was carried out or
refused.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import typer

from coordinator.cli import plain, reach, who
from coordinator.cli.errors import Trouble
from coordinator.cli.output import Output, as_json, as_table, note
from coordinator.config import Config
from coordinator.core.records import Ordered, decode
from coordinator.core.transition import Status
from coordinator.log.ask import ask
from coordinator.log.views import MOST, TransactionView, list_orders, list_transactions
from coordinator.log.views import show as read
from wire.envelope import Envelope, Record, seal
from wire.kafka import Producer
from wire.messages import Action, Json, Order
from wire.topics import Topics

OBEYED_S: Final = 10.0
"""How long an order may lie in its topic before we say that nobody takes it."""

ORDERED = """
    SELECT gid, record FROM twofold.decision_log WHERE gid = ANY($1::text[]) AND kind = 'ordered'
"""


class Wanted(NamedTuple):
    """What is ordered, and of which transactions: those named, or those parked."""

    action: Action
    gids: Sequence[str]
    parked: bool
    name: str | None
    reason: str
    actor: str | None
    yes: bool
    step: str = ""
    data: Json = None
    role: str = ""
    to: int = 0

    @classmethod
    def of_one(
        cls, gid: str, action: Action, reason: str, actor: str | None, **said: Any
    ) -> Wanted:
        """Want it of one transaction, and be asked nothing."""
        return cls(
            action, (gid,), parked=False, name=None, reason=reason, actor=actor, yes=True, **said
        )


Choice: TypeAlias = tuple[Sequence[TransactionView], Wanted] | None
"""Of which transactions it is ordered, and what; None if of none."""

Choose: TypeAlias = Callable[[Sequence[Any], Sequence[TransactionView], Wanted], Awaitable[Choice]]
"""Looks at what was found, in these logs, before anything is done to it."""


def read_data(text: str | None) -> Json:
    """Read what a step is to have returned."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Trouble(f"--data is not JSON: {error}.") from error


async def all_of_them(
    _logs: Sequence[Any], views: Sequence[TransactionView], wanted: Wanted
) -> Choice:
    """Show what a query has found, before anything is done to all of it."""
    if wanted.yes or not wanted.parked:
        return views, wanted
    what = f"{wanted.action} {wanted.step}".strip()
    note(f"would {what} {len(views)} transactions:")
    for view in views:
        note(f"  {view.gid}  {view.name}  {view.key}  {view.reason}")
    return (views, wanted) if agreed(wanted) else None


async def order(file: Any, wanted: Wanted, output: Output, choose: Choose) -> bool:
    """Order, and tell what became of it; False if anything was refused."""
    config = reach.settings(file)
    if not wanted.reason.strip():
        raise typer.BadParameter("say why: it stays in the log for ever", param_hint="--reason")
    if wanted.parked == bool(wanted.gids):
        raise typer.BadParameter("say which: GIDs, or --parked for all that are, and not both")
    async with reach.logs(config) as logs:
        await reach.facts(logs[0])
        views = await all_parked(logs, wanted) if wanted.parked else await _named(logs, wanted)
        if not views:
            _print({}, {}, output)
            return wanted.parked
        choice = await choose(logs, views, wanted)
        if choice is None:
            return False
        chosen, wanted = choice
        orders = {view.gid: order_of(view, wanted) for view in chosen}
        with reach.kafka(config):
            await _send(config, chosen, orders)
        answers = await _answers(logs, orders)
        states = {view.gid: view for view in await _found(logs, list(orders))}
    _print(answers, states, output)
    return len(chosen) == len(views) and not any(one.refused for one in answers.values())


async def all_parked(logs: Sequence[Any], wanted: Wanted) -> list[TransactionView]:
    """Find all that are parked, of one name if one is wanted, however many they are."""
    status, name = Status.PARKED, wanted.name
    found: list[TransactionView] = []
    for log in logs:
        before: str | None = None
        while page := await list_transactions(
            log, status=status, name=name, limit=MOST, before=before
        ):
            found += page
            before = page[-1].gid
    if not found:
        note("nothing is parked, so nothing was ordered")
    return found


async def _named(logs: Sequence[Any], wanted: Wanted) -> list[TransactionView]:
    found = await _found(logs, wanted.gids)
    missing = sorted(set(wanted.gids) - {view.gid for view in found})
    if missing:
        note(f"there is no transaction {', '.join(missing)}: nothing was ordered")
        note("`twofold show NAME KEY` tells the gid of a key")
        return []
    return found


async def _found(logs: Sequence[Any], wanted: Sequence[str]) -> list[TransactionView]:
    details = [await read(log, gid) for gid in dict.fromkeys(wanted) for log in logs]
    return [detail.view for detail in details if detail is not None]


def agreed(wanted: Wanted) -> bool:
    """Ask a person whether what was shown is to be done."""
    if wanted.yes:
        return True
    if sys.stdin.isatty():
        return typer.confirm("Do it?", err=True)
    note("nothing was ordered; --yes does it")
    return False


def order_of(view: TransactionView, wanted: Wanted) -> Order:
    """Make an order, with a name of its own."""
    return Order(
        gid=view.gid,
        id=secrets.token_hex(8),
        action=wanted.action,
        actor=who.actor(wanted.actor),
        reason=wanted.reason,
        step=wanted.step,
        data=wanted.data,
        role=wanted.role,
        to=wanted.to,
    )


async def _send(
    config: Config, views: Sequence[TransactionView], orders: Mapping[str, Order]
) -> None:
    async with Producer(config.kafka.bootstrap) as producer:
        await producer.burst([_sealed(config, view, orders[view.gid]) for view in views])


def _sealed(config: Config, view: TransactionView, order: Order) -> Record:
    return seal(
        Envelope(order),
        topic=Topics(config.kafka.prefix).replies,
        source="/twofold/cli",
        key=view.gid,
        partition=view.shard,
    )


async def _answers(logs: Sequence[Any], orders: Mapping[str, Order]) -> dict[str, Ordered]:
    """Wait until each order is in its transaction's log."""
    wanted = {order.id for order in orders.values()}
    given_up = time.monotonic() + OBEYED_S
    while True:
        rows = [row for log in logs for row in await ask(log, ORDERED, list(orders))]
        known = [(gid, decode(text)) for gid, text in rows]
        found = {g: r for g, r in known if isinstance(r, Ordered) and r.id in wanted}
        if len(found) == len(orders):
            return found
        if time.monotonic() > given_up:
            left = ", ".join(sorted(orders.keys() - found.keys()))
            raise Trouble(
                f"no coordinator has taken the order for {left} within {OBEYED_S:g} s.",
                "It stays in its topic, and is obeyed once one runs: `twofold serve`.",
            )
        await asyncio.sleep(0.05)


def _print(
    answers: Mapping[str, Ordered], states: Mapping[str, TransactionView], output: Output
) -> None:
    if output is Output.JSON:
        as_json(
            [
                {
                    "gid": gid,
                    "action": answer.action,
                    "obeyed": not answer.refused,
                    "refused": answer.refused or None,
                    "status": states[gid].status,
                    "outcome": states[gid].outcome,
                }
                for gid, answer in answers.items()
            ]
        )
        return
    if not answers:
        return
    rows = [
        (
            gid,
            f"refused: {answer.refused}" if answer.refused else "obeyed",
            str(states[gid].outcome or states[gid].status),
        )
        for gid, answer in answers.items()
    ]
    as_table(("GID", "ORDER", "STATE"), rows)


# ── the audit trail ──────────────────────────────────────────────────────────


async def trail(file: Any, *, gid: str | None, limit: int, output: Output) -> None:
    """Print what was ordered, by whom and why, the newest first."""
    config = reach.settings(file)
    async with reach.logs(config, gid=gid) as logs:
        await reach.facts(logs[0])
        entries = [e for log in logs for e in await list_orders(log, gid=gid, limit=limit)]
    entries = sorted(entries, key=lambda entry: entry.at_us, reverse=True)[:limit]
    orders = [(e, e.record) for e in entries if isinstance(e.record, Ordered)]
    if output is Output.JSON:
        as_json(
            [
                {"gid": e.gid, "at": plain.moment(e.at_us), **msgspec.to_builtins(order)}
                for e, order in orders
            ]
        )
        return
    rows = [
        (
            plain.moment(e.at_us),
            e.gid,
            order.actor,
            plain.what_was_ordered(order),
            f"refused: {order.refused}" if order.refused else "obeyed",
            order.reason,
        )
        for e, order in orders
    ]
    as_table(("TIME", "GID", "WHO", "ORDER", "", "WHY"), rows)
