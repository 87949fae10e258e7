"""Atomic transactions: what was decided, beside what is prepared and what has ended.

What was decided is read first, then what is prepared, then the markers. A
branch that must commit was prepared before it was decided so. So if it is
not prepared when we look, it has ended, and its marker is in by the time we
read the markers.
"""

from __future__ import annotations

from collections.abc import Iterator

from audit.facts import Database, Facts, Marker, Prepared
from audit.findings import Finding, Kind
from coordinator.core.records import Decision
from coordinator.core.two_phase_state import Phase, TwoPhase
from sagas.model import Branch
from wire import gids


def branches(txn: TwoPhase, facts: Facts, *, resolved: bool) -> Iterator[Finding]:
    """Compare each branch of a transaction with its participant's database.

    How a branch has ended is no news if it is recorded as a hazard, since its
    transaction was parked then; nor if a person has ``resolved`` it.
    """
    for branch in txn.definition.branches.values():
        database = facts.where(branch.call.participant)
        if database is None:
            continue
        marker = database.markers.get((txn.gid, branch.name))
        prepared = database.holds(gids.prepared_name(txn.gid, branch.name))
        kind = None
        since_us = txn.decided_us or txn.began_us
        if marker is None and prepared is not None:
            kind = _waiting(txn, prepared, facts)
            since_us = max(prepared.since_us, txn.decided_us)
        elif resolved or branch.name in txn.hazards:
            continue
        elif marker is not None:
            kind, since_us = _ended(txn, branch, marker), marker.at_us
        elif _promised(txn, branch):
            kind = Kind.MARKER_MISSING
        if kind is not None:
            yield Finding(kind, txn.gid, branch.call.participant, branch.name, since_us)


def _ended(txn: TwoPhase, branch: Branch, marker: Marker) -> Kind | None:
    if txn.decided is None:
        # A lone branch decides by itself; a rolled-back one has voted no.
        alone = len(txn.definition.branches) == 1
        return Kind.COMMITTED_UNDECIDED if marker.committed and not alone else None
    if txn.decided.decision is Decision.ABORT:
        return Kind.COMMITTED_AGAINST_ABORT if marker.committed else None
    if marker.committed or not _promised(txn, branch):
        return None  # one that had nothing to commit may refuse a late Prepare
    return Kind.ROLLED_BACK_AGAINST_COMMIT


def _waiting(txn: TwoPhase, prepared: Prepared, facts: Facts) -> Kind | None:
    if txn.decided is None:
        return Kind.PREPARED_PARKED if txn.phase is Phase.PARKED else None
    if not facts.is_late(max(prepared.since_us, txn.decided_us)):
        return None
    commit = txn.decided.decision is Decision.COMMIT
    return Kind.COMMIT_UNFINISHED if commit else Kind.ROLLBACK_UNFINISHED


def _promised(txn: TwoPhase, branch: Branch) -> bool:
    """Whether the branch voted yes and was then to commit."""
    decided = txn.decided
    return (
        decided is not None
        and decided.decision is Decision.COMMIT
        and branch.name in decided.awaited
    )


# ── what is prepared, and no branch that we know ─────────────────────────────


def strays(facts: Facts) -> Iterator[Finding]:
    """Look at all that is prepared, for what no transaction of the log accounts for."""
    for database, prepared in facts.prepared():
        parsed = gids.parse_prepared(prepared.name)
        if parsed is None or parsed[0].cluster != facts.log.cluster:
            if facts.is_late(prepared.since_us):
                yield Finding(
                    Kind.PREPARED_STRANGER,
                    prepared.name,
                    database.label,
                    "",
                    prepared.since_us,
                    f"its owner is {prepared.owner}",
                )
            continue
        name, branch = parsed
        kind, detail = _stray(facts, database, prepared, name, branch)
        if kind is not None:
            yield Finding(kind, str(name), database.label, branch, prepared.since_us, detail)


def _stray(
    facts: Facts, database: Database, prepared: Prepared, name: gids.Gid, branch: str
) -> tuple[Kind | None, str]:
    txn = facts.log.transactions.get(str(name))
    if txn is not None:
        return _of_no_branch(txn.state, database, branch) if txn.state is not None else (None, "")
    if name.generation != (current := facts.log.generation_of(name)):
        said = f"generation {name.generation}, and the log's is {current}"
        return Kind.PREPARED_OTHER_GENERATION, said
    if not facts.is_late(prepared.since_us):
        return None, ""
    return (Kind.PREPARED_UNKNOWN if facts.log.reaches(name) else Kind.PREPARED_BEFORE_HORIZON), ""


def _of_no_branch(state: object, database: Database, branch: str) -> tuple[Kind | None, str]:
    if not isinstance(state, TwoPhase):
        return Kind.PREPARED_MISNAMED, "it is a saga, which has no branches"
    known = state.definition.branches
    if branch not in known:
        return Kind.PREPARED_MISNAMED, f"its branches are {', '.join(known)}"
    participant = known[branch].call.participant
    if participant not in database.participants:
        return Kind.PREPARED_ELSEWHERE, f"its participant is {participant}"
    return None, ""
