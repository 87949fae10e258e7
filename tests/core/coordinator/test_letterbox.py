"""Events → letters: under which key, and who is told."""

from __future__ import annotations

from msgspec.structs import replace

from coordinator.core.events import Letter
from coordinator.letterbox import DAY_US, deliver, letters, waits_of
from coordinator.log.memory import MemoryLog
from coordinator.log.store import Batch, ClusterFacts, Waiting
from sagas.loader import load
from tests.core.coordinator.builders import GID, START_US
from wire.envelope import unseal
from wire.kafka import Received
from wire.messages import Arrived
from wire.topics import Topics

TEXT = """\
saga: sell
version: {version}
start: {{topic: wanted, delay: 1h}}
deadline: {deadline}
steps:
  paid:
    wait: {{topic: payments, match: "{match}"}}
"""
BY_ORDER = load(TEXT.format(version=1, deadline="1d", match="event.order == input.id"), "a")
BY_BUYER = load(TEXT.format(version=2, deadline="2d", match="event.by == input.buyer"), "b")
NOW_US = START_US + 9_000


def event(text: bytes, offset: int = 0, topic: str = "payments") -> Received:
    return Received(topic, 3, offset, None, text, [], START_US // 1000)


def test_an_event_lies_under_each_key_by_which_it_is_waited_for() -> None:
    """By any version: sagas follow the one that they began with."""
    waits = waits_of([BY_ORDER, BY_BUYER])
    body = {"order": "7", "by": 5}
    found, dead = letters([event(b'{"order": "7", "by": 5}')], waits, NOW_US)

    assert not dead
    assert found == [
        Letter("payments", 'event.order = "7"', 3, 0, START_US, body),
        Letter("payments", "event.by = 5", 3, 0, START_US, body),
    ]


def test_an_event_without_the_key_is_for_nobody() -> None:
    """That is no mistake: a topic has many events, and only some are waited for."""
    some = [event(b"{}"), event(b'{"order": null}'), event(b'{"order": 1}', topic="others")]

    assert letters(some, waits_of([BY_ORDER]), NOW_US) == ([], [])


def test_an_event_that_one_wait_can_read_is_kept_whatever_others_lack() -> None:
    """What another definition asks of it is nothing to those that wait."""
    found, _ = letters([event(b'{"by": 5}')], waits_of([BY_ORDER, BY_BUYER]), NOW_US)

    assert [one.key for one in found] == ["event.by = 5"]


def test_what_is_no_event_is_buried() -> None:
    found, dead = letters([event(b"[1]"), event(b'{"order": 1}', 1)], waits_of([BY_ORDER]), NOW_US)

    assert [one.offset for one in found] == [1]
    assert [reason for _, reason in dead] == ["the body is not a JSON object"]


def test_an_event_is_kept_for_as_long_as_the_longest_saga_could_want_it() -> None:
    """And not taken in at all if it is older."""
    for both in ([BY_ORDER, BY_BUYER], [BY_BUYER, BY_ORDER]):
        [(_, kept_us)] = waits_of(both).values()
        assert 3 * DAY_US < kept_us < 3 * DAY_US + 2 * DAY_US // 24

    waits = waits_of([BY_ORDER])
    [(_, kept_us)] = waits.values()
    assert letters([event(b'{"order": 1}')], waits, START_US + kept_us)[0]
    assert not letters([event(b'{"order": 1}')], waits, START_US + kept_us + 1)[0]


def test_what_comes_from_the_future_has_come_now() -> None:
    """A producer that takes microseconds for milliseconds must not hold up all other letters."""
    times = [(NOW_US + 9_000, NOW_US + 9_000), (START_US * 1000, NOW_US)]
    for said_us, taken_us in times:
        one = replace(event(b'{"order": 1}'), timestamp_ms=said_us // 1000)
        [found], _ = letters([one], waits_of([BY_ORDER]), NOW_US)
        assert found.at_us == taken_us


async def test_who_waits_is_told_once_the_letter_is_there() -> None:
    log = MemoryLog(ClusterFacts("test", 4, 1), lambda: START_US)
    [at] = await log.claim("r", [2], 1)
    key = 'event.order = "7"'
    waiting = [Waiting(2, GID, "paid", "payments", key), Waiting(2, GID, "x", "payments", "nil")]
    await log.persist(Batch([at], [], [], [], waiting))
    [letter], _ = letters([event(b'{"order": "7"}', 5)], waits_of([BY_ORDER]), NOW_US)

    [told] = await deliver(log, [letter], Topics("test"))

    assert (told.topic, told.partition) == ("test.replies", 2)
    assert unseal(told.headers, told.value).message == Arrived(
        gid=GID, step="paid", topic="payments", key=key, place="payments/3/5"
    )
    assert await log.letters([("payments", key)])
