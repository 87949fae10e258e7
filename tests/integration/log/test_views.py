"""What people ask of the log."""

from __future__ import annotations

import pytest

from coordinator.core.records import (
    Closed,
    CompensationBegan,
    Decided,
    Decision,
    Ended,
    Outcome,
    Parked,
    StepRefused,
    Withdrawn,
)
from coordinator.core.transition import Status
from coordinator.log.postgres import PostgresLog
from coordinator.log.store import Batch, Position, StoredDefinition
from coordinator.log.views import TransactionView, find_by_key, list_transactions, show
from tests.contract.batches import (
    DEFINITION,
    LEASE_US,
    START_US,
    beginning,
    change,
    ending,
    entry,
    gid,
    row,
)
from tests.integration.log.conftest import Connection

REFUND = StoredDefinition("hash-r", "refund", 3, "name: refund")


@pytest.fixture
async def at(log: PostgresLog) -> Position:
    """A shard to write for, and two definitions."""
    await log.publish(DEFINITION)
    await log.publish(REFUND)
    [position] = await log.claim("ann", [0], LEASE_US)
    return position


def numbers(views: list[TransactionView]) -> list[int]:
    return [int(view.gid[-32:], 16) for view in views]


async def test_the_newest_come_first(log: PostgresLog, at: Position, hands: Connection) -> None:
    """Of all definitions together."""
    await log.persist(beginning(1, 3, at=at))
    await log.persist(Batch([at], [row(2, name="refund", definition="hash-r")], [], []))

    assert numbers(await list_transactions(hands)) == [3, 2, 1]
    assert numbers(await list_transactions(hands, limit=2)) == [3, 2]
    assert numbers(await list_transactions(hands, name="order")) == [3, 1]


async def test_a_view_tells_what_the_row_says(
    log: PostgresLog, at: Position, hands: Connection
) -> None:
    """Times to the microsecond, the version from the definition, the end only once ended."""
    await log.persist(beginning(7, 8, at=at))
    await log.persist(ending(7, at=at))

    opened, ended = await list_transactions(hands)

    assert opened.ended_us is None
    assert ended == TransactionView(
        gid=gid(7),
        name="order",
        version=1,
        key="key-7",
        shard=0,
        status=Status.ENDED,
        outcome=Outcome.COMMITTED,
        reason="",
        began_us=START_US + 7,
        ended_us=START_US + 16,
    )


