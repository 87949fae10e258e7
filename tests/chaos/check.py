"""What must be true at rest, by what users can see.

Read are the participants' business tables, `pg_prepared_xacts`, the topic of
outcomes, what the clients wrote down, and what a query says about the
transactions that they know nothing of. Nothing of how any of it works.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import asyncpg

from compose.demo.check import Finding
from compose.local.errors import StackError
from coordinator.log.views import find_by_key
from tests.chaos.harm_records import dead_letter_keys
from tests.chaos.load import COUNTER, Load, Start
from tests.chaos.services import ACCOUNTS, DATABASES, FIRST_BALANCE
from tests.chaos.system import System

ATOMIC: Final = ("move-two", "move-three")
PARTS: Final = ("a", "b", "c")
SHOWN: Final = 3


class Effect(NamedTuple):
    """One row that a participant wrote down."""

    key: str
    gid: str
    part: str
    kind: str
    amount: int


class Ledger(NamedTuple):
    """What one participant's database says."""

    effects: list[Effect]
    money: int
    counter: int


async def ledger(dsn: str) -> Ledger:
    """Read one participant's database."""
    rows = await _rows(dsn, "SELECT key, gid, part, kind, amount FROM entry")
    [[money]] = await _rows(dsn, "SELECT sum(balance)::bigint FROM account")
    counted = await _rows(dsn, f"SELECT value FROM counter WHERE name = '{COUNTER}'")
    value = counted[0][0] if counted else 0
    return Ledger([Effect(*row) for row in rows], money - ACCOUNTS * FIRST_BALANCE, value)


async def in_doubt(system: System) -> list[str]:
    """Name all that is prepared, in any database."""
    rows = await _rows(system.data.dsn("postgres"), "SELECT gid FROM pg_prepared_xacts")
    return [row[0] for row in rows]


async def unburied(system: System) -> set[bytes]:
    """Name all poison that is not among the dead letters."""
    if not system.poisons:
        return set()
    return system.poisons - await dead_letter_keys(system.kafka.bootstrap)


async def findings(system: System, load: Load) -> list[Finding]:
    """Say what must be true, and whether it is."""
    ledgers = [await ledger(system.data.dsn(database)) for database in DATABASES]
    effects = [effect for one in ledgers for effect in one.effects]
    known = await _asked(system, load.book)
    unended = {s.key for s in load.unheard} | {
        s.key for s in load.book if known.get(s.place) == "open"
    }
    prepared = await in_doubt(system)
    lies = _lies(load)
    lost = await unburied(system)
    return [
        Finding("every transaction ended", not unended, _some(sorted(unended))),
        Finding("nothing is left prepared", not prepared, _some(prepared)),
        Finding("nobody was told two outcomes", not lies, _some(lies)),
        *_agreement(load, known, effects),
        *_money(ledgers),
        _counted(load, ledgers),
        Finding("all poison is among the dead letters", not lost, _some(map(repr, lost))),
        Finding("no process ended by itself", not system.deaths, _some(system.deaths)),
    ]


def _lies(load: Load) -> list[str]:
    """Find who was told two outcomes: on the topic, or first there and then otherwise."""
    words = load.ear.outcomes
    twice = [f"{place}: {heard}" for place, heard in words.items() if len(heard) > 1]
    later = [
        f"{start.key} was told {start.said}, then {words[start.place]}"
        for start in load.book
        if start.said != "unknown"
        and (start.said == "ok") != (words[start.place][-1] == "COMMITTED")
    ]
    return twice + later


