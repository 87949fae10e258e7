"""Steps of sagas on Postgres: a batch of commands is one local transaction.

The rules are in step.py. The rows of all commands are written first, in order
of their keys: whoever comes second waits on the row, and then sees what the
first has done. There is no row that is looked for, found missing, and locked.

A handler that says no spoils the effects of its whole transaction. So a batch
is tried three ways, each slower and more patient than the one before: plainly;
with a savepoint before each call; and each command in a transaction of its own.
The last is also how a command gets that found a row locked: a batch does not
wait for it, since it holds the rows of all the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import asyncpg
import msgspec
import structlog

from participants import guard
from participants.calls import Call, Failed, Locked, Outcome, ReadOnly, Verdict
from participants.connections import (
    Connection,
    Connections,
    DatabaseAway,
    describe,
    is_away,
    is_busy,
)
from participants.step import Asked, Entry, Reply, Status, absorb, settle
from wire import failpoints
from wire.messages import Result

logger = structlog.get_logger(__name__)

Key: TypeAlias = tuple[str, str]

# Locked in one order everywhere, so that two batches cannot wait for each other.
INSERT: Final = """
    INSERT INTO twofold.barrier (gid, step, status)
    SELECT gid, step, status
      FROM unnest($1::text[], $2::text[], $3::text[]) AS v(gid, step, status)
     ORDER BY gid, step
    ON CONFLICT DO NOTHING
    RETURNING gid, step
"""

READ: Final = """
    SELECT b.gid, b.step, b.status, b.reply, b.reason
      FROM twofold.barrier b
      JOIN unnest($1::text[], $2::text[]) AS v(gid, step) USING (gid, step)
     ORDER BY b.gid, b.step
       FOR UPDATE OF b
"""

# Changes nothing, but from now on the guard is there.
GUARD: Final = """
    UPDATE twofold.barrier b SET gid = b.gid
      FROM unnest($1::text[], $2::text[]) AS v(gid, step)
     WHERE (b.gid, b.step) = (v.gid, v.step)
"""

UPDATE: Final = """
    UPDATE twofold.barrier b
       SET status = v.status, reply = v.reply::json, reason = v.reason, at = now()
      FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
           AS v(gid, step, status, reply, reason)
     WHERE (b.gid, b.step) = (v.gid, v.step)
"""

DELETE: Final = """
    DELETE FROM twofold.barrier b
     USING unnest($1::text[], $2::text[]) AS v(gid, step)
     WHERE (b.gid, b.step) = (v.gid, v.step)
"""

# What a row says until the handler has answered; nobody else can see it so.
_PROVISIONAL: Final = {
    Asked.EXECUTE: Entry(Status.DONE),
    Asked.COMPENSATE: Entry(Status.SEALED),
}


@dataclass(frozen=True, slots=True)
class Item:
    """One command for a step. ``tag`` is its owner's, and not looked at."""

    asked: Asked
    call: Call
    tag: Any = None
    generation: int | None = None
    """Of the log that asks; see generations.py."""

    @property
    def key(self) -> Key:
        return self.call.gid, self.call.name


class Performed(NamedTuple):
    """What handlers answered. If not clean, what they wrote must be undone."""

    outcomes: Sequence[Outcome]
    clean: bool


class Handlers(Protocol):
    """The handlers of a participant. Verdicts are returned; a lost connection is raised."""

    def is_bulk(self, command: str) -> bool:
        """Tell whether a step's handler takes many calls at once."""
        ...

    async def perform(self, connection: Connection, items: Sequence[Item]) -> Performed:
        """Call the handler of these items: one, or many for the same bulk handler."""
        ...


TOGETHER_MS: Final = 50
"""How long a batch waits for a lock. It holds the rows of all its steps meanwhile, and who has
the lock may be a branch that waits, prepared, for another one that wants one of these rows: a
circle over several databases, which none of them can see."""

_IGNORED: Final = Failed("a statement of the handler failed, and it went on regardless")


class _Spoiled(Exception):
    """A handler said no, and its transaction has the effects of others as well."""


class _Ended(_Spoiled):
    """A handler has ended the transaction, or tried to. Nothing of it is so; see guard.py."""


