"""What a turn does about a lock: what it must remember, and what it says."""

from __future__ import annotations

from typing import Any

from coordinator.core.lock import Claim, Lock
from coordinator.definitions import Definitions
from coordinator.holdings import Holdings, Shard
from coordinator.locks import changed
from coordinator.log.store import ClaimChange, ClusterFacts
from coordinator.setting import Setting
from coordinator.turn import Known, Turn
from coordinator.work import Work
from tests.core.coordinator.builders import START_US
from wire.envelope import Envelope, seal, unseal
from wire.kafka import Received
from wire.messages import AnyMessage, LockAsk, LockGranted, LockRelease, LockReleased
from wire.topics import Topics

TOPICS = Topics("test")
FIRST, SECOND = (f"tf1.test.1.0.0000000000007000800000000000000{n}" for n in (1, 2))
HELD = Lock("x", (Claim(FIRST, 1, 0, 0),), START_US + 1)


def hear(message: AnyMessage, known: Known, *locks: Lock) -> Work:
    """Let a message come to the only shard, which has these locks and no transaction."""
    holdings = Holdings()
    holdings.shards[0] = Shard(0, 1, 0, 0, 0)
    for lock in locks:
        holdings.locks.keep(0, lock)
    facts = ClusterFacts("test", 1, 1)
    turn = Turn(Setting(facts, TOPICS, Definitions(), lambda: False), holdings, known, START_US)
    record = seal(Envelope(message), topic=TOPICS.replies, source="/test", key="k", partition=0)
    turn.receive(Received(TOPICS.replies, 0, 0, record.key, record.value, record.headers, 0))
    assert not turn.work.buried
    return turn.work


def said(work: Work) -> list[Any]:
    return [unseal(out.record.headers, out.record.value).message for out in work.outgoing]


def test_a_place_in_a_queue_is_remembered_though_nobody_is_told_of_it() -> None:
    """Otherwise the next owner would let another one stand there."""
    work = hear(LockAsk(gid=SECOND, lock="x"), Known(), HELD)

    assert said(work) == []
    assert work.is_awaited
    assert work.batch().claims == [ClaimChange(0, "x", SECOND, Claim(SECOND, 2, START_US))]


def test_a_lock_is_passed_on_in_one_batch_with_its_release() -> None:
    """Who has given it back, and who has it now, become true at once."""
    queue = (*HELD.claims, Claim(SECOND, 2, 0))

    work = hear(LockRelease(gid=FIRST, lock="x"), Known(), Lock("x", queue))

    assert said(work) == [LockGranted(gid=SECOND, lock="x"), LockReleased(gid=FIRST, lock="x")]
    held = Claim(SECOND, 2, 0, START_US)
    assert work.batch().claims == [
        ClaimChange(0, "x", FIRST, None),
        ClaimChange(0, "x", SECOND, held),
    ]


class Compared(Claim):
    """A claim that counts how often any of its kind is compared."""

    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return tuple(self) == other

    __hash__ = Claim.__hash__


def test_what_is_done_for_one_in_a_long_queue_grows_no_faster_than_the_queue() -> None:
    """Otherwise a thousand who ask once a minute would keep an owner busy."""
    queue = tuple(Compared(f"{FIRST[:-4]}{n:04x}", n, 0, 0) for n in range(300))
    longer = (*queue, Claim(SECOND, 300, 0))

    assert changed(0, Lock("x", queue), Lock("x", longer)) == [
        ClaimChange(0, "x", SECOND, longer[-1])
    ]
    assert Compared.times < 2 * len(queue)


def test_a_lock_comes_back_from_who_is_over() -> None:
    """The log was asked, and knows him no more."""
    work = hear(LockGranted(gid=FIRST, lock="x"), Known(over={FIRST}))

    assert said(work) == [LockRelease(gid=FIRST, lock="x")]


def test_a_lock_is_not_given_back_for_who_is_only_elsewhere() -> None:
    """He may be parked, or asleep: he keeps it."""
    assert said(hear(LockGranted(gid=FIRST, lock="x"), Known())) == []