async def test_a_list_goes_on_where_it_stopped(
    log: PostgresLog, at: Position, hands: Connection
) -> None:
    """Nothing is shown twice or left out, even of those that began in the same microsecond."""
    twins = [row(n, began_us=START_US + n // 3) for n in range(10)]
    await log.persist(Batch([at], twins, [], []))
    seen: list[int] = []

    while page := await list_transactions(hands, limit=4, before=gid(seen[-1]) if seen else None):
        seen += numbers(page)

    assert seen == list(range(9, -1, -1))
    assert await list_transactions(hands, before=gid(99)) == []


async def test_a_list_by_status(log: PostgresLog, at: Position, hands: Connection) -> None:
    """Each is in exactly one."""
    await log.persist(beginning(1, 2, 3, 4, at=at))
    await log.persist(ending(1, at=at))
    parked = change(2, status=Status.PARKED, outcome=Outcome.PARKED)
    await log.persist(Batch([at], [], [entry(2, 1, Parked(reason="look at me"))], [parked]))

    listed = {s: numbers(await list_transactions(hands, status=s)) for s in Status}

    assert listed == {Status.OPEN: [4, 3], Status.PARKED: [2], Status.ENDED: [1]}
    assert numbers(await list_transactions(hands, status=Status.OPEN, before=gid(4))) == [3]
    assert await list_transactions(hands, status=Status.OPEN, name="refund") == []


async def test_a_list_by_key(log: PostgresLog, at: Position, hands: Connection) -> None:
    """A key may have been used by several definitions; with a name it is one transaction."""
    await log.persist(beginning(1, 2, at=at))
    other = row(3, name="refund", definition="hash-r", key="key-1")
    await log.persist(Batch([at], [other], [], []))

    assert numbers(await list_transactions(hands, key="key-1")) == [3, 1]
    found = await find_by_key(hands, "refund", "key-1")
    assert found is not None
    assert (found.gid, found.version) == (gid(3), 3)
    assert await find_by_key(hands, "refund", "key-2") is None


@pytest.mark.parametrize("text", ["nul\0", "half \ud800"])
async def test_what_no_log_can_hold_is_not_found(
    log: PostgresLog, at: Position, hands: Connection, text: str
) -> None:
    """A strange question has the answer "nothing", not an error."""
    await log.persist(beginning(1, at=at))

    assert await find_by_key(hands, "order", text) is None
    assert await list_transactions(hands, before=text) == []
    assert await show(hands, text) is None


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([], ""),
        ([Decided(decision=Decision.ABORT, awaited=(), reason="no stock")], "no stock"),
        ([Withdrawn(reason="late"), Decided(decision=Decision.COMMIT, awaited=())], "late"),
        (
            [
                StepRefused(step="pay", attempt=1, reason="of the step"),
                CompensationBegan(reason="pay was refused"),
                Closed(outcome=Outcome.COMPENSATED),
                Ended(),
            ],
            "pay was refused",
        ),
        ([CompensationBegan(reason="back"), Parked(reason="stuck \0")], "stuck \0"),
    ],
)
async def test_the_reason_is_the_last_that_was_given(
    log: PostgresLog, at: Position, hands: Connection, records: list[object], reason: str
) -> None:
    """In a list and in one transaction's page alike."""
    await log.persist(beginning(1, at=at))
    entries = [entry(1, seq, record) for seq, record in enumerate(records, 1)]  # pyright: ignore[reportArgumentType]
    await log.persist(Batch([at], [], entries, []))

    [listed] = await list_transactions(hands)
    shown = await show(hands, gid(1))

    assert listed.reason == reason
    assert shown is not None
    assert shown.view == listed


async def test_show_has_all_of_it(log: PostgresLog, at: Position, hands: Connection) -> None:
    """The definition as published, and each record in its place: enough to replay it."""
    await log.persist(beginning(1, 2, at=at))
    await log.persist(ending(1, at=at))

    shown = await show(hands, gid(1))

    assert shown is not None
    assert shown.definition == DEFINITION
    wanted = [*beginning(1, at=at).entries, *ending(1, at=at).entries]
    assert list(shown.entries) == [one for _, one in wanted]
    assert await show(hands, gid(3)) is None


async def test_a_pool_can_be_asked_as_well(log: PostgresLog, at: Position) -> None:
    """The console has one."""
    await log.persist(beginning(1, at=at))

    assert numbers(await list_transactions(log.pool)) == [1]


async def test_they_are_found_by_what_their_definition_names(
    log: PostgresLog, at: Position, hands: Connection
) -> None:
    """All words must be there, as they are; a word that nothing can hold finds nothing."""
    for number, words in enumerate([("a=1", "b=x\x00y"), ("a=1", "b=x y"), ("a=2",), ()]):
        await log.persist(Batch([at], [row(number, search=words)], [], []))

    async def found(*words: str) -> list[int]:
        return numbers(await list_transactions(hands, words=words))

    assert await found("a=1") == [1, 0]
    assert await found("a=1", "b=x y") == [1]
    assert await found("a=") == []
    assert await found("b=x\x00y") == []
    ended = change(1)
    await log.persist(Batch([at], [], [], [ended]))
    both = await list_transactions(hands, words=["a=1"], status=Status.ENDED, name="order")
    assert numbers(both) == [1]


async def test_what_is_forgotten_while_it_is_read_is_not_there(
    log: PostgresLog, at: Position, hands: Connection
) -> None:
    """Its row was seen, and its records are gone."""
    await log.persist(beginning(1, at=at))
    await hands.execute("DELETE FROM twofold.decision_log")

    assert await show(hands, gid(1)) is None