async def run_batch(
    connections: Connections, items: Sequence[Item], handlers: Handlers
) -> list[Reply | None]:
    """Do what is asked, durably, and return the answers in the same order.

    None is for what an old generation asks: it is not done, and not answered.

    Raises:
        DatabaseAway: what was done is found out by asking again.

    """
    async with connections.one() as connection:
        admits = connections.generations.admits
        admitted = [await admits(connection, i.call.gid, i.generation) for i in items]
        obeyed = [item for item, is_so in zip(items, admitted, strict=True) if is_so]
        lock_ms = connections.limits.lock_ms
        replies = await _obey(connection, obeyed, handlers, lock_ms) if obeyed else []
    for item, reply in zip(obeyed, replies, strict=True):
        if reply.result is Result.DONE:
            connections.witness.saw_step(*item.key)
    rest = iter(replies)
    return [next(rest) if is_so else None for is_so in admitted]


async def _obey(
    connection: Connection, items: Sequence[Item], handlers: Handlers, lock_ms: int
) -> list[Reply]:
    """Do all at once. What is locked is done afterwards, alone: it holds nothing as it waits."""
    begin = _begin(min(lock_ms, TOGETHER_MS))
    done: dict[int, Reply] = {}
    locked: Sequence[int] = range(len(items))
    for guarded in (False, True) if len(items) > 1 else (False,):
        try:
            replies, locked = await _transact(
                connection, items, handlers, begin=begin, guarded=guarded
            )
        except (_Spoiled, asyncpg.PostgresError) as error:
            await _roll_back(connection, error)
        else:
            done = dict(enumerate(replies))
            break
    for index in locked:  # others wait behind these, so they share the time
        begin = _begin(ceil(lock_ms / len(locked)))  # to Postgres, 0 is for ever
        done[index] = await _alone(connection, items[index], handlers, begin)
    return [done[index] for index in range(len(items))]


def _begin(lock_ms: int) -> str:
    return f"BEGIN; SET LOCAL lock_timeout = {lock_ms}; {guard.AT_WORK}"


async def _alone(connection: Connection, item: Item, handlers: Handlers, begin: str) -> Reply:
    try:
        [reply], _ = await _transact(connection, [item], handlers, begin=begin, guarded=True)
    except _Ended as error:
        await _roll_back(connection, error)
        guard.report(item.call)
        return Reply(Result.FAILED, reason=guard.ENDED)
    except asyncpg.PostgresError as error:
        await _roll_back(connection, error)
        # Its row was locked for long, or a deferred constraint failed: not done.
        return Reply(Result.BUSY if is_busy(error) else Result.FAILED, reason=describe(error))
    return reply


async def _roll_back(connection: Connection, error: Exception) -> None:
    if is_away(error):
        raise error
    if connection.is_closed():  # and a handler has hidden it
        raise DatabaseAway(describe(error)) from error
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


async def _transact(
    connection: Connection,
    items: Sequence[Item],
    handlers: Handlers,
    *,
    begin: str,
    guarded: bool,
) -> tuple[Sequence[Reply], Sequence[int]]:
    """Do these in one transaction; tell as well which of them could not get a lock."""
    await connection.execute(begin)
    ledger = _Ledger(connection)
    await ledger.open(items)
    walk = _Walk(connection, ledger, handlers, guarded=guarded)
    replies = await walk.run(items)
    await ledger.write()
    await connection.execute(guard.COMMIT)
    failpoints.hit("P12")
    return replies, walk.locked


