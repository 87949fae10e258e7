"""Batches by hand, for tests of the log."""

from __future__ import annotations

from coordinator.core.records import AnyRecord, Begun, Decided, Decision, Ended, Entry, Outcome
from coordinator.core.transition import Status
from coordinator.log.store import Batch, Change, Position, Row, StoredDefinition

START_US = 1_700_000_000_123_457
LEASE_US = 3_000_000
DEFINITION = StoredDefinition("hash-1", "order", 1, "name: order")


def gid(number: int, shard: int = 0) -> str:
    """Name a transaction."""
    return f"tf1.test.1.{shard}.{number:032x}"


def row(number: int, shard: int = 0, **changes: object) -> Row:
    """Make the row of a transaction that begins."""
    begun = Row(
        gid=gid(number, shard),
        shard=shard,
        name="order",
        definition=DEFINITION.hash,
        key=f"key-{number}",
        input_hash=f"input-{number}",
        began_us=START_US + number,
        status=Status.OPEN,
        outcome=None,
        active=True,
    )
    return begun._replace(**changes)


def begun(number: int) -> Begun:
    """Make the first record of a transaction."""
    return Begun(
        definition=DEFINITION.hash,
        name="order",
        version=1,
        key=f"key-{number}",
        input={"number": number, "text": 'ünï "\\ \0'},
    )


def entry(
    number: int, seq: int, record: AnyRecord, *, shard: int = 0, after_us: int = 0
) -> tuple[int, Entry]:
    """Make a record in its place."""
    return shard, Entry(gid(number, shard), seq, START_US + number + after_us, record)


def change(number: int, shard: int = 0, *, after_us: int = 0, **told: object) -> Change:
    """Make the change of a transaction that ends committed, or as told."""
    ended = Change(
        gid(number, shard),
        shard,
        Status.ENDED,
        Outcome.COMMITTED,
        active=False,
        wake_at_us=None,
        at_us=START_US + number + after_us,
    )
    return ended._replace(**told)


def beginning(*numbers: int, at: Position) -> Batch:
    """Make the batch in which these transactions begin, each with its first record."""
    return Batch(
        [at],
        [row(number, at.shard) for number in numbers],
        [entry(number, 0, begun(number), shard=at.shard) for number in numbers],
        [],
    )


def ending(*numbers: int, at: Position) -> Batch:
    """Make the batch in which these transactions are decided and end."""
    commit = Decided(decision=Decision.COMMIT, awaited=("a", "b"))
    decided = [entry(n, 1, commit, shard=at.shard, after_us=5) for n in numbers]
    ended = [entry(n, 2, Ended(), shard=at.shard, after_us=9) for n in numbers]
    return Batch([at], [], [*decided, *ended], [change(n, at.shard, after_us=9) for n in numbers])


def joined(*batches: Batch) -> Batch:
    """Make one batch of several."""
    return Batch(
        [position for batch in batches for position in batch.positions],
        [one for batch in batches for one in batch.begun],
        [one for batch in batches for one in batch.entries],
        [one for batch in batches for one in batch.changes],
        claims=[one for batch in batches for one in batch.claims],
    )
