"""Locks: who has one, and who waits for it.

A lock is one queue. Whoever stands first has it, and keeps it until he says
himself that he is done: no time limit takes it from him, since what he does
under it would go on. What might be left behind by him who is over (an old
message that comes again would let him stand in the queue anew) is found by
asking: the grant is repeated, and he who is over answers it with a release.

Unlike a transaction, a lock has no past worth keeping. What is durable is
the queue as it stands; who had it when is in the transactions' own logs.

Nothing here awaits, reads a clock, or logs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from coordinator.core.events import Kind, kind
from coordinator.core.transition import Rules, Send, Transition, drop, on, table
from wire.messages import (
    LockAsk,
    LockDenied,
    LockGranted,
    LockMessage,
    LockRelease,
    LockReleased,
)

FIRST_PROBE_US: Final = 2_000_000
LONGEST_PROBE_US: Final = 300_000_000


class Standing(StrEnum):
    """How a lock looks to the transaction that speaks to it."""

    FREE = "free"
    TAKEN = "taken"  # by another one, and the speaker is not in the queue
    WAITING = "waiting"
    HOLDING = "holding"


class Claim(NamedTuple):
    """One place in the queue. The first has the lock, since ``held_us``."""

    gid: str
    place: int
    """Grows from each claim to the next."""
    asked_us: int
    held_us: int | None = None


class Lock(msgspec.Struct, frozen=True):
    """A lock as it stands."""

    name: str
    claims: tuple[Claim, ...] = ()
    probe_at_us: int = 0
    """When the holder is asked whether it still lives."""
    probes: int = 0

    @property
    def holder(self) -> Claim | None:
        return self.claims[0] if self.claims else None

    def standing(self, gid: str) -> Standing:
        """Tell how the lock looks to a transaction."""
        if not self.claims:
            return Standing.FREE
        if self.claims[0].gid == gid:
            return Standing.HOLDING
        waits = any(claim.gid == gid for claim in self.claims)
        return Standing.WAITING if waits else Standing.TAKEN


Move: TypeAlias = Transition[Any]
"""To a lock, as it stands then. Its claims are what must be durable before anything is sent."""


def react(lock: Lock, message: LockAsk | LockRelease, now_us: int) -> Move:
    """Apply the table's rule."""
    rule = RULES[lock.standing(message.gid), kind(message)]
    if rule.act is None:
        return Transition[Any](lock, dropped=rule.reason)
    return rule.act(lock, message, now_us)


def probe(lock: Lock, now_us: int) -> Move:
    """Repeat the grant, less and less often. Whoever is over gives the lock back."""
    holder = lock.holder
    if holder is None or lock.probe_at_us > now_us:
        return Transition[Any](lock)
    pause_us = min(LONGEST_PROBE_US, FIRST_PROBE_US << min(lock.probes, 30))
    asked = replace(lock, probe_at_us=now_us + pause_us, probes=lock.probes + 1)
    return _said(asked, LockGranted(gid=holder.gid, lock=lock.name))


# ── what the table does ──────────────────────────────────────────────────────


def _grant(lock: Lock, ask: LockAsk, now_us: int) -> Move:
    return _pass_on(replace(lock, claims=(_claim(lock, ask, now_us),)), now_us)


def _queue(lock: Lock, ask: LockAsk, now_us: int) -> Move:
    return Transition[Any](replace(lock, claims=(*lock.claims, _claim(lock, ask, now_us))))


def _deny(lock: Lock, ask: LockAsk, _now_us: int) -> Move:
    return _said(lock, LockDenied(gid=ask.gid, lock=lock.name, holder=lock.claims[0].gid))


def _grant_again(lock: Lock, ask: LockAsk, _now_us: int) -> Move:
    return _said(lock, LockGranted(gid=ask.gid, lock=lock.name))


def _leave(lock: Lock, release: LockRelease, _now_us: int) -> Move:
    rest = tuple(claim for claim in lock.claims if claim.gid != release.gid)
    return _released(Transition(replace(lock, claims=rest)), release)


def _give_up(lock: Lock, release: LockRelease, now_us: int) -> Move:
    return _released(_pass_on(replace(lock, claims=lock.claims[1:]), now_us), release)


def _nothing_to_release(lock: Lock, release: LockRelease, _now_us: int) -> Move:
    return _released(Transition(lock), release)


def _claim(lock: Lock, ask: LockAsk, now_us: int) -> Claim:
    last = lock.claims[-1].place if lock.claims else 0
    return Claim(ask.gid, last + 1, now_us)


def _pass_on(lock: Lock, now_us: int) -> Move:
    """Let the first in the queue have the lock."""
    if not lock.claims:
        return Transition[Any](lock)
    first = lock.claims[0]._replace(held_us=now_us)
    held = replace(
        lock,
        claims=(first, *lock.claims[1:]),
        probe_at_us=now_us + FIRST_PROBE_US,
        probes=1,
    )
    return _said(held, LockGranted(gid=first.gid, lock=lock.name))


def _released(move: Move, release: LockRelease) -> Move:
    answer = LockReleased(gid=release.gid, lock=release.lock)
    return replace(move, sends=(*move.sends, _to(answer)))


def _said(lock: Lock, message: LockMessage) -> Move:
    return Transition[Any](lock, sends=(_to(message),))


def _to(message: LockMessage) -> Send:
    return Send(None, message, message.gid)


_S = Standing
KINDS: Final = (Kind.LOCK_ASKED, Kind.LOCK_TRIED, Kind.LOCK_GIVEN_BACK)

RULES: Final[Rules] = table(
    Standing,
    KINDS,
    on(_S.FREE, Kind.LOCK_ASKED, _grant, "nobody has it"),
    on(_S.FREE, Kind.LOCK_TRIED, _grant, "nobody has it"),
    on(_S.FREE, Kind.LOCK_GIVEN_BACK, _nothing_to_release, "repeated: it must hear so again"),
    on(_S.TAKEN, Kind.LOCK_ASKED, _queue, "first come, first served"),
    on(_S.TAKEN, Kind.LOCK_TRIED, _deny, "it does not wait, and is told for whom it would"),
    on(_S.TAKEN, Kind.LOCK_GIVEN_BACK, _nothing_to_release, "repeated: it must hear so again"),
    drop(_S.WAITING, (Kind.LOCK_ASKED, Kind.LOCK_TRIED), "it stands in the queue already"),
    on(_S.WAITING, Kind.LOCK_GIVEN_BACK, _leave, "it waits no more"),
    on(_S.HOLDING, Kind.LOCK_ASKED, _grant_again, "the answer was lost, or is on its way"),
    on(_S.HOLDING, Kind.LOCK_TRIED, _grant_again, "the answer was lost, or is on its way"),
    on(_S.HOLDING, Kind.LOCK_GIVEN_BACK, _give_up, "the next in the queue has it"),
)
