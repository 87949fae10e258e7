"""A participant: named handlers over one database.

    stock = Participant("stock", database="shop_stock")

    @stock.step("reserve")
    async def reserve(db, call):
        ...

Handlers run inside a transaction that is not theirs to end: what they write
through `db` happens together with the record that it happened, or not at all.
What they do elsewhere happens at least once, so they should pass `call.key` on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import asyncpg
import msgspec
import structlog

from participants import telemetry
from participants.barrier import Item, Performed
from participants.calls import Call, Failed, Locked, Outcome, ReadOnly, Verdict
from participants.connections import (
    Connection,
    DatabaseAway,
    Limits,
    describe,
    is_busy,
    sqlstate,
)
from participants.step import Asked
from wire.envelope import MAX_BODY_BYTES, is_too_deep

logger = structlog.get_logger(__name__)

Handler: TypeAlias = Callable[[Connection, Any], Awaitable[Any]]
H = TypeVar("H", bound=Handler)

MAX_RESULT_BYTES: Final = MAX_BODY_BYTES - 10_000
"""A result must fit into a reply, with what is said around it."""

_PARTICIPANT: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_COMMAND: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_READ_ONLY_SERVER: Final = "25006"


@dataclass(frozen=True, slots=True)
class _Step:
    handler: Handler
    bulk: bool


class Participant:
    """A service that takes part in transactions.

    ``database`` replaces the database in the DSN that `run` is given;
    ``dsn`` replaces it wholly. ``setup_sql`` is run by `migrate` and must bear
    being run again. ``held`` limits how many branches are prepared at once.
    ``role`` is taken by every connection: a branch can be ended only by the
    role that prepared it, so a role that outlives logins is a good idea.
    """

    def __init__(
        self,
        name: str,
        *,
        database: str | None = None,
        dsn: str | None = None,
        setup_sql: str = "",
        connections: int = 8,
        held: int = 24,
        handler_seconds: float = 10.0,
        limits: Limits | None = None,
        role: str | None = None,
    ) -> None:
        if not _PARTICIPANT.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a participant: a-z, 0-9 and - only")
        self.name, self.database, self.dsn, self.setup_sql = name, database, dsn, setup_sql
        self.connections, self.held = max(2, connections), max(1, held)
        self.handler_seconds, self.limits, self.role = handler_seconds, limits or Limits(), role
        self.steps: dict[str, _Step] = {}
        self.undos: dict[str, Handler] = {}
        self.branches: dict[str, Handler] = {}

    def __repr__(self) -> str:
        return f"Participant({self.name!r})"

    def step(self, command: str, *, bulk: bool = False) -> Callable[[H], H]:
        """Register a step's handler, which returns the step's result.

        A bulk handler is given many calls at once, and returns one result for
        each. One that is Refused, Busy or Failed must have changed nothing.
        """
        return self._register(self.steps, command, lambda handler: _Step(handler, bulk))

    def undo(self, command: str) -> Callable[[H], H]:
        """Register an undo's handler. `call.result` is what the step returned."""
        return self._register(self.undos, command, lambda handler: handler)

    def branch(self, command: str) -> Callable[[H], H]:
        """Register a branch's handler. To return is to vote for commit."""
        return self._register(self.branches, command, lambda handler: handler)

    def _register(
        self, where: dict[str, Any], command: str, wrap: Callable[[Handler], Any]
    ) -> Callable[[H], H]:
        if not _COMMAND.fullmatch(command):
            raise ValueError(f"{command!r} cannot name a command: a-z, 0-9, _ and - only")
        if command in where:
            raise ValueError(f"{self.name}.{command} is there already")

        def register(handler: H) -> H:
            where[command] = wrap(handler)
            return handler

        return register

    # ── calling ──────────────────────────────────────────────────────────────

    def is_bulk(self, command: str) -> bool:
        step = self.steps.get(command)
        return step is not None and step.bulk

    async def perform(self, connection: Connection, items: Sequence[Item]) -> Performed:
        """Call the handler of these items: one, or many for the same bulk handler."""
        first = items[0]
        if first.asked is Asked.EXECUTE and self.is_bulk(first.call.command):
            calls = [item.call for item in items]
            return await self._bulk(connection, self.steps[first.call.command].handler, calls)
        step = self.steps.get(first.call.command)
        execute = step.handler if step else None
        handler = execute if first.asked is Asked.EXECUTE else self.undos.get(first.call.command)
        with telemetry.active(first.tag):
            outcome = await self._call(connection, handler, first.call, first.asked)
        return Performed([outcome], clean=not isinstance(outcome, Verdict))

    async def work(self, connection: Connection, call: Call) -> Outcome:
        """Call a branch's handler.

        A lock that it cannot get makes it vote no, at once. Whoever holds it
        may be waiting in another database for a lock that this transaction
        holds there: no database can see such a circle, and only a no breaks it.
        """
        outcome = await self._call(connection, self.branches.get(call.command), call, "branch")
        return Failed(f"locked: {outcome.reason}") if isinstance(outcome, Locked) else outcome

    async def _call(
        self, connection: Connection, handler: Handler | None, call: Call, kind: str
    ) -> Outcome:
        if handler is None:
            return Failed(f"{self.name} has no {kind} {call.command!r}")
        try:
            async with asyncio.timeout(self.handler_seconds):
                outcome = await handler(connection, call)
        except Exception as error:  # noqa: BLE001  # whatever a handler raises is its answer
            return self._excuse(connection, error, call)
        return _plain(outcome)

    async def _bulk(
        self, connection: Connection, handler: Handler, calls: Sequence[Call]
    ) -> Performed:
        try:
            async with asyncio.timeout(self.handler_seconds):
                outcomes: Any = list(await handler(connection, calls))
        except Exception as error:  # noqa: BLE001
            excuse = self._excuse(connection, error, calls[0])
            return Performed([excuse] * len(calls), clean=False)
        if len(outcomes) != len(calls):
            excuse = Failed(f"{len(outcomes)} results for {len(calls)} calls")
            return Performed([excuse] * len(calls), clean=False)
        return Performed([_plain(outcome) for outcome in outcomes], clean=True)

    def _excuse(self, connection: Connection, error: Exception, call: Call) -> Verdict:
        """Say what a handler's exception means. Only a lost connection is passed on."""
        if isinstance(error, Verdict):
            return error
        lost = connection.is_closed() or isinstance(error, asyncpg.InternalClientError)
        if lost or sqlstate(error) == _READ_ONLY_SERVER:
            raise DatabaseAway(f"{self.name}: {describe(error)}") from error
        if isinstance(error, asyncpg.PostgresError) and is_busy(error):
            return Locked(describe(error))
        if isinstance(error, TimeoutError) and not str(error):
            return Failed(f"it took longer than {self.handler_seconds:g} s")
        logger.error(
            "handler_failed",
            participant=self.name,
            command=call.command,
            gid=call.gid,
            step=call.name,
            exc_info=error,
        )
        return Failed(f"{type(error).__name__}: {describe(error)}")


def _plain(outcome: Any) -> Outcome:
    """Return a handler's result as the JSON that everyone else will see."""
    if isinstance(outcome, Verdict) or outcome is None:
        return outcome
    data: Any = outcome.data if isinstance(outcome, ReadOnly) else outcome
    try:
        encoded = msgspec.json.encode(data)
    except (TypeError, ValueError, RecursionError) as error:
        return Failed(f"the result is not JSON: {error}")
    if is_too_deep(encoded):
        return Failed("the result is nested too deeply")
    if len(encoded) > MAX_RESULT_BYTES:
        return Failed(f"the result has {len(encoded)} bytes, over {MAX_RESULT_BYTES}")
    plain = msgspec.json.decode(encoded)
    return ReadOnly(plain) if isinstance(outcome, ReadOnly) else plain
