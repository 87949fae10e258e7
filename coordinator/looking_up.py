"""What the log is asked, once for all, before a turn: what its messages need and memory lacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, cast

from coordinator.core.records import Entry
from coordinator.definitions import Definitions
from coordinator.holdings import Holdings
from coordinator.log.store import DecisionLog
from coordinator.turn import Known
from wire.envelope import Unreadable, subject_of, type_of, unseal
from wire.kafka import Received
from wire.messages import (
    AnyMessage,
    Arrived,
    Begin,
    Compensated,
    Executed,
    Inquired,
    LockGranted,
    Order,
)


async def look_up(
    received: Sequence[Received],
    holdings: Holdings,
    definitions: Definitions,
    log: DecisionLog,
    settle: Callable[[], Awaitable[None]],
) -> Known:
    """Ask the log; ``settle`` waits for what is on its way there.

    Raises:
        LogUnavailable: the log is gone.

    """
    starts: set[tuple[str, str]] = set()
    doubts: set[str] = set()
    orders: set[str] = set()
    grants: set[str] = set()
    messages, answered = _sorted(received)
    if any(_may_be_new(message, definitions) for message in messages):
        await definitions.refresh(log)
    for message in messages:
        if isinstance(message, Begin):
            starts.add((message.definition, message.key))
        elif message.gid not in holdings.live and not isinstance(message, Arrived):
            wanted: dict[type[Any], set[str]] = {Inquired: doubts, LockGranted: grants}
            wanted.get(type(message), orders).add(message.gid)
    known = Known()
    arrived = [message for message in messages if isinstance(message, Arrived)]
    if starts:
        known.starts = await log.known_starts(starts)
    if doubts:
        known.decisions, known.doubts = await log.decisions(doubts), doubts
    known.over = await _over(log, grants)
    if orders:
        # What is to be brought back may have been let go of a moment ago.
        await settle()
        known.records = _by_gid(await log.records(orders))
        await definitions.refresh(log)
    strays = {*answered, *(one.gid for one in arrived)} - orders
    strays -= holdings.live.keys()
    if arrived:
        known.letters = await log.letters({(one.topic, one.key) for one in arrived})
    if strays:
        # They have ended, or they sleep, and this wakes them.
        known.records |= _by_gid(await log.asleep(strays))
    return known


def _may_be_new(message: AnyMessage, definitions: Definitions) -> bool:
    """Tell whether a message may speak of a definition that was published a moment ago."""
    if isinstance(message, Begin):
        return not definitions.knows(message.definition)
    return isinstance(message, Order) and message.to > 0


async def _over(log: DecisionLog, gids: set[str]) -> set[str]:
    """Find those that have ended, or never were."""
    return gids - await log.unended(gids) if gids else gids


def _sorted(
    received: Sequence[Received],
) -> tuple[list[Begin | Inquired | LockGranted | Order | Arrived], set[str]]:
    """Read those messages for which the log may have to be asked, and name the sagas answered.

    Answers are many, so only their headers are looked at.
    """
    messages: list[Begin | Inquired | LockGranted | Order | Arrived] = []
    answered: set[str] = set()
    for record in received:
        kind = type_of(record.headers)
        if kind in (Executed, Compensated):
            answered.add(subject_of(record.headers))
        elif kind in (Begin, Inquired, LockGranted, Order, Arrived):
            with suppress(Unreadable):  # the turn reads it again, and buries it
                messages.append(cast("Any", unseal(record.headers, record.value).message))
    return messages, answered


def _by_gid(entries: Sequence[Entry]) -> dict[str, Sequence[Entry]]:
    return {gid: list(log) for gid, log in groupby(entries, key=lambda entry: entry.gid)}