def _agreement(
    load: Load, known: dict[tuple[str, str], str], effects: list[Effect]
) -> list[Finding]:
    """Compare each transaction's effects with what was said of it."""
    by_key: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        by_key[effect.key].append(effect)
    wrong: list[str] = []
    half: list[str] = []
    forgotten: list[str] = []
    for start in load.book:
        heard = load.ear.outcomes.get(start.place, [None])[0]
        found = by_key.pop(start.key, [])
        said = _fault(start, heard, found)
        if said:
            (half if start.definition in ATOMIC else wrong).append(f"{start.key}: {said}")
        if known.get(start.place, heard) not in (heard, "open"):
            forgotten.append(f"{start.key}: heard {heard}, asked {known.get(start.place)}")
    return [
        Finding("each atomic transfer is everywhere or nowhere, as told", not half, _some(half)),
        Finding("each saga is done, undone or not begun, as told", not wrong, _some(wrong)),
        Finding("a later query agrees", not forgotten, _some(forgotten)),
        Finding("nothing happened that nobody asked for", not by_key, _some(by_key)),
    ]


def _fault(start: Start, heard: str | None, found: list[Effect]) -> str:
    """Say what is wrong with one transaction's effects, if anything."""
    if len({effect.gid for effect in found}) > 1:
        return "happened as two transactions"
    done = Counter(effect.part for effect in found if effect.kind == "do")
    undone = Counter(effect.part for effect in found if effect.kind == "undo")
    parts = PARTS[:2] if start.definition == "move-two" else PARTS
    story = f"{heard}: done {dict(done)}, undone {dict(undone)}"
    match heard:
        case "COMMITTED":
            right = done == Counter(parts) and not undone
        case "COMPENSATED" if start.definition not in ATOMIC:
            right = done == undone and all(count == 1 for count in done.values())
        case "ABORTED":
            right = not found
        case None:
            right = not found or start.acknowledged  # not ended: that is another finding
        case _:
            right = False
    return "" if right else story


def _money(ledgers: list[Ledger]) -> list[Finding]:
    """Money is moved and never made; and each balance is the sum of its entries."""
    total = sum(one.money for one in ledgers)
    written = [sum(e.amount for e in one.effects) - one.counter for one in ledgers]
    balances = [one.money for one in ledgers]
    return [
        Finding("money is conserved", total == 0, f"{total} too much"),
        Finding("balances are what was entered", written == balances, f"{written}, {balances}"),
    ]


def _counted(load: Load, ledgers: list[Ledger]) -> Finding:
    """The counter is, in each database, the number of increments that were committed."""
    words = load.ear.outcomes.items()
    expected = sum(1 for (name, _), heard in words if name == "count" and heard[0] == "COMMITTED")
    values = [one.counter for one in ledgers]
    return Finding("the counter is exact", values == [expected] * 3, f"{values}, {expected} told")


async def _asked(system: System, book: list[Start]) -> dict[tuple[str, str], str]:
    """Ask for each transaction that its client knows nothing of, as an operator would."""
    connect: Any = asyncpg.connect  # asyncpg ships no types
    connection = await connect(system.log.dsn("twofold"))
    known: dict[tuple[str, str], str] = {}
    try:
        for start in book:
            if start.said == "unknown":
                view = await find_by_key(connection, *start.place)
                if view is not None:
                    known[start.place] = str(view.outcome or view.status)
    finally:
        await connection.close()
    return known


async def stories(system: System, load: Load) -> list[str]:
    """Tell all that is known of some transactions that have not ended."""
    run = system.cluster.run

    def look() -> list[str]:
        listed = run("list", "list", "--status", "open", "--limit", str(SHOWN))
        told = [f"open, by `twofold list`:\n{listed}"]
        for start in load.unheard[:SHOWN]:
            try:
                told.append(run("show", "show", *start.place))
            except StackError:
                told.append(f"`twofold show {' '.join(start.place)}` knows of none")
        return told

    return await asyncio.to_thread(look)


async def _rows(dsn: str, query: str) -> list[Any]:
    connect: Any = asyncpg.connect  # asyncpg ships no types
    connection = await connect(dsn)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return "none" if not listed else f"{len(listed)}: {'; '.join(listed[:SHOWN])}"
