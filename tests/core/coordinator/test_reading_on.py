"""What has only been read is written with what comes next, so that nothing waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from coordinator import engine
from coordinator.definitions import Definitions
from coordinator.log.memory import MemoryLog
from coordinator.log.store import Batch, ClusterFacts
from tests.core.coordinator.builders import GID, Story, atomic, voted
from tests.core.coordinator.test_handing_over import Hesitating, Silent, engine_of, log_of
from wire.envelope import Envelope, seal
from wire.kafka import Received
from wire.messages import Vote, Voted


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the producer hesitate however long a busy machine takes over a few turns."""
    monkeypatch.setattr(engine, "ACKNOWLEDGED_S", 1_000.0)


class Spoken(Silent):
    """A reader of what the test says, a poll for each."""

    def __init__(self) -> None:
        self.said: list[Received] = []

    async def poll(self, *, wait_ms: int, limit: int) -> list[Received]:
        if not self.said:
            return await super().poll(wait_ms=wait_ms, limit=limit)
        await asyncio.sleep(0)
        return [self.said.pop(0)]


class Verbatim(MemoryLog):
    """A log that keeps what it is told as it was told."""

    def __init__(self, facts: ClusterFacts, now_us: Callable[[], int]) -> None:
        super().__init__(facts, now_us)
        self.batches: list[Batch] = []

    async def persist(self, batch: Batch) -> frozenset[int]:
        self.batches.append(batch)
        return await super().persist(batch)


def reply(offset: int, vote: Voted) -> Received:
    record = seal(Envelope(vote), topic="test.replies", source="/test", key=GID)
    return Received("test.replies", 0, offset, record.key, record.value, record.headers, 0)


async def turns(owner: engine.Engine, running: asyncio.Task[None], more: int) -> None:
    """Let an engine turn so often."""
    until = owner.turns + more
    while owner.turns < until:
        assert not running.done(), running
        await asyncio.sleep(0.001)


async def batches_of(*said: Received) -> list[Batch]:
    """Have an engine hear this of a transaction that waits for two votes."""
    story = Story.begin(atomic("debit", "credit"))
    log, position = await log_of(story, Verbatim)
    assert isinstance(log, Verbatim)
    definitions, stop, reader = Definitions(), asyncio.Event(), Spoken()
    definitions.add(story.definition)
    producer = Hesitating()
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
    monkeypatch.setattr(engine, "READ_TURNS", 1_000_000)
    batches = await batches_of(
        reply(0, voted("debit", Vote.COMMIT)), reply(1, voted("credit", Vote.COMMIT))
    )

    assert [len(batch.entries) for batch in batches] == [1]
    assert batches[0].positions[0].replies_offset == 2


async def test_what_was_read_is_written_though_nothing_comes_of_it() -> None:
    """Else whoever is next reads it all again, however long ago it was."""
    [batch] = await batches_of(reply(0, voted("debit", Vote.COMMIT)))

    assert batch.positions[0].replies_offset == 1
    assert not batch.entries
