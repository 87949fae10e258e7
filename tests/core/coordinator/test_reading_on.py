"""What nobody waits for is written with what comes next, so that nothing waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from coordinator import engine
from coordinator.core.records import Decided, Ended
from coordinator.definitions import Definitions
from coordinator.log.memory import MemoryLog
from coordinator.log.store import Batch, ClusterFacts
from tests.core.coordinator.builders import GID, Story, atomic, inquired, settled, voted
from tests.core.coordinator.test_handing_over import Hesitating, Silent, engine_of, log_of
from wire.envelope import Envelope, Record, seal
from wire.kafka import Received
from wire.messages import End, Inquired, Settled, Vote, Voted


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the producer hesitate however long a busy machine takes over a few turns."""
    monkeypatch.setattr(engine, "ACKNOWLEDGED_S", 1_000.0)


class Spoken(Silent):
    """A reader of what the test says, a poll for each. None is a poll in which nothing comes."""

    def __init__(self) -> None:
        self.said: list[Received | None] = []

    async def poll(self, *, wait_ms: int, limit: int) -> list[Received]:
        await asyncio.sleep(0)
        found = self.said.pop(0) if self.said else None
        return [found] if found else await super().poll(wait_ms=wait_ms, limit=limit)


class Prompt(Hesitating):
    """A producer whose records all arrive, and count as arrived at once."""

    async def hand_over(self, records: Sequence[Record]) -> list[asyncio.Future[Any]]:
        sent = await super().hand_over(records)
        self.acknowledge()
        return sent

    def acknowledge(self) -> None:
        super().acknowledge()
        self._unacknowledged.clear()


class Verbatim(MemoryLog):
    """A log that keeps what it is told as it was told."""

    def __init__(self, facts: ClusterFacts, now_us: Callable[[], int]) -> None:
        super().__init__(facts, now_us)
        self.batches: list[Batch] = []

    async def persist(self, batch: Batch) -> frozenset[int]:
        self.batches.append(batch)
        return await super().persist(batch)


def reply(offset: int, said: Voted | Settled | Inquired) -> Received:
    record = seal(Envelope(said), topic="test.replies", source="/test", key=GID)
    return Received("test.replies", 0, offset, record.key, record.value, record.headers, 0)


async def turns(owner: engine.Engine, running: asyncio.Task[None], more: int) -> None:
    """Let an engine turn so often."""
    until = owner.turns + more
    while owner.turns < until:
        assert not running.done(), running
        await asyncio.sleep(0.001)


async def batches_of(*said: Received | None, producer: Hesitating | None = None) -> list[Batch]:
    """Have an engine hear this of a transaction that waits for two votes."""
    story = Story.begin(atomic("debit", "credit"))
    log, position = await log_of(story, Verbatim)
    assert isinstance(log, Verbatim)
    definitions, stop, reader = Definitions(), asyncio.Event(), Spoken()
    definitions.add(story.definition)
    producer = producer or Hesitating()
    owner = engine_of(log, definitions, producer, reader)
    running = asyncio.create_task(owner.run(stop))
    await owner.take(position)
    await turns(owner, running, 3)  # it has asked the branches
    log.batches.clear()
    reader.said += said
    while reader.said:
        await asyncio.sleep(0.001)
    await turns(owner, running, 3)  # it has decided, found nothing more, and written
    producer.acknowledge()
    stop.set()
    await running
    return log.batches


async def test_the_last_vote_does_not_wait_for_the_one_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A vote that decides nothing is no fact: how far it was read is written with the decision."""
    monkeypatch.setattr(engine, "COMPANY_TURNS", 1_000_000)
    batches = await batches_of(
        reply(0, voted("debit", Vote.COMMIT)), reply(1, voted("credit", Vote.COMMIT))
    )

    assert [len(batch.entries) for batch in batches] == [1]
    assert batches[0].positions[0].replies_offset == 2


async def test_the_end_of_one_waits_for_what_somebody_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A commit for it alone would be one more, and keep a decision waiting that comes meanwhile."""
    monkeypatch.setattr(engine, "COMPANY_TURNS", 1_000_000)

    batches = await batches_of(
        reply(0, voted("debit", Vote.COMMIT)),
        reply(1, voted("credit", Vote.COMMIT)),
        None,  # the outcome is told
        reply(2, settled("debit", End.COMMITTED)),
        reply(3, settled("credit", End.COMMITTED)),
        reply(4, inquired("credit")),
        producer=Prompt(),
    )

    kinds = [[type(entry.record) for _, entry in batch.entries] for batch in batches]
    assert (kinds[0], kinds[-1]) == ([Decided], [Ended])
    assert batches[-1].positions[0].replies_offset == 5  # the answer is in it


async def test_what_was_read_is_written_though_nothing_comes_of_it() -> None:
    """Else whoever is next reads it all again, however long ago it was."""
    [batch] = await batches_of(reply(0, voted("debit", Vote.COMMIT)))

    assert batch.positions[0].replies_offset == 1
    assert not batch.entries
