"""A turn of the letter box: from topics into each store, and not past an event before."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from coordinator.core.events import Letter
from coordinator.definitions import Definitions
from coordinator.letterbox import Letterbox
from coordinator.log.store import Waiting
from sagas.loader import load
from tests.core.coordinator.builders import GID
from wire.envelope import Record
from wire.kafka import Received
from wire.topics import Topics

TEXT = """\
saga: sell
version: {version}
start: {{topic: wanted}}
steps:
  paid: {{wait: {{topic: payments, match: {match}}}}}
"""
OLD = load(TEXT.format(version=1, match="event.order == input.id"), "a")
NEW = load(TEXT.format(version=2, match="event.by == input.buyer"), "b")
NOW_MS = 4_000_000_000_000
"""Far away: an event of now is never too old."""


@dataclass
class Store:
    """A log, as far as the letter box needs it."""

    name: str
    events: list[str]
    letters: list[Letter] = field(default_factory=list[Letter])

    async def deliver(self, letters: Collection[Letter]) -> None:
        self.events.append(f"{self.name} has it")
        self.letters += letters

    async def waiting(self, places: Collection[Any]) -> Sequence[Waiting]:
        self.events.append(f"{self.name} tells who waits")
        return [Waiting(0, GID, "paid", *place) for place in sorted(places)]

    async def throw_away(self, *_: Any) -> int:
        return 0


@dataclass
class Kafka:
    """A reader with one event, and a producer; what they do is written down in order."""

    events: list[str]

    async def poll(self, **_: int) -> list[Received]:
        body = b'{"order": "7", "by": 5}'
        return [Received("payments", 0, 3, None, body, [], NOW_MS)]

    async def burst(self, records: Iterable[Record]) -> None:
        self.events.append(f"{len([*records])} are told")

    async def commit(self, offsets: Mapping[Any, int]) -> None:
        self.events.append(f"past {offsets['payments', 0]}")


class Known(Definitions):
    """Definitions that nobody publishes."""

    async def refresh(self, log: Any) -> bool:
        """Find nothing new."""
        del log
        return False


async def turned() -> tuple[list[str], list[Store]]:
    """Take one turn."""
    events: list[str] = []
    stores = [Store("first", events), Store("second", events)]
    definitions = Known()
    definitions.add(OLD)
    definitions.add(NEW)
    kafka: Any = Kafka(events)
    box = Letterbox(
        bootstrap="",
        topics=Topics("test"),
        logs=cast("Any", stores),
        definitions=definitions,
        producer=kafka,
    )
    await box._turn(kafka)  # pyright: ignore[reportPrivateUsage]
    return events, stores


async def test_an_event_is_in_every_store_and_told_before_it_is_read_past() -> None:
    """Whoever dies before the last has lost nothing: it is read again."""
    events, _ = await turned()

    assert events == [
        "first has it",
        "first tells who waits",
        "second has it",
        "second tells who waits",
        "4 are told",
        "past 4",
    ]


async def test_an_event_is_kept_for_those_that_follow_an_older_version() -> None:
    """They go on waiting as they began."""
    _, stores = await turned()

    for store in stores:
        assert {one.key for one in store.letters} == {'event.order = "7"', "event.by = 5"}
