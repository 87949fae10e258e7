"""What each event does in each phase of an atomic transaction.

The acts are in two_phase.py and orders.py; docs/state-tables.md shows the same.
"""

from __future__ import annotations

from typing import Final

from coordinator.core import orders
from coordinator.core.events import BY_HAND, ORDERS, Kind
from coordinator.core.transition import drop, on, table
from coordinator.core.two_phase import (
    answer,
    answer_if_decided,
    count_committed,
    count_vote,
    give_up,
    learn_abort,
    learn_commit,
    learn_nothing,
    outcome_told,
    parking_told,
    revoke,
    revoke_lone,
    settle,
    settle_otherwise,
    vote_against,
    vote_later,
    withdraw,
)
from coordinator.core.two_phase_state import Phase

_ENDINGS = (Kind.ORDER_RETRY, Kind.ORDER_ABORT, *BY_HAND)
_VOTES = (Kind.VOTED_COMMIT, Kind.VOTED_ABORT, Kind.VOTED_READ_ONLY, Kind.VOTED_COMMITTED)
_ALL_VOTES = (*_VOTES, Kind.VOTED_BUSY)
_SETTLED = (Kind.SETTLED_COMMITTED, Kind.SETTLED_ROLLED_BACK, Kind.SETTLED_HAZARD)
KINDS: Final = (
    *_ALL_VOTES,
    *_SETTLED,
    Kind.INQUIRED,
    Kind.REVOKED,
    Kind.DEADLINE_PASSED,
    Kind.PUBLISHED,
    *ORDERS,
)
_P = Phase

