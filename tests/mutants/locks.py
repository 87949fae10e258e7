"""Bugs around locks."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

LOCKS: Final = (
    Mutant(
        "takes locks in the order in which they are named",
        "coordinator/core/locking.py",
        "    return tuple(sorted({str(key) for key in keys}))\n",
        "    return tuple(dict.fromkeys(str(key) for key in keys))\n",
        "two sagas wait for each other",
    ),
    Mutant(
        "gives back a lock while parked",
        "coordinator/core/saga_table.py",
        '    drop(_P.PARKED, Kind.LOCK_GRANTED, "what is parked keeps its locks"),\n',
        '    on(_P.PARKED, Kind.LOCK_GRANTED, locking.give_back, "nobody does anything"),\n',
        "what is neither done nor undone is seen by others",
    ),
    Mutant(
        "grants a lock once",
        "coordinator/core/lock.py",
        "    return _said(asked, LockGranted(gid=holder.gid, lock=lock.name))\n",
        "    return Transition[Any](asked)\n",
        "who stands in a queue by an old message has the lock for ever",
    ),
    Mutant(
        "lets any release free a lock",
        "coordinator/core/lock.py",
        "    on(_S.TAKEN, Kind.LOCK_GIVEN_BACK, _nothing_to_release,",
        "    on(_S.TAKEN, Kind.LOCK_GIVEN_BACK, _give_up,",
        "a release that comes twice takes the lock from who has it by then",
    ),
    Mutant(
        "is over before its locks are free",
        "coordinator/core/locking.py",
        " or not known or unreleased(saga):\n",
        " or not known:\n",
        "nobody sees to it that a release that was lost is said again",
    ),
    Mutant(
        "takes over a shard without its locks",
        "coordinator/engine.py",
        "        self._holdings.locks.load(claim for claim in claims if claim[0] not in lost)\n",
        "",
        "a lock that somebody has is free for the next owner",
    ),
    Mutant(
        "holds a place in a queue for not worth remembering",
        "coordinator/turn.py",
        "for change in changed(shard.id, before, move.state):",
        "for change in changed(shard.id, before, move.state) if move.sends else ():",
        "who has waited longest is served last after a takeover",
    ),
    Mutant(
        "lets the queue of the copy stand when a log was restored",
        "recovery/locks.py",
        "        if (name := gids.parse(claim.gid)) is None or name.shard in here\n",
        "        if (name := gids.parse(claim.gid)) is None or name.shard not in here\n",
        "who waited in the copy is served before who has the lock by now",
    ),
)
