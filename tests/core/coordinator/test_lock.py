"""A lock alone: who has it, who waits, and what old messages do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from coordinator.core import lock as locks
from coordinator.core.lock import LONGEST_PROBE_US, Lock
from tests.core.coordinator.builders import START_US
from wire.messages import LockAsk, LockDenied, LockGranted, LockRelease, LockReleased

A, B, C = (f"tf1.test.1.0.{n:032x}" for n in range(3))


@dataclass
class Desk:
    """One lock, and whoever speaks to it."""

    lock: Lock = field(default_factory=lambda: Lock("x"))

    def ask(self, gid: str, *, waits: bool = True) -> list[Any]:
        return self._hear(LockAsk(gid=gid, lock="x", waits=waits))

    def release(self, gid: str) -> list[Any]:
        return self._hear(LockRelease(gid=gid, lock="x"))

    def _hear(self, message: LockAsk | LockRelease) -> list[Any]:
        move = locks.react(self.lock, message, START_US)
        self.lock = move.state
        return [send.message for send in move.sends]

    @property
    def queue(self) -> list[str]:
        return [claim.gid for claim in self.lock.claims]


def granted(gid: str) -> LockGranted:
    return LockGranted(gid=gid, lock="x")


def released(gid: str) -> LockReleased:
    return LockReleased(gid=gid, lock="x")


def test_first_come_first_served() -> None:
    """The next one hears of it when the first gives it back, and not before."""
    desk = Desk()

    assert desk.ask(A) == [granted(A)]
    assert desk.ask(B) == []
    assert desk.ask(C) == []
    assert desk.release(A) == [granted(B), released(A)]
    assert desk.release(B) == [granted(C), released(B)]
    assert desk.release(C) == [released(C)]
    assert desk.lock.claims == ()


def test_who_does_not_wait_is_told_for_whom_it_would() -> None:
    """And leaves no trace."""
    desk = Desk()
    desk.ask(A)

    assert desk.ask(B, waits=False) == [LockDenied(gid=B, lock="x", holder=A)]
    assert desk.queue == [A]


def test_the_same_claim_twice_is_one() -> None:
    """The holder hears again that it has it; who waits keeps its place."""
    desk = Desk()
    desk.ask(A)
    desk.ask(B)
    desk.ask(C)

    assert desk.ask(A) == [granted(A)]
    assert desk.ask(A, waits=False) == [granted(A)]
    assert desk.ask(B) == []
    assert desk.queue == [A, B, C]


def test_who_waits_no_more_leaves_the_queue_closed() -> None:
    """Neither is a holder's right touched by it."""
    desk = Desk()
    for gid in (A, B, C):
        desk.ask(gid)

    assert desk.release(B) == [released(B)]
    assert desk.queue == [A, C]
    assert desk.release(A) == [granted(C), released(A)]


def test_what_has_no_claim_is_told_so_as_often_as_it_asks() -> None:
    """The first answer may have been lost."""
    desk = Desk()

    assert desk.release(B) == [released(B)]
    desk.ask(A)
    assert desk.release(B) == [released(B)]
    assert desk.queue == [A]


def test_places_grow_so_that_the_order_can_be_read_from_rows() -> None:
    """The holder's is always the lowest."""
    desk = Desk()
    desk.ask(A)
    desk.ask(B)
    desk.release(A)
    desk.ask(C)
    desk.ask(A)

    places = [claim.place for claim in desk.lock.claims]
    assert desk.queue == [B, C, A]
    assert places == sorted(set(places))
    assert [claim.held_us is not None for claim in desk.lock.claims] == [True, False, False]


def test_a_holder_is_asked_less_and_less_often_whether_it_lives() -> None:
    """The first time soon, since the only reason may be an old message."""
    desk = Desk()
    desk.ask(A)
    lock, now_us = desk.lock, START_US
    pauses: list[int] = []
    for _ in range(12):
        assert locks.probe(lock, lock.probe_at_us - 1).sends == ()
        pauses.append(lock.probe_at_us - now_us)
        now_us = lock.probe_at_us
        move = locks.probe(lock, now_us)
        assert [send.message for send in move.sends] == [granted(A)]
        lock = move.state

    assert pauses == sorted(pauses)
    assert pauses[0] < 5_000_000
    assert pauses[-1] == LONGEST_PROBE_US
    assert lock.claims == desk.lock.claims, "to ask is no fact"


def test_a_free_lock_asks_nobody() -> None:
    assert locks.probe(Lock("x"), START_US).sends == ()
