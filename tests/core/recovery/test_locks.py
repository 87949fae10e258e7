"""Locks in a log that was restored: the old queues go, and whoever is under way has his."""

from __future__ import annotations

from coordinator.core.lock import Claim
from coordinator.core.records import Locked, Locking
from coordinator.core.saga_state import SagaState
from coordinator.core.transition import Transition
from coordinator.log.store import ClaimChange
from recovery.locks import Holding, cleared, given, holdings
from tests.core.coordinator.builders import START_US, begun, saga, step
from wire import gids

HERE, ELSEWHERE = (f"tf1.test.1.{shard}.00000000000070008000000000000001" for shard in (0, 1))
SHARDS = 2
HOME = next(name for name in map(str, range(99)) if gids.shard_of_lock(name, SHARDS) == 0)
AWAY = next(name for name in map(str, range(99)) if gids.shard_of_lock(name, SHARDS) == 1)


def test_the_queue_of_the_copy_is_thrown_away() -> None:
    """Who waits there would be served before who has got the lock since."""
    claims = [(0, "x", Claim(HERE, 1, 0, 0)), (0, "x", Claim(ELSEWHERE, 2, 0))]

    assert cleared(claims, {0: None}) == [ClaimChange(0, "x", HERE, None)]
    assert len(cleared(claims, {0: None, 1: None})) == len(claims)


def test_who_has_passed_a_lock_has_it_and_who_waits_asks_anew() -> None:
    """The log knows of the first; the second has not begun."""
    definition = saga(step("a"))
    state = SagaState.born(HERE, definition, begun(definition), START_US)
    move = Transition(state).remember(Locking(locks=("x", "y")), START_US)
    move = move.remember(Locked(lock="x"), START_US)

    assert holdings(move.state) == [Holding("x", HERE, START_US)]


def test_locks_are_given_where_they_live_the_older_one_first() -> None:
    """In the shards of this store; those of others have forgotten nothing."""
    found = [Holding(HOME, HERE, 2), Holding(HOME, ELSEWHERE, 1), Holding(AWAY, HERE, 2)]

    assert given(found, {0}, SHARDS, 9) == [
        ClaimChange(0, HOME, HERE, Claim(HERE, 2, 2, 9)),
        ClaimChange(0, HOME, ELSEWHERE, Claim(ELSEWHERE, 1, 1, 9)),
    ]