RULES: Final = table(
    Phase,
    KINDS,
    on(_P.PREPARING, Kind.VOTED_COMMIT, count_vote, "all yes: commit"),
    on(_P.PREPARING, Kind.VOTED_READ_ONLY, count_vote, "a yes that needs no second phase"),
    on(_P.PREPARING, Kind.VOTED_ABORT, vote_against, "one no is final"),
    on(_P.PREPARING, Kind.VOTED_BUSY, vote_later, "no vote yet: asked again until the deadline"),
    on(_P.PREPARING, Kind.VOTED_COMMITTED, count_committed, "a lost log had decided so: a yes"),
    drop(_P.PREPARING, _SETTLED, "nobody has told it how to end"),
    drop(_P.PREPARING, Kind.INQUIRED, "undecided: the branch waits, its yes binds it"),
    on(_P.PREPARING, Kind.DEADLINE_PASSED, give_up, "silence is an abort vote"),
    on(_P.DELEGATED, Kind.VOTED_COMMITTED, learn_commit, "the lone branch has decided"),
    on(_P.DELEGATED, Kind.VOTED_COMMIT, count_vote, "it knows no one-phase commit: two, then"),
    on(_P.DELEGATED, Kind.VOTED_READ_ONLY, count_vote, "nothing to commit"),
    on(_P.DELEGATED, Kind.VOTED_ABORT, learn_abort, "the lone branch has decided"),
    on(_P.DELEGATED, Kind.VOTED_BUSY, vote_later, "no answer yet: asked again until the deadline"),
    drop(_P.DELEGATED, _SETTLED, "nobody has told it how to end"),
    drop(_P.DELEGATED, Kind.INQUIRED, "the deadline will withdraw the question"),
    on(_P.DELEGATED, Kind.DEADLINE_PASSED, withdraw, "it may have committed: ask, never guess"),
    on(_P.WITHDRAWING, Kind.VOTED_COMMITTED, learn_commit, "its answer was late, and stands"),
    on(_P.WITHDRAWING, Kind.SETTLED_COMMITTED, learn_commit, "it had committed"),
    on(_P.WITHDRAWING, Kind.VOTED_READ_ONLY, count_vote, "nothing to commit"),
    on(_P.WITHDRAWING, Kind.VOTED_ABORT, learn_abort, "it had refused"),
    on(_P.WITHDRAWING, Kind.SETTLED_ROLLED_BACK, learn_abort, "it had not, and now cannot"),
    on(_P.WITHDRAWING, Kind.SETTLED_HAZARD, learn_nothing, "a person must look"),
    drop(_P.WITHDRAWING, (Kind.VOTED_COMMIT, Kind.VOTED_BUSY), "its rollback is on the way"),
    drop(_P.WITHDRAWING, Kind.INQUIRED, "its rollback is on the way"),
    on(_P.COMMITTING, Kind.SETTLED_COMMITTED, settle, "ended as decided"),
    on(_P.COMMITTING, Kind.SETTLED_ROLLED_BACK, settle_otherwise, "against the decision"),
    on(_P.COMMITTING, Kind.SETTLED_HAZARD, settle_otherwise, "somebody else ended it"),
    on(_P.ABORTING, Kind.SETTLED_ROLLED_BACK, settle, "ended as decided"),
    on(_P.ABORTING, Kind.SETTLED_COMMITTED, settle_otherwise, "against the decision"),
    on(_P.ABORTING, Kind.SETTLED_HAZARD, settle_otherwise, "somebody else ended it"),
    drop((_P.COMMITTING, _P.ABORTING), _ALL_VOTES, "late or repeated: the decision stands"),
    on(_P.COMMITTING, Kind.INQUIRED, answer, "told once more"),
    on(_P.ABORTING, Kind.INQUIRED, answer, "told once more"),
    on(_P.COMMITTING, Kind.PUBLISHED, outcome_told, "the outcome is told"),
    on(_P.ABORTING, Kind.PUBLISHED, outcome_told, "the outcome is told"),
    drop((_P.PREPARING, _P.DELEGATED, _P.WITHDRAWING), Kind.PUBLISHED, "there is no outcome yet"),
    drop(
        (_P.WITHDRAWING, _P.COMMITTING, _P.ABORTING, _P.PARKED, _P.ENDED),
        Kind.DEADLINE_PASSED,
        "only votes have a deadline",
    ),
    on(_P.PARKED, Kind.PUBLISHED, parking_told, "the outcome is told"),
    drop((_P.PARKED, _P.ENDED), (*_ALL_VOTES, *_SETTLED), "it has ended"),
    on(_P.PARKED, Kind.INQUIRED, answer_if_decided, "the decision stands, whoever broke it"),
    on(_P.ENDED, Kind.INQUIRED, answer, "told once more"),
    drop(_P.ENDED, Kind.PUBLISHED, "it has ended"),
    # Its saga goes back.
    on(_P.PREPARING, Kind.REVOKED, revoke, "nobody was told to commit"),
    on(_P.DELEGATED, Kind.REVOKED, revoke_lone, "it may have committed: it is asked"),
    drop(_P.WITHDRAWING, Kind.REVOKED, "its branch is being asked how it ended"),
    drop((_P.COMMITTING, _P.ABORTING), Kind.REVOKED, "the decision stands: its end will tell"),
    drop((_P.PARKED, _P.ENDED), Kind.REVOKED, "its end is told, or for a person to say"),
    # What a person orders.
    on(_P.PREPARING, Kind.ORDER_ABORT, orders.abort_undecided, "nobody was told to commit"),
    on(_P.DELEGATED, Kind.ORDER_ABORT, orders.withdraw_now, "it may have committed: it is asked"),
    on(_P.WITHDRAWING, Kind.ORDER_COMMIT, orders.decide_by_hand, "a person knows how it ended"),
    on(_P.WITHDRAWING, Kind.ORDER_ROLLBACK, orders.decide_by_hand, "a person knows it"),
    on(_P.COMMITTING, Kind.ORDER_COMMIT, orders.settle_by_hand, "the rest is done by hand"),
    on(_P.COMMITTING, Kind.ORDER_ROLLBACK, orders.settle_by_hand, "recorded as heuristic"),
    on(_P.ABORTING, Kind.ORDER_COMMIT, orders.settle_by_hand, "recorded as heuristic"),
    on(_P.ABORTING, Kind.ORDER_ROLLBACK, orders.settle_by_hand, "the rest is done by hand"),
    on(_P.PARKED, Kind.ORDER_RETRY, orders.go_on, "all branches are asked again"),
    on(_P.PARKED, Kind.ORDER_ABORT, orders.abort_parked, "if nothing is decided"),
    on(_P.PARKED, Kind.ORDER_COMMIT, orders.resolve, "it ends as a person says"),
    on(_P.PARKED, Kind.ORDER_ROLLBACK, orders.resolve, "it ends as a person says"),
    *(
        on(phase, Kind.ORDER_RETRY, orders.go_on, "asked at once, not at the next interval")
        for phase in (_P.WITHDRAWING, _P.COMMITTING, _P.ABORTING)
    ),
    drop((_P.PREPARING, _P.DELEGATED), Kind.ORDER_RETRY, "votes are being asked for"),
    drop(
        (_P.PREPARING, _P.DELEGATED),
        BY_HAND,
        "nothing is decided yet: it can be aborted",
    ),
    drop(_P.WITHDRAWING, Kind.ORDER_ABORT, "its branch is being asked how it ended"),
    drop((_P.COMMITTING, _P.ABORTING), Kind.ORDER_ABORT, "the decision stands"),
    drop(_P.ENDED, _ENDINGS, "it has ended"),
    drop(Phase, (Kind.ORDER_SKIP, Kind.ORDER_COMPENSATE), "only a saga has steps"),
    drop(Phase, Kind.ORDER_MOVE, "only sagas are moved: its branches have been asked already"),
)
