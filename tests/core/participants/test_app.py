"""What a service's author sees: registering handlers, and what their answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from participants import Busy, Call, Failed, Participant, ReadOnly, Refused
from participants.app import MAX_RESULT_BYTES
from participants.barrier import Item, Performed
from participants.calls import MAX_REASON, Verdict
from participants.connections import DatabaseAway, describe, is_away, is_busy, with_database
from participants.step import Asked
from wire.envelope import Envelope, seal, unseal
from wire.messages import Executed, Result

CALL = Call("tf1.test.1.0.00000000000000000000000000000001", "reserve", "do", {"n": 1})


class Connection:
    """A connection that is whole, or is not."""

    def __init__(self, *, closed: bool = False) -> None:
        self._closed = closed

    def is_closed(self) -> bool:
        return self._closed


def shop(handler: Any = None, **options: Any) -> Participant:
    participant = Participant("shop", **options)
    if handler is not None:
        participant.step("do")(handler)
        participant.branch("do")(handler)
    return participant


async def perform(participant: Participant, connection: Any = None) -> Performed:
    return await participant.perform(connection or Connection(), [Item(Asked.EXECUTE, CALL)])


async def answer(value: Any = None, *, raises: BaseException | None = None) -> Performed:
    async def handler(_db: Any, _call: Call) -> Any:
        if raises is not None:
            raise raises
        return value

    return await perform(shop(handler))


async def nothing(_db: Any, _call: Call) -> None:
    """Do nothing, well."""


# ── registering ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["", "Shop", "a_b", "-a", "a.b", "a b"])
def test_a_name_that_is_no_topic_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a participant"):
        Participant(name)


def test_a_command_is_registered_once() -> None:
    participant = shop()
    participant.step("do")(nothing)
    participant.undo("do")(nothing)  # an undo may have a step's name
    with pytest.raises(ValueError, match=r"shop\.do is there already"):
        participant.step("do")
    with pytest.raises(ValueError, match="cannot name a command"):
        participant.branch("Do it")


def test_a_decorated_handler_stays_a_function() -> None:
    assert shop().step("do")(nothing) is nothing


def test_a_call_has_a_key_that_repetitions_share() -> None:
    """For effects elsewhere, such as a payment provider's idempotency key."""
    again = Call(CALL.gid, CALL.name, "do", None, attempt=2)
    assert CALL.key == again.key == f"{CALL.gid}/reserve"
    assert CALL.step == CALL.branch == "reserve"


# ── answering ────────────────────────────────────────────────────────────────


async def test_a_result_is_seen_as_the_json_that_it_becomes() -> None:
    assert await answer({"ids": (1, 2)}) == Performed([{"ids": [1, 2]}], clean=True)


@pytest.mark.parametrize("verdict", [Refused("no"), Busy("later"), Failed("broken")])
async def test_a_verdict_may_be_returned_or_raised(verdict: Verdict) -> None:
    """Either way, what was written must be undone."""
    assert await answer(verdict) == Performed([verdict], clean=False)
    assert await answer(raises=verdict) == Performed([verdict], clean=False)


async def test_a_bug_is_a_failure_with_its_text() -> None:
    (outcome,) = (await answer(raises=KeyError("sku"))).outcomes
    assert isinstance(outcome, Failed)
    assert outcome.reason == "KeyError: 'sku'"


@pytest.mark.parametrize("reason", ["half: \ud83d", "long"], ids=["half", "long"])
@pytest.mark.parametrize("kind", [Refused, Failed, ValueError, asyncpg.DataError])
async def test_a_reason_can_always_be_told(kind: type[Exception], reason: str) -> None:
    """A reply that Kafka refuses would end the session of everyone, again and again."""
    error = kind(reason if reason != "long" else "x" * 2 * MAX_REASON)
    (outcome,) = (await answer(raises=error)).outcomes
    assert isinstance(outcome, Verdict)
    for told in (outcome.reason, describe(error)):
        said = Executed(gid="g", step="s", attempt=1, result=Result.FAILED, reason=told)
        record = seal(Envelope(said), topic="replies", source="/test", key="g")
        assert unseal(record.headers, record.value).message == said
        assert len(told) < MAX_REASON + 100


@pytest.mark.parametrize("value", [object(), {"a": {1: object()}}, "x" * MAX_RESULT_BYTES])
async def test_a_result_that_cannot_be_sent_is_a_failure(value: Any) -> None:
    performed = await answer(value)
    assert not performed.clean
    assert isinstance(performed.outcomes[0], Failed)


