"""Branches of atomic transactions on Postgres: PREPARE TRANSACTION and the marker.

The rules are in branch.py; this is how their deeds are done.

PREPARE TRANSACTION takes its name as a literal only, so names are checked and
then quoted. It answers a failed transaction with ROLLBACK and no error, but what is
sent with it fails there (guard.py). It cannot be combined with asyncpg's transaction blocks,
which would send a COMMIT of their own, so BEGIN is written out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import asyncpg
import msgspec
import structlog

from participants import guard
from participants.branch import Answer, Asked, Came, Do, Report, Seen, Sight, pursue
from participants.calls import Call, Outcome, ReadOnly, Verdict
from participants.connections import (
    Connection,
    Connections,
    describe,
    is_away,
    is_busy,
    sqlstate,
)
from wire import failpoints, gids
from wire.messages import End, Json, Vote

logger = structlog.get_logger(__name__)

Work = Callable[[Connection, Call], Awaitable[Outcome]]
"""The handler of a branch, with its verdicts caught; a lost connection is not."""

_UNDEFINED_OBJECT: Final = "42704"
_DUPLICATE_OBJECT: Final = "42710"
_NOT_OURS: Final = frozenset({"42501", "0A000"})
_BEING_ENDED: Final = "55000"
_NO_SLOT: Final = frozenset({"53200", "54000"})

LOCK_MS: Final = 60
"""How long a branch waits for a lock, on average: it may be part of a circle over
several databases, which none of them can see."""

MARK_PATIENCE_MS: Final = 100
"""How long a rollback first waits for a marker that somebody may be preparing.
Once it is prepared, waiting is in vain; so this is short, and grows."""

MARK: Final = """
    WITH hurry AS MATERIALIZED (SELECT set_config('lock_timeout', $4, true))
    INSERT INTO twofold.branch (gid, branch, status, reason)
    SELECT $1, $2, 'rolled-back', $3 FROM hurry
    ON CONFLICT DO NOTHING
"""

MARKER: Final = "SELECT status, reply, reason FROM twofold.branch WHERE gid = $1 AND branch = $2"

PREPARED: Final = """
    SELECT database,
           database = current_database() AND (owner = current_user OR r.rolsuper) AS ours
      FROM pg_prepared_xacts, pg_roles r
     WHERE gid = $1 AND r.rolname = current_user
"""

IN_DOUBT: Final = """
    SELECT gid, (extract(epoch FROM clock_timestamp() - prepared) * 1000)::bigint AS age_ms
      FROM pg_prepared_xacts
     WHERE database = current_database()
     ORDER BY prepared
"""

_TOOK: Final = Report(Came.TOOK)
_STALE: Final = Report(Came.STALE)
_WENT_ON: Final = Report(
    Came.FAILED, reason="a statement of the handler failed, and it went on regardless"
)

SLOTS: Final = "SELECT current_setting('max_prepared_transactions')::int"


class NoSlot(Exception):
    """The server has no slot left for a prepared transaction. Nothing was done."""


class InDoubt(NamedTuple):
    """A prepared transaction in this database, by its name, whoever's it is."""

    name: str
    age_ms: int


