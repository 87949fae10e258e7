"""`twofold indoubt resolve`: a person ends a prepared transaction, if that breaks no promise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from audit.branches import strays
from audit.doubt import Doubt, doubts
from audit.facts import Facts
from audit.findings import Kind
from audit.looking import Wanted, opened
from audit.reading import Source
from coordinator.cli import reach, who
from coordinator.cli.errors import Trouble
from coordinator.cli.output import note, say
from coordinator.log.ask import ask
from participants.connections import describe

NOBODY_KNOWS: Final = (
    Kind.PREPARED_BEFORE_HORIZON,
    Kind.PREPARED_OTHER_GENERATION,
    Kind.PREPARED_MISNAMED,
    Kind.PREPARED_ELSEWHERE,
)
"""Where no coordinator will ever say anything: a person may."""

NOTE: Final = """
    INSERT INTO twofold.resolved_branch (name, participant, action, decided, actor, reason)
    VALUES ($1, $2, $3, $4, $5, $6)
"""


@dataclass(frozen=True, slots=True)
class Order:
    """What a person wants."""

    gid: str
    branch: str
    commit: bool
    reason: str
    actor: str | None

    @property
    def action(self) -> str:
        return "commit" if self.commit else "rollback"


def refusal(facts: Facts, doubt: Doubt, *, commit: bool) -> str:
    """Say why a prepared transaction must not be ended so; nothing if it may. Pure."""
    if doubt.decided in ("commit", "abort"):
        if commit == (doubt.decided == "commit"):
            return ""
        return f"the log says {doubt.decided}: to end it otherwise breaks its transaction"
    found = {(s.gid, s.part, s.participant): s.kind for s in strays(facts)}
    kind = found.get((doubt.gid, doubt.branch, doubt.participant))
    if kind in NOBODY_KNOWS or doubt.decided == "parked":
        return ""
    if doubt.decided == "undecided":
        return "it may be decided any moment; `twofold abort GID` asks for its end"
    return f"nothing is decided about it that could be carried out: it waits {doubt.waits}"


async def resolve(file: Path | None, wanted: Wanted, order: Order) -> None:
    """End one branch, and write down who has done so.

    Raises:
        Trouble: it is not prepared, or to end it so would break a promise.

    """
    config = reach.settings(file)
    async with opened(config, wanted) as (source, _):
        facts = await source.read([order.gid])
        doubt = _only(doubts(facts), order)
        if why := refusal(facts, doubt, commit=order.commit):
            raise Trouble(f"{doubt.name} is not ended: {why}.")
        actor = who.actor(order.actor)
        async with reach.logs(config, gid=order.gid) as (log,):
            row = (doubt.name, doubt.participant, order.action, doubt.decided, actor, order.reason)
            await ask(log, NOTE, *row)
        await _end(source, doubt, commit=order.commit)
    say(f"{doubt.name} of {doubt.participant}: {order.action}")
    note("written down in twofold.resolved_branch")


def _only(found: list[Doubt], order: Order) -> Doubt:
    here = [one for one in found if (one.gid, one.branch) == (order.gid, order.branch)]
    if not here:
        raise Trouble(
            f"no branch {order.branch} of {order.gid} is prepared in these databases.",
            "`twofold indoubt list` shows what is.",
        )
    if len(here) > 1:
        where = " and ".join(one.participant for one in here)
        raise Trouble(f"it is prepared at {where}.", "Give only the --participant that is meant.")
    return here[0]


async def _end(source: Source, doubt: Doubt, *, commit: bool) -> None:
    place = tuple(doubt.participant.split("+"))
    how = "COMMIT" if commit else "ROLLBACK"

    async def end(connection: Any) -> None:
        # A name that was parsed as ours holds nothing that would need quoting.
        await connection.execute(f"{how} PREPARED '{doubt.name}'")
        if not commit:
            # Else a late copy of its Prepare would do it again.
            await connection.execute(MARK, doubt.gid, doubt.branch, "ended by a person")

    try:
        await source.use(place, end)
    except asyncpg.PostgresError as error:
        raise Trouble(f"{doubt.name} could not be ended: {describe(error)}.") from error


MARK: Final = """
    INSERT INTO twofold.branch (gid, branch, status, reason) VALUES ($1, $2, 'rolled-back', $3)
    ON CONFLICT DO NOTHING
"""