class _Ledger:
    """The rows of one batch, as the transaction's end will leave them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._written: dict[Key, Entry] = {}
        self.entries: dict[Key, Entry] = {}

    async def open(self, items: Sequence[Item]) -> None:
        """Take the row of each key: ours if it is new, else as it is, locked."""
        first = {item.key: item.asked for item in reversed(items)}
        gids, steps = [key[0] for key in first], [key[1] for key in first]
        statuses = [_PROVISIONAL[asked].status for asked in first.values()]
        for gid, step in await self._connection.fetch(INSERT, gids, steps, statuses):
            key = (gid, step)
            self._written[key] = _PROVISIONAL[first[key]]
            self.entries[key] = Entry()
        known = [key for key in first if key not in self.entries]
        if not known:
            return
        gids, steps = [key[0] for key in known], [key[1] for key in known]
        for gid, step, status, reply, reason in await self._connection.fetch(READ, gids, steps):
            data = None if reply is None else msgspec.json.decode(reply)
            entry = Entry(Status(status), data, reason)
            self._written[gid, step] = self.entries[gid, step] = entry
        undone = {item.key for item in items if item.asked is Asked.COMPENSATE}
        bare = [key for key in known if key in undone and self.entries[key].status is Status.DONE]
        if bare:  # new rows are guarded as they are
            await self._connection.execute(GUARD, [k[0] for k in bare], [k[1] for k in bare])

    async def write(self) -> None:
        """Write what has changed, in one statement."""
        changed = [k for k, entry in self.entries.items() if entry != self._written[k]]
        kept = [(key, self.entries[key]) for key in changed if self.entries[key] != Entry()]
        gone = [key for key in changed if self.entries[key] == Entry()]
        if kept:
            await self._connection.execute(
                UPDATE,
                [key[0] for key, _ in kept],
                [key[1] for key, _ in kept],
                [entry.status for _, entry in kept],
                [_encoded(entry) for _, entry in kept],
                [entry.reason.replace("\0", "") for _, entry in kept],
            )
        if gone:
            await self._connection.execute(DELETE, [k[0] for k in gone], [k[1] for k in gone])


class _Walk:
    """One pass over a batch, in order of arrival for each transaction.

    Calls of a bulk handler are put off until something of the same
    transaction comes, or the batch ends: so they are one call, or few.
    """

    def __init__(
        self, connection: Connection, ledger: _Ledger, handlers: Handlers, *, guarded: bool
    ) -> None:
        self._connection, self._ledger, self._handlers = connection, ledger, handlers
        self._guarded = guarded
        self.locked: list[int] = []
        self._replies: dict[int, Reply] = {}
        self._put_off: dict[str, list[tuple[int, Item]]] = {}
        self._waiting: set[str] = set()

    async def run(self, items: Sequence[Item]) -> list[Reply]:
        for index, item in enumerate(items):
            if item.call.gid in self._waiting:
                await self._catch_up()
            entry = self._ledger.entries[item.key]
            settled = settle(entry, item.asked)
            if settled is not None:
                self._ledger.entries[item.key], self._replies[index] = settled
            elif item.asked is Asked.EXECUTE and self._handlers.is_bulk(item.call.command):
                self._put_off.setdefault(item.call.command, []).append((index, item))
                self._waiting.add(item.call.gid)
            else:
                await self._call([(index, _with_result(item, entry))])
        await self._catch_up()
        return [self._replies[index] for index in range(len(items))]

    async def _catch_up(self) -> None:
        for group in self._put_off.values():
            await self._call(group)
        self._put_off.clear()
        self._waiting.clear()

    async def _call(self, group: Sequence[tuple[int, Item]]) -> None:
        """Call one handler, for one item or for many."""
        performed = await self._perform([item for _, item in group])
        if not performed.clean and len(group) > 1:
            for one in group:  # a bulk handler failed as a whole: because of which?
                await self._call([one])
            return
        for (index, item), outcome in zip(group, performed.outcomes, strict=True):
            if isinstance(outcome, Locked):
                self.locked.append(index)
            reply = _reply(item.asked, outcome)
            self._replies[index] = reply
            before = self._ledger.entries[item.key]
            self._ledger.entries[item.key] = absorb(before, item.asked, reply)

    async def _perform(self, items: Sequence[Item]) -> Performed:
        if not self._guarded:
            performed = await self._handlers.perform(self._connection, items)
            if not performed.clean or not self._connection.is_in_transaction():
                raise _Spoiled
            return performed
        await self._connection.execute("SAVEPOINT twofold")
        performed = await self._handlers.perform(self._connection, items)
        try:
            if performed.clean:
                try:
                    await self._connection.execute("RELEASE twofold")
                except asyncpg.InFailedSQLTransactionError:
                    performed = Performed([_IGNORED] * len(items), clean=False)
            if not performed.clean:
                await self._connection.execute("ROLLBACK TO twofold; RELEASE twofold")
        except guard.NOT_OURS as error:
            raise _Ended from error
        return performed


def _with_result(item: Item, entry: Entry) -> Item:
    """Give an undo what its step returned, as the barrier knows it."""
    if item.asked is Asked.EXECUTE:
        return item
    return replace(item, call=replace(item.call, result=entry.data))


def _reply(asked: Asked, outcome: Outcome) -> Reply:
    match outcome:
        case Verdict():
            return Reply(Result(outcome.verdict), reason=outcome.reason)
        case _ if asked is Asked.COMPENSATE:
            return Reply(Result.DONE, undone=True)
        case ReadOnly(data):
            return Reply(Result.DONE, data)
        case data:
            return Reply(Result.DONE, data)


def _encoded(entry: Entry) -> str | None:
    return None if entry.data is None else msgspec.json.encode(entry.data).decode()