class Branches:
    """The branches in one participant's database.

    ``held`` has those that we know to be prepared, with the data of their
    votes. That data is nowhere else while they are prepared, since nothing
    of a prepared transaction can be read: a vote that is repeated by a new
    process comes without it.
    """

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.held: dict[str, Json] = {}

    async def prepare(
        self, call: Call, work: Work, *, alone: bool, late: bool, generation: int | None = None
    ) -> Answer | None:
        """Answer Prepare; None if it is of an old generation, and not to be answered.

        Raises:
            DatabaseAway: it was lost; ask again, and it will be found out.
            NoSlot: it can be asked again once another branch has ended.

        """
        one_phase = Asked.PREPARE_ALONE if alone else Asked.PREPARE
        name = gids.prepared_name(call.gid, call.name)
        expected = Seen.PREPARED if name in self.held else Seen.FRESH
        async with self.connections.one() as connection:
            if not await self.connections.generations.admits(connection, call.gid, generation):
                return None
            database = OneBranch(connection, call.gid, call.name, call, work)
            asked = Asked.PREPARE_LATE if late else one_phase
            answer = await _pursue(asked, expected, database)
        assert answer is not None, "a question is always answered"
        if answer.answer is Vote.COMMITTED:
            self.connections.witness.saw_branch(call.gid, call.name)
        if answer.answer is not Vote.COMMIT:
            self.held.pop(name, None)
            return answer
        if answer.data is not None:
            self.held[name] = answer.data
        return answer._replace(data=self.held.setdefault(name, None))

    async def settle(
        self, gid: str, branch: str, asked: Asked, *, generation: int | None = None
    ) -> Answer | None:
        """Answer Commit or Rollback; None if it is contended, or of an old generation.

        Raises:
            DatabaseAway: it was lost; ask again, and it will be found out.

        """
        name = gids.prepared_name(gid, branch)
        async with self.connections.one() as connection:
            if not await self.connections.generations.admits(connection, gid, generation):
                return None
            answer = await _pursue(asked, Seen.PREPARED, OneBranch(connection, gid, branch))
        if answer is not None:
            self.held.pop(name, None)
            if answer.answer is not End.HAZARD:
                self.connections.witness.saw_branch(gid, branch)
        return answer

    async def survey(self) -> list[InDoubt]:
        """List all that is prepared in this database, and correct what we hold by it."""
        before = set(self.held)
        async with self.connections.one() as connection:
            found = [InDoubt(*row) for row in await connection.fetch(IN_DOUBT)]
        ours = {doubt.name for doubt in found if gids.parse_prepared(doubt.name)}
        for name in before - ours:
            self.held.pop(name, None)
        for name in ours:
            self.held.setdefault(name, None)
        return found

    async def slots(self) -> int:
        """Tell how many transactions the whole server may hold prepared."""
        async with self.connections.one() as connection:
            return int(await connection.fetchval(SLOTS))


async def _pursue(asked: Asked, expected: Seen, database: OneBranch) -> Answer | None:
    try:
        return await pursue(asked, expected, database)
    finally:
        await database.discard()


