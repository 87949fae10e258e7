"""What is prepared: what was decided about it, who will end it, and why it waits. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from audit.branches import strays
from audit.facts import Database, Facts, Prepared
from audit.findings import Kind
from coordinator.cli import plain
from coordinator.core.two_phase_state import Phase, TwoPhase
from wire import gids


class Doubt(NamedTuple):
    """A prepared transaction. ``gid`` is empty for a stranger's."""

    name: str
    gid: str
    branch: str
    participant: str
    owner: str
    since_us: int
    decided: str
    waits: str


def doubts(facts: Facts) -> list[Doubt]:
    """Return all that is prepared, the oldest first, strangers after ours."""
    found = [_doubt(facts, database, one) for database, one in facts.prepared()]
    return sorted(found, key=lambda doubt: (not doubt.gid, doubt.since_us))


def _doubt(facts: Facts, database: Database, prepared: Prepared) -> Doubt:
    parsed = gids.parse_prepared(prepared.name)
    ours = parsed is not None and parsed[0].cluster == facts.log.cluster
    gid, branch = (str(parsed[0]), parsed[1]) if parsed is not None and ours else ("", "")
    decided, waits = _why(facts, database, gid, branch)
    return Doubt(
        prepared.name,
        gid,
        branch,
        database.label,
        prepared.owner,
        prepared.since_us,
        decided,
        waits,
    )


def _why(facts: Facts, database: Database, gid: str, branch: str) -> tuple[str, str]:
    if not gid:
        return "stranger", "for its owner, whom we do not know"
    for stray in strays(facts):
        if (stray.gid, stray.part, stray.participant) == (gid, branch, database.label):
            return _stray(stray.kind)
    transaction = facts.log.transactions.get(gid)
    if transaction is None:
        return "unknown", "for its participant to ask: it is young, and may just have begun"
    state = transaction.state
    if not isinstance(state, TwoPhase):
        return "unknown", "for a person: the log's records of it cannot be read"
    return _known(facts, state, branch)


def _stray(kind: Kind) -> tuple[str, str]:
    match kind:
        case Kind.PREPARED_UNKNOWN:
            return "abort", "for its participant to ask, and hear that it was never decided"
        case Kind.PREPARED_MISNAMED:
            return "nothing", "for a person: its transaction has no such branch"
        case Kind.PREPARED_ELSEWHERE:
            return "unheard", "for a person: its participant has another database"
        case _:
            return "unknown", "for a person: the log does not reach back to it"


def _known(facts: Facts, txn: TwoPhase, branch: str) -> tuple[str, str]:
    if txn.decided is None:
        if txn.phase is Phase.PARKED:
            return "parked", "for a person: its transaction is parked undecided"
        return "undecided", "; ".join([plain.why(txn, facts.log.now_us), *_ownerless(facts, txn)])
    decision = txn.decided.decision
    who = txn.definition.branches[branch].call.participant
    if not facts.is_late(max(txn.decided_us, 0)):
        return str(decision), f"for {who} to hear of it: the {_news(txn)} is on its way"
    late = f"for {who} to hear the {_news(txn)}: does it run?"
    return str(decision), "; ".join([late, *_ownerless(facts, txn)])


def _news(txn: TwoPhase) -> str:
    assert txn.decided is not None
    return "commit" if txn.decided.decision == "commit" else "rollback"


def _ownerless(facts: Facts, txn: TwoPhase) -> Iterator[str]:
    name = gids.parse(txn.gid)
    if name is not None and name.shard in {unowned.shard for unowned in facts.log.unowned}:
        yield f"nobody has shard {name.shard}: start a coordinator"
