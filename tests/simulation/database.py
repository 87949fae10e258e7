"""A participant's Postgres, as far as the kit's statements need it.

It knows transactions, prepared transactions, rows that several wait for, and
savepoints. The statements are the kit's own, so the kit runs unchanged; one
that is not known here fails the run. Each is executed at one moment; what it
waits for is another transaction's row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import asyncpg

from participants import barrier, generations, guard, postgres, witness
from tests.simulation.faults import Fault, Faults
from tests.simulation.process import Process
from tests.simulation.statements import BEGIN_BRANCH, BEGIN_STEPS, KEEP, NAMED

EFFECT: Final = "INSERT INTO ledger (gid, name, undo, amount) VALUES ($1, $2, $3, $4)"

Key = tuple[str, str, str]
"""A table and the key of one of its rows."""


class Marker(NamedTuple):
    """A row of twofold.branch."""

    status: str
    reply: str | None = None
    reason: str = ""


class Step(NamedTuple):
    """A row of twofold.barrier."""

    status: str
    reply: str | None = None
    reason: str = ""


class Effect(NamedTuple):
    """What a handler wrote."""

    gid: str
    name: str
    undo: bool
    amount: int


@dataclass
class Transaction:
    """What is written and not yet visible, and the rows that are held meanwhile."""

    rows: dict[Key, Any] = field(default_factory=dict[Key, Any])
    effects: list[Effect] = field(default_factory=list[Effect])
    held: set[Key] = field(default_factory=set[Key])
    saved: tuple[dict[Key, Any], list[Effect]] | None = None
    failed: bool = False
    at_work: bool = False
    guarded: bool = False
    wait_ms: int = 0
    prepared_at: float = 0.0


class Watching:
    """What a database tells whoever watches it; see check.py."""

    def prepared(self, database: Database, name: str) -> None:
        """See a transaction become prepared."""

    def committed(self, database: Database, transaction: Transaction) -> None:
        """See a transaction become visible."""

    def rolled_back(self, database: Database, name: str) -> None:
        """See a prepared transaction vanish."""


class Database:
    """The server. It outlives its clients, and what is prepared outlives itself."""

    def __init__(self, name: str, watching: Watching) -> None:
        self.name, self.watching = name, watching
        self.rows: dict[Key, Any] = {}
        self.ledger: list[Effect] = []
        self.prepared: dict[str, Transaction] = {}
        self.generations: dict[tuple[str, int], int] = {}
        self.connections: list[SimConnection] = []
        self._loop = asyncio.get_running_loop()
        self._holders: dict[Key, Transaction] = {}
        self._waiters: dict[Key, list[asyncio.Future[None]]] = {}

    def crash(self) -> None:
        """Lose all connections, and what was not prepared with them."""
        for connection in tuple(self.connections):
            connection.lose()

    def raise_generation(self, cluster: str, shard: int, generation: int) -> str:
        """Remember the generation of a shard's log, if it is higher."""
        known = self.generations.get((cluster, shard), 0)
        self.generations[cluster, shard] = max(known, generation)
        return "INSERT 0 1"

    async def hold(self, key: Key, by: Transaction, wait_ms: int) -> None:
        """Take a row, or wait for whoever has it."""
        give_up_at = self._loop.time() + wait_ms / 1000
        while (holder := self._holders.get(key)) is not None and holder is not by:
            turn: asyncio.Future[None] = self._loop.create_future()
            self._waiters.setdefault(key, []).append(turn)
            timer = self._loop.call_at(give_up_at, _wake, turn)
            try:
                await turn
            finally:
                timer.cancel()
                self._waiters.get(key, [turn]).remove(turn)
            if self._loop.time() >= give_up_at and self._holders.get(key) is not None:
                raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
        self._holders[key] = by
        by.held.add(key)

    def let_go(self, transaction: Transaction) -> None:
        """Free all rows of a transaction that has ended."""
        for key in sorted(transaction.held):
            if self._holders.get(key) is transaction:
                del self._holders[key]
                for waiter in tuple(self._waiters.get(key, ())):
                    _wake(waiter)
        transaction.held.clear()

    def publish(self, transaction: Transaction) -> None:
        """Make visible what a transaction wrote, all at once."""
        for key, row in transaction.rows.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        self.ledger += transaction.effects
        self.watching.committed(self, transaction)
        self.let_go(transaction)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class SimConnection:
    """One connection, with the methods of asyncpg's that the kit uses."""

    def __init__(self, database: Database, process: Process, faults: Faults) -> None:
        self._database, self._process, self._faults = database, process, faults
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._transaction: Transaction | None = None
        self._plain: dict[str, Callable[..., str]] = {
            "COMMIT": self._commit,
            guard.COMMIT: self._commit_ours,
            barrier.GUARD: self._guard,
            "BEGIN": self._begin,
            "ROLLBACK": self._roll_back,
            "SAVEPOINT twofold": self._save,
            "RELEASE twofold": self._release,
            "ROLLBACK TO twofold; RELEASE twofold": self._roll_back_to,
            "SELECT 1": lambda: "SELECT 1",
            EFFECT: self._effect,
            barrier.UPDATE: self._update,
            barrier.DELETE: self._delete,
            generations.RAISE: self._database.raise_generation,
        }
        database.connections.append(self)

    # ── as asyncpg has it ────────────────────────────────────────────────────

    def is_in_transaction(self) -> bool:
        return self._transaction is not None

    def is_closed(self) -> bool:
        return not self._open

    @property
    def at_work(self) -> bool:
        """Whether the transaction is the one in which handlers are called."""
        return self._transaction is not None and self._transaction.at_work

    def terminate(self) -> None:
        self.lose()

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109  # as asyncpg has it
        del timeout
        self.lose()

    async def execute(self, sql: str, *args: Any) -> str:
        """Execute, and return what psql would print."""
        if (keep := KEEP.fullmatch(sql)) is not None:
            sql = keep[4]
            self._keep_reply(keep[2], keep[3], keep[1])
        await self._travel(sql)
        if (named := NAMED.fullmatch(sql)) is not None:
            tag = self._name(named[1], named[2])
        elif (begin := BEGIN_BRANCH.fullmatch(sql)) is not None:
            tag = await self._begin_branch(int(begin[1]), begin[2], begin[3])
        elif (begin := BEGIN_STEPS.fullmatch(sql)) is not None:
            tag = self._begin(int(begin[1]), at_work=True)
        else:
            tag = await self._execute(sql, args)
        await self._return()
        return tag

    async def fetchrow(self, sql: str, *args: Any) -> Any:
        """Read one row."""
        await self._travel()
        row = None
        if sql is postgres.PREPARED:
            if args[0] in self._database.prepared:
                row = {"database": self._database.name, "ours": True}
        else:
            assert sql in (postgres.MARKER, witness.BRANCH, witness.STEP), sql
            table = "barrier" if sql is witness.STEP else "branch"
            found: Marker | Step | None = self._database.rows.get((table, *args))
            row = None if found is None else found._asdict()
        await self._return()
        return row

    async def fetch(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        """Read rows, or write and return them."""
        await self._travel()
        if sql is postgres.IN_DOUBT:
            rows = self._in_doubt()
        elif sql is generations.READ:
            rows = [(*shard, n) for shard, n in self._database.generations.items()]
        elif sql is barrier.INSERT:
            rows = await self._insert(*args)
        else:
            assert sql is barrier.READ, sql
            rows = await self._read(*args)
        await self._return()
        return rows

    # ── on the way ───────────────────────────────────────────────────────────

    async def _travel(self, sql: str = "") -> None:
        if not self._open:
            raise asyncpg.ConnectionDoesNotExistError("the connection is closed")
        await self._process.step()
        if self._faults.strikes(Fault.DATABASE_SLOW, self._database.name):
            try:
                await asyncio.sleep(self._faults.between(Fault.DATABASE_SLOW, 0.001, 0.5))
            except asyncio.CancelledError:
                if sql == guard.COMMIT or NAMED.fullmatch(sql):
                    self._finish_without_us(sql)
                raise
        if not self._open:  # while we waited, or were paused
            raise asyncpg.ConnectionDoesNotExistError("the connection was lost")

    def _finish_without_us(self, sql: str) -> None:
        """Let what was sent be executed, though nobody waits for it any more."""
        transaction, self._transaction = self._transaction, None

        def finish() -> None:
            self._transaction = transaction
            try:
                named = NAMED.fullmatch(sql)
                _ = self._name(named[1], named[2]) if named else self._commit_ours()
            except asyncpg.PostgresError:
                pass
            if not self._open:
                self._end()

        self._loop.call_later(self._faults.between(Fault.DATABASE_SLOW, 0.0, 1.5), finish)

    async def _return(self) -> None:
        await self._process.step()
        lost = self._faults.strikes(Fault.DATABASE_UNACKNOWLEDGED, self._database.name)
        if lost:
            self.lose()
        if not self._open:
            raise asyncpg.ConnectionDoesNotExistError("the connection was lost")

    def lose(self) -> None:
        """Close, from either side: the server rolls back what was not prepared."""
        if self._open:
            self._open = False
            self._database.connections.remove(self)
            self._end()

    def lose_if_of(self, process: Process) -> None:
        """Close, if this process held it."""
        if process is self._process:
            self.lose()

    def _end(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            self._database.let_go(transaction)

    # ── statements ───────────────────────────────────────────────────────────

    def _current(self) -> Transaction:
        transaction = self._transaction
        assert transaction is not None, "outside a transaction"
        if transaction.failed:
            raise asyncpg.InFailedSQLTransactionError("current transaction is aborted")
        return transaction

    async def _hold(self, key: Key, transaction: Transaction, wait_ms: int) -> None:
        """Take a row; to fail to is to fail the transaction."""
        try:
            await self._database.hold(key, transaction, wait_ms)
        except asyncpg.PostgresError:
            transaction.failed = True
            raise
        if self._transaction is not transaction:  # the connection was lost meanwhile
            self._database.let_go(transaction)
            raise asyncpg.ConnectionDoesNotExistError("the connection was lost")

    async def _begin_branch(self, wait_ms: int, gid: str, branch: str) -> str:
        assert self._transaction is None, "BEGIN inside a transaction"
        transaction = self._transaction = Transaction(at_work=True, guarded=True)
        key = ("branch", gid, branch)
        if key not in self._database.rows:
            await self._hold(key, transaction, wait_ms)
        if key in self._database.rows:
            return "INSERT 0 0"
        transaction.rows[key] = Marker("committed")
        return "INSERT 0 1"

    async def _execute(self, sql: str, args: Sequence[Any]) -> str:
        if sql is postgres.MARK:
            return await self._mark(*args)
        assert sql in self._plain, sql
        return self._plain[sql](*args)

    def _begin(self, wait_ms: int = 0, *, at_work: bool = False) -> str:
        assert self._transaction is None, "BEGIN inside a transaction"
        self._transaction = Transaction(at_work=at_work, wait_ms=wait_ms)
        return "BEGIN"

    def _guard(self, *_rows: Sequence[str]) -> str:
        self._current().guarded = True
        return "UPDATE"

    def _commit_ours(self) -> str:
        self._handlers_are_done()
        return self._commit()

    def _handlers_are_done(self) -> None:
        transaction = self._transaction
        if transaction is None or not self._current().at_work:
            raise asyncpg.InvalidTransactionTerminationError("a handler has ended it")
        transaction.at_work = False

    def _commit(self) -> str:
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            return "COMMIT"  # with a warning
        if transaction.at_work and transaction.guarded:
            self._database.let_go(transaction)
            raise asyncpg.InvalidTransactionTerminationError("a handler may not end it")
        if transaction.failed:
            self._database.let_go(transaction)
            return "ROLLBACK"
        self._database.publish(transaction)
        return "COMMIT"

    def _roll_back(self) -> str:
        self._end()
        return "ROLLBACK"

    def _save(self) -> str:
        transaction = self._current()
        transaction.saved = (dict(transaction.rows), list(transaction.effects))
        return "SAVEPOINT"

    def _release(self) -> str:
        self._saved()
        self._current().saved = None
        return "RELEASE"

    def _saved(self) -> Transaction:
        if self._transaction is None:
            raise asyncpg.NoActiveSQLTransactionError("there is no transaction in progress")
        if self._transaction.saved is None:
            raise asyncpg.InvalidSavepointSpecificationError("there is no such savepoint")
        return self._transaction

    def _roll_back_to(self) -> str:
        transaction = self._saved()
        assert transaction.saved is not None
        transaction.rows, transaction.effects = transaction.saved
        transaction.saved, transaction.failed = None, False
        return "RELEASE"

    def _effect(self, gid: str, name: str, undo: bool, amount: int) -> str:  # noqa: FBT001
        effect = Effect(gid, name, undo, amount)
        if self._transaction is None:  # a handler has ended it
            self._database.publish(Transaction(effects=[effect]))
        else:
            self._current().effects.append(effect)
        return "INSERT 0 1"

    def _keep_reply(self, gid: str, branch: str, reply: str) -> None:
        """Do as the first part of a statement says; if that cannot be, the rest will say so."""
        rows = self._transaction.rows if self._transaction is not None else {}
        if (row := rows.get(("branch", gid, branch))) is not None:
            rows["branch", gid, branch] = row._replace(reply=reply)

    async def _mark(self, gid: str, branch: str, reason: str, wait_ms: str) -> str:
        assert self._transaction is None, "the mark has a transaction of its own"
        key, rows = ("branch", gid, branch), self._database.rows
        transaction = self._transaction = Transaction()
        try:
            if key not in rows:
                await self._hold(key, transaction, int(wait_ms))
            if key in rows:
                return "INSERT 0 0"
            transaction.rows[key] = Marker("rolled-back", reason=reason)
            self._database.publish(transaction)
            return "INSERT 0 1"
        finally:
            if self._transaction is transaction:
                self._end()

    # ── prepared transactions ────────────────────────────────────────────────

    def _name(self, what: str, name: str) -> str:
        database = self._database
        if what.endswith("PREPARE TRANSACTION"):
            self._handlers_are_done()
            transaction, self._transaction = self._current(), None
            if name in database.prepared:
                database.let_go(transaction)
                raise asyncpg.DuplicateObjectError("the identifier is already in use")
            if self._faults.strikes(Fault.SLOTS_TAKEN, database.name):
                database.let_go(transaction)
                raise asyncpg.OutOfMemoryError("maximum number of prepared transactions reached")
            transaction.prepared_at = self._loop.time()
            database.prepared[name] = transaction
            database.watching.prepared(database, name)
            return what
        assert self._transaction is None, f"{what} inside a transaction"
        transaction = database.prepared.pop(name, None)
        if transaction is None:
            raise asyncpg.UndefinedObjectError("there is no such prepared transaction")
        if what == "COMMIT PREPARED":
            database.publish(transaction)
        else:
            database.let_go(transaction)
            database.watching.rolled_back(database, name)
        return what

    def _in_doubt(self) -> list[tuple[Any, ...]]:
        now = self._loop.time()
        prepared = sorted(self._database.prepared.items(), key=lambda item: item[1].prepared_at)
        return [(name, int((now - it.prepared_at) * 1000)) for name, it in prepared]

    # ── the barrier ──────────────────────────────────────────────────────────

    async def _insert(
        self, gids: Sequence[str], steps: Sequence[str], statuses: Sequence[str]
    ) -> list[tuple[Any, ...]]:
        transaction, new = self._current(), list[tuple[Any, ...]]()
        for gid, step, status in sorted(zip(gids, steps, statuses, strict=True)):
            key = ("barrier", gid, step)
            if key not in self._database.rows:
                await self._hold(key, transaction, transaction.wait_ms)
            if key not in self._database.rows:
                transaction.rows[key], transaction.guarded = Step(status), True
                new.append((gid, step))
        return new

    async def _read(self, gids: Sequence[str], steps: Sequence[str]) -> list[tuple[Any, ...]]:
        transaction, found = self._current(), list[tuple[Any, ...]]()
        for gid, step in sorted(zip(gids, steps, strict=True)):
            key = ("barrier", gid, step)
            await self._hold(key, transaction, transaction.wait_ms)
            row: Step | None = self._database.rows.get(key)
            if row is not None:
                found.append((gid, step, *row))
        return found

    def _update(self, *columns: Sequence[Any]) -> str:
        rows = self._current().rows
        for gid, step, *rest in zip(*columns, strict=True):
            rows["barrier", gid, step] = Step(*rest)
        return "UPDATE"

    def _delete(self, gids: Sequence[str], steps: Sequence[str]) -> str:
        rows = self._current().rows
        for gid, step in zip(gids, steps, strict=True):
            rows["barrier", gid, step] = None
        return "DELETE"
