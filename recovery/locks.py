"""Locks in a log that was restored: who must have one, as his own log now says. Pure.

The queues of the copy are of another time. Whoever is under way, or parked, may
have gone ahead under the locks of his input, so he is given them, before anybody
new is. If two may, as where one had closed and the log has lost that, then the
one that began first stands first, and a third has to wait for both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from coordinator.core.lock import Claim
from coordinator.core.machine import State
from coordinator.core.saga_state import Phase, SagaState
from coordinator.log.store import ClaimChange
from wire import gids


class Holding(NamedTuple):
    """A transaction that has a lock, and since when it may have had it."""

    lock: str
    gid: str
    began_us: int


def holdings(state: State) -> list[Holding]:
    """Name what a transaction has."""
    if not isinstance(state, SagaState):
        return []
    if state.phase in (Phase.CLOSED, Phase.ENDED) and not state.held:
        return []
    return [Holding(lock, state.gid, state.began_us) for lock in state.locks[: state.passed]]


def given(
    found: Iterable[Holding], here: Collection[int], shards: int, now_us: int
) -> list[ClaimChange]:
    """Give them the locks of the shards that are ``here``, of ``shards`` in all."""
    placed = [(gids.shard_of_lock(one.lock, shards), one) for one in found]
    return [
        ClaimChange(shard, lock, gid, Claim(gid, began_us, began_us, now_us))
        for shard, (lock, gid, began_us) in placed
        if shard in here
    ]


def cleared(claims: Iterable[tuple[int, str, Claim]], here: Mapping[int, Any]) -> list[ClaimChange]:
    """Throw away what the copy says of these shards' transactions.

    Those of other stores stay: their own logs have forgotten nothing.
    """
    return [
        ClaimChange(shard, lock, claim.gid, None)
        for shard, lock, claim in claims
        if (name := gids.parse(claim.gid)) is None or name.shard in here
    ]