@pytest.mark.parametrize(
    "error",
    [asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError],
)
async def test_a_lost_race_is_busy(error: type[Exception]) -> None:
    (outcome,) = (await answer(raises=error("somebody else"))).outcomes
    assert isinstance(outcome, Busy)


async def test_a_branch_that_meets_a_lock_votes_no_but_may_ask_for_time() -> None:
    """A lock may be part of a circle over several databases; what the handler says may not."""

    async def locked(_db: Any, _call: Call) -> None:
        raise asyncpg.LockNotAvailableError("somebody else")

    async def closed(_db: Any, _call: Call) -> None:
        raise Busy("closed for lunch")

    assert isinstance(await shop(locked).work(Connection(), CALL), Failed)
    assert isinstance(await shop(closed).work(Connection(), CALL), Busy)


async def test_a_constraint_is_a_failure() -> None:
    """Whether it is a business no, only the handler can know."""
    (outcome,) = (await answer(raises=asyncpg.CheckViolationError("balance >= 0"))).outcomes
    assert isinstance(outcome, Failed)
    assert "23514" in outcome.reason


async def test_a_lost_connection_is_no_answer() -> None:
    async def handler(_db: Any, _call: Call) -> None:
        raise asyncpg.ConnectionDoesNotExistError("it is gone")

    with pytest.raises(DatabaseAway):
        await perform(shop(handler), Connection(closed=True))


async def test_a_connection_that_is_being_lost_is_no_answer() -> None:
    """Asyncpg notices the end of a connection a moment after it cannot be used."""

    async def handler(_db: Any, _call: Call) -> None:
        raise asyncpg.InternalClientError("cannot switch to state 15")

    with pytest.raises(DatabaseAway):
        await perform(shop(handler))


async def test_a_network_error_of_the_handler_s_own_is_a_failure() -> None:
    """Our connection is whole: it was somebody else's that was refused."""
    (outcome,) = (await answer(raises=ConnectionRefusedError("payment provider"))).outcomes
    assert isinstance(outcome, Failed)


async def test_a_handler_that_takes_too_long_fails() -> None:
    async def handler(_db: Any, _call: Call) -> None:
        await asyncio.sleep(10)

    (outcome,) = (await perform(shop(handler, handler_seconds=0.01))).outcomes
    assert isinstance(outcome, Failed)
    assert outcome.reason == "it took longer than 0.01 s"


async def test_a_branch_may_say_that_it_only_read() -> None:
    async def handler(_db: Any, _call: Call) -> Any:
        return ReadOnly({"balance": 7})

    assert await shop(handler).work(Connection(), CALL) == ReadOnly({"balance": 7})


async def test_a_bulk_handler_must_answer_each_call() -> None:
    async def handler(_db: Any, calls: Sequence[Call]) -> Any:
        return [None] * (len(calls) - 1)

    participant = Participant("shop")
    participant.step("do", bulk=True)(handler)
    performed = await participant.perform(Connection(), [Item(Asked.EXECUTE, CALL)] * 3)

    assert not performed.clean
    reasons = [str(outcome) for outcome in performed.outcomes]
    assert reasons == ["2 results for 3 calls"] * 3


# ── databases ────────────────────────────────────────────────────────────────


def test_a_participant_s_database_takes_the_place_of_the_dsn_s() -> None:
    dsn = "postgresql://u:p@db:5433/twofold?sslmode=require"
    assert with_database(dsn, "bank_a") == "postgresql://u:p@db:5433/bank_a?sslmode=require"
    assert with_database(dsn, None) == dsn


@pytest.mark.parametrize(
    ("error", "away", "busy"),
    [
        (asyncpg.AdminShutdownError("57P01"), True, False),
        (asyncpg.CannotConnectNowError("57P03"), True, False),
        (asyncpg.TooManyConnectionsError("53300"), True, False),
        (asyncpg.ReadOnlySQLTransactionError("25006"), True, False),
        (asyncpg.InterfaceError("connection is closed"), True, False),
        (asyncpg.InternalClientError("cannot switch to state 15"), True, False),
        (ConnectionResetError(), True, False),
        (asyncpg.DeadlockDetectedError("40P01"), False, True),
        (asyncpg.UniqueViolationError("23505"), False, False),
        (ValueError("connection is closed"), False, False),
    ],
)
def test_what_an_error_means(error: Exception, away: bool, busy: bool) -> None:  # noqa: FBT001
    assert (is_away(error), is_busy(error)) == (away, busy)