class OneBranch:
    """One branch's deeds, on one connection."""

    def __init__(
        self,
        connection: Connection,
        gid: str,
        branch: str,
        call: Call | None = None,
        work: Work | None = None,
    ) -> None:
        self._connection = connection
        self._gid, self._branch = gid, branch
        self._name = gids.prepared_name(gid, branch)
        self._call, self._work = call, work
        self._data: Json = None

    # ── what is so ───────────────────────────────────────────────────────────

    async def look(self) -> Sight:
        """Read what is prepared first: a commit in between then shows in the marker."""
        prepared = await self._connection.fetchrow(PREPARED, self._name)
        marker = await self._connection.fetchrow(MARKER, self._gid, self._branch)
        if marker is not None:
            seen = Seen.COMMITTED if marker["status"] == "committed" else Seen.ROLLED_BACK
            reply = marker["reply"]
            return Sight(seen, reply and msgspec.json.decode(reply), marker["reason"])
        if prepared is None:
            return Sight(Seen.FRESH)
        if prepared["ours"]:
            return Sight(Seen.PREPARED)
        where = f"prepared in database {prepared['database']!r}, or by another role"
        return Sight(Seen.ELSEWHERE, reason=where)

    # ── what is to be done ───────────────────────────────────────────────────

    async def perform(self, do: Do, reason: str, patience: int) -> Report:
        match do:
            case Do.NOTHING:
                return _TOOK
            case Do.WORK:
                return await self._do_work(patience)
            case Do.PREPARE:
                return await self._prepare()
            case Do.COMMIT_WORK:
                return await self._commit_work()
            case Do.DISCARD:
                await self.discard()
                return _TOOK
            case Do.MARK:
                await self.discard()
                return await self._mark(reason, patience)
            case Do.COMMIT_PREPARED:
                failpoints.hit("P6")
                return await self._end("COMMIT PREPARED", patience, "P7")
            case Do.ROLL_BACK_PREPARED:
                report = await self._end("ROLLBACK PREPARED", patience, "P9")
                if report.came is Came.TOOK:
                    failpoints.hit("P10")
                return report

    async def discard(self) -> None:
        """Roll back what was worked, if anything."""
        if self._connection.is_in_transaction() and not self._connection.is_closed():
            await self._connection.execute("ROLLBACK")

    async def _do_work(self, patience: int) -> Report:
        assert self._call is not None
        assert self._work is not None
        failpoints.hit("P1")
        try:
            # Names are checked, so they can stand here as literals, and the
            # four statements travel as one.
            tag = await self._connection.execute(
                f"BEGIN; SET LOCAL lock_timeout = {self._lock_ms()}; {guard.AT_WORK};"  # noqa: S608
                " INSERT INTO twofold.branch (gid, branch, status) VALUES"
                f" ('{self._gid}', '{self._branch}', 'committed') ON CONFLICT DO NOTHING"
            )
        except asyncpg.PostgresError as error:
            if not is_busy(error):
                raise
            # Somebody else has it prepared, or in hand: a look tells which.
            await self.discard()
            return Report(Came.BUSY, reason="in hand elsewhere") if patience else _STALE
        if tag != "INSERT 0 1":
            await self.discard()
            return _STALE
        outcome = await self._work(self._connection, self._call)
        if not self._connection.is_in_transaction():
            return self._ended()
        match outcome:
            case ReadOnly(data):
                return Report(Came.READ_ONLY, data)
            case Verdict():
                return Report(Came(outcome.verdict), reason=outcome.reason)
            case data:
                self._data = data
                return Report(Came.DONE, data)

    def _ended(self) -> Report:
        assert self._call is not None
        guard.report(self._call)
        return Report(Came.FAILED, reason=guard.ENDED)

    def _why_not(self, error: asyncpg.PostgresError) -> Report:
        return self._ended() if isinstance(error, guard.NOT_OURS) else _why_not(error)

    def _lock_ms(self) -> int:
        """Spread the patience with locks, so that of two that wait for each other one gives up."""
        spread = int(self._gid[-4:], 16) % LOCK_MS
        return LOCK_MS // 2 + spread

    async def _prepare(self) -> Report:
        failpoints.hit("P2")
        try:
            prepare = f"{self._keep()}{guard.DONE}; PREPARE TRANSACTION '{self._name}'"
            await _crashing("P3", self._connection, prepare)
        except asyncpg.PostgresError as error:
            return self._why_not(error)
        return _TOOK

    async def _commit_work(self) -> Report:
        try:
            await self._connection.execute(f"{self._keep()}{guard.COMMIT}")
        except asyncpg.PostgresError as error:
            return self._why_not(error)
        return _TOOK

    def _keep(self) -> str:
        """Keep what the branch returned beside its marker, where a lost log can be told of it.

        It travels with the statement that follows, so it is quoted here. JSON
        has a dollar only within a text, where it can be written otherwise.
        """
        if self._data is None:
            return ""
        reply = msgspec.json.encode(self._data).decode().replace("$", r"\u0024")
        where = f"gid = '{self._gid}' AND branch = '{self._branch}'"
        return f"UPDATE twofold.branch SET reply = $${reply}$$ WHERE {where}; "  # noqa: S608

    async def _mark(self, reason: str, patience: int) -> Report:
        wait_ms = min(MARK_PATIENCE_MS * 2**patience, 2_000)
        try:
            tag = await self._connection.execute(
                MARK, self._gid, self._branch, reason.replace("\0", ""), str(wait_ms)
            )
        except asyncpg.PostgresError as error:
            if is_busy(error):
                return _STALE
            raise
        if tag != "INSERT 0 1":
            return _STALE
        failpoints.hit("P8")
        return _TOOK

    async def _end(self, how: str, patience: int, failpoint: str) -> Report:
        try:
            await _crashing(failpoint, self._connection, f"{how} '{self._name}'")
        except asyncpg.PostgresError as error:
            state = sqlstate(error)
            if state == _BEING_ENDED:
                await asyncio.sleep(0.01 * 2**patience)
            elif state != _UNDEFINED_OBJECT and state not in _NOT_OURS:
                raise
            return _STALE
        return _TOOK


def _why_not(error: asyncpg.PostgresError) -> Report:
    """Say why a transaction could not be prepared or committed; nothing of it is so."""
    state = sqlstate(error)
    if is_away(error):
        raise error
    if state == _DUPLICATE_OBJECT:
        return _STALE
    if state in _NO_SLOT:
        raise NoSlot(describe(error))
    if is_busy(error):
        return Report(Came.BUSY, reason=describe(error))
    if isinstance(error, asyncpg.InFailedSQLTransactionError):
        return _WENT_ON
    # A deferred constraint, or something that cannot be prepared at all.
    return Report(Came.FAILED, reason=describe(error))


async def _crashing(failpoint: str, connection: Connection, sql: str) -> str:
    """Execute; where told to, die once it is sent and before it is answered."""
    if not failpoints.ARMED:
        return await connection.execute(sql)
    running = asyncio.ensure_future(connection.execute(sql))
    await asyncio.sleep(0)
    failpoints.hit(failpoint)
    return await running
