"""What a saga does about its locks: it asks before its first step, and gives back at its end.

It asks for one after the other, in an order that all sagas share, so that no
two of them wait for each other. It gives back once its outcome stands, and is
over only when all has been given back: a lock is never left with what has
ended. What a lock does about it is in lock.py.

Nothing here awaits, reads a clock, or logs.
"""

from __future__ import annotations

from typing import Final, TypeAlias, cast

from msgspec.structs import replace

from coordinator.core import compensation
from coordinator.core.records import CompensationBegan, Ended, Locked, Locking
from coordinator.core.saga_state import Phase, SagaState, Talk
from coordinator.core.transition import Send, Transition
from sagas.model import Busy, EvaluationFailed, Json, Lock, Scope
from wire.gids import LOCK_RULE, is_lock_name
from wire.messages import LockAsk, LockDenied, LockGranted, LockMessage, LockRelease, LockReleased

Move: TypeAlias = Transition[SagaState]

MOST: Final = 50
FIRST_PAUSE_US: Final = 2_000_000
LONGEST_PAUSE_US: Final = 60_000_000


def names(lock: Lock, scope: Scope) -> tuple[str, ...]:
    """Name the locks, each once, in the order that all sagas share.

    Raises:
        EvaluationFailed: the key has no value, or none that could name locks.

    """
    value: Json = lock.key(scope)
    keys = cast("list[Json]", value) if isinstance(value, list) else [value]
    for key in keys:
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise EvaluationFailed("the key of a lock is a text or an integer, or a list of them")
        if not is_lock_name(str(key)):
            raise EvaluationFailed(LOCK_RULE)
    if len(keys) > MOST:
        raise EvaluationFailed(f"{len(keys)} locks are more than {MOST}")
    return tuple(sorted({str(key) for key in keys}))


def begin(saga: SagaState, scope: Scope, now_us: int) -> Move:
    """Write down which locks it will need; without a name for them it cannot begin."""
    move = Transition(saga)
    lock = saga.definition.lock
    assert lock is not None, f"{saga.gid} needs no lock"
    try:
        locks = names(lock, scope)
    except EvaluationFailed as error:
        return _back(move, f"lock: {error}", now_us)
    return move.remember(Locking(locks=locks), now_us)


def granted(saga: SagaState, event: LockGranted, now_us: int) -> Move:
    """Go on to the next lock, or to the first step."""
    if (stale := _stale(saga, event.lock)) is not None:
        return stale
    return Transition(saga).remember(Locked(lock=event.lock), now_us)


def denied(saga: SagaState, event: LockDenied, now_us: int) -> Move:
    """Go on without, where the definition allows it; otherwise nothing has happened."""
    if (stale := _stale(saga, event.lock)) is not None:
        return stale
    lock = saga.definition.lock
    if lock is not None and lock.busy is Busy.ALLOW:
        beside = Locked(lock=event.lock, beside=event.holder)
        return Transition(saga).remember(beside, now_us)
    return _back(Transition(saga), f"the lock {event.lock} is held by {event.holder}", now_us)


def released(saga: SagaState, event: LockReleased, now_us: int) -> Move:
    """One lock knows that it is free of this saga."""
    return end_if_over(Transition(replace(saga, freed=saga.freed | {event.lock})), now_us)


def give_back(saga: SagaState, event: LockGranted, _now_us: int) -> Move:
    """An old message has put it into a queue anew, which it needs no more."""
    if saga.held:
        return Transition(saga, dropped="it has it, and may yet need it to go back")
    return Transition(saga, sends=(_to(LockRelease(gid=saga.gid, lock=event.lock)),))


def end_if_over(move: Move, now_us: int) -> Move:
    """End once the outcome is told, and no lock is left."""
    saga = move.state
    known = saga.told or saga.begun.parent  # which is told in the same commit
    if saga.phase is not Phase.CLOSED or saga.held or not known or unreleased(saga):
        return move
    return move.remember(Ended(), now_us)


def dispatch(move: Move, now_us: int) -> Move:
    """Ask for the lock that is next, or give back those that are not known to be free."""
    saga = move.state
    at_us = talks_at_us(saga)
    if at_us is None or at_us > now_us:
        return move
    said: tuple[LockMessage, ...]
    if saga.phase is Phase.LOCKING:
        waits = saga.definition.lock is None or saga.definition.lock.busy is Busy.WAIT
        said = (LockAsk(gid=saga.gid, lock=saga.locks[saga.passed], waits=waits),)
    else:
        said = tuple(LockRelease(gid=saga.gid, lock=name) for name in unreleased(saga))
    pause_us = min(LONGEST_PAUSE_US, FIRST_PAUSE_US << min(saga.talk.times, 30))
    talk = Talk(now_us + pause_us, saga.talk.times + 1)
    sends = (*move.sends, *map(_to, said))
    return replace(move, state=replace(saga, talk=talk), sends=sends)


def talks_at_us(saga: SagaState) -> int | None:
    """Tell when it next speaks to a lock, if nothing happens before."""
    if saga.phase is Phase.LOCKING:
        return max(saga.talk.at_us, saga.clock_us)
    return saga.talk.at_us if _gives_back(saga) else None


def expects_answers(saga: SagaState) -> bool:
    """Tell whether a lock was asked for, or is to be given back."""
    if saga.phase is Phase.LOCKING:
        return saga.talk.times > 0
    return _gives_back(saga)


def _gives_back(saga: SagaState) -> bool:
    return saga.phase is Phase.CLOSED and not saga.held and bool(unreleased(saga))


def unreleased(saga: SagaState) -> tuple[str, ...]:
    """Name the locks that it may have asked for, and that are not known to be free of it."""
    asked = saga.locks[: saga.passed + 1]
    return tuple(name for name in asked if name not in saga.freed) if asked else ()


def _stale(saga: SagaState, lock: str) -> Move | None:
    if lock == saga.locks[saga.passed]:
        return None
    return Transition(saga, dropped=f"it waits for the lock {saga.locks[saga.passed]}")


def _back(move: Move, reason: str, now_us: int) -> Move:
    return compensation.close_if_undone(
        move.remember(CompensationBegan(reason=reason), now_us), now_us
    )


def _to(message: LockMessage) -> Send:
    return Send(None, message, message.gid)
