"""The kinds of disagreement: what each means, what is safe to do, and whether we can."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    """What disagrees with what."""

    # Something is prepared.
    COMMIT_UNFINISHED = "commit-unfinished"
    ROLLBACK_UNFINISHED = "rollback-unfinished"
    PREPARED_UNKNOWN = "prepared-unknown"
    PREPARED_BEFORE_HORIZON = "prepared-before-horizon"
    PREPARED_OTHER_GENERATION = "prepared-other-generation"
    PREPARED_PARKED = "prepared-parked"
    PREPARED_MISNAMED = "prepared-misnamed"
    PREPARED_ELSEWHERE = "prepared-elsewhere"
    PREPARED_STRANGER = "prepared-stranger"
    # A branch has ended.
    MARKER_MISSING = "marker-missing"
    COMMITTED_AGAINST_ABORT = "committed-against-abort"
    ROLLED_BACK_AGAINST_COMMIT = "rolled-back-against-commit"
    COMMITTED_UNDECIDED = "committed-undecided"
    # A step of a saga.
    STEP_MISSING = "step-missing"
    STEP_CONTRADICTED = "step-contradicted"
    EFFECT_AFTER_ABORT = "effect-after-abort"
    EFFECT_NOT_UNDONE = "effect-not-undone"
    SEAL_MISSING = "seal-missing"
    # A row that nobody should have written.
    ROW_UNKNOWN = "row-unknown"
    ROW_MISPLACED = "row-misplaced"
    # The log, beside itself.
    LOG_GAP = "log-gap"
    LOG_UNREADABLE = "log-unreadable"
    LOG_ROW_MISSING = "log-row-missing"
    LOG_ROW_DIFFERS = "log-row-differs"
    # Nothing moves.
    OVERDUE = "overdue"
    ASLEEP = "asleep"
    SHARD_UNOWNED = "shard-unowned"
    PARKED = "parked"


class Meaning(NamedTuple):
    """What a kind means; what a person should do; and whether --repair may do it."""

    means: str
    todo: str
    repairable: bool = False


_K: Final = Kind
_ASK: Final = (
    "--repair asks the coordinator, which answers from its log; coordinator and"
    " participant must run"
)
_NEVER_BY_HAND: Final = "nothing is safe by itself: find out who did it, then compare the books"

MEANINGS: Final[Mapping[Kind, Meaning]] = {
    _K.COMMIT_UNFINISHED: Meaning(
        "it is decided to commit, and this branch still holds its locks", _ASK, repairable=True
    ),
    _K.ROLLBACK_UNFINISHED: Meaning(
        "it is decided to abort, and this branch still holds its locks", _ASK, repairable=True
    ),
    _K.PREPARED_UNKNOWN: Meaning(
        "the log would know its transaction if it had ever begun: it was never decided",
        _ASK,
        repairable=True,
    ),
    _K.PREPARED_BEFORE_HORIZON: Meaning(
        "it began before all that the log still has: that the log lacks it proves nothing",
        "find its outcome in what the other participants hold, or in a backup of the log;"
        " then end it by hand",
    ),
    _K.PREPARED_OTHER_GENERATION: Meaning(
        "it was named by another generation of the log, which may have decided to commit",
        "look it up in that log or its backup, then end it by hand",
    ),
    _K.PREPARED_PARKED: Meaning(
        "its transaction is parked undecided: nobody will end this branch, and it holds locks",
        "decide on the transaction, then end the branch by hand",
    ),
    _K.PREPARED_MISNAMED: Meaning(
        "its transaction has no branch of this name, so no decision is about it",
        "find out which program prepared it; nothing says whether it may commit",
    ),
    _K.PREPARED_ELSEWHERE: Meaning(
        "this is not the database of the branch's participant, which cannot reach it",
        "was the participant moved to another database? Point it back until nothing is prepared",
    ),
    _K.PREPARED_STRANGER: Meaning(
        "somebody else's: it holds locks and keeps vacuum from its work", "ask its owner"
    ),
    _K.MARKER_MISSING: Meaning(
        "the branch promised to commit, and is neither prepared nor committed: its work is lost",
        "was this database restored to an earlier time, or the branch ended by hand?"
        " Do its work again, or take back the others'",
    ),
    _K.COMMITTED_AGAINST_ABORT: Meaning(
        "the transaction is aborted, and this branch has committed", _NEVER_BY_HAND
    ),
    _K.ROLLED_BACK_AGAINST_COMMIT: Meaning(
        "the transaction is committed, and this branch was rolled back", _NEVER_BY_HAND
    ),
    _K.COMMITTED_UNDECIDED: Meaning(
        "this branch has committed before anything was decided", _NEVER_BY_HAND
    ),
    _K.STEP_MISSING: Meaning(
        "the log says that the step was done, and its participant knows nothing of it",
        "was this database restored to an earlier time, or its barrier purged too soon?"
        " Look whether the effect is there",
    ),
    _K.STEP_CONTRADICTED: Meaning(
        "the log says that the step was done, and its barrier says otherwise",
        "look whether the effect is there; who has written to the barrier?",
    ),
    _K.EFFECT_AFTER_ABORT: Meaning(
        "the saga is aborted, so nothing happened; yet this step stands as done",
        "take the effect back by hand, and find out who did it",
    ),
    _K.EFFECT_NOT_UNDONE: Meaning(
        "the log says that the step has no effect, and its barrier that it stands",
        "take the effect back by hand, and find out who did it",
    ),
    _K.SEAL_MISSING: Meaning(
        "the step is undone by the log, and its participant has no row: a late copy of the"
        " command would be done",
        "was this database restored, or its barrier purged too soon? Look whether the effect"
        " is there",
    ),
    _K.ROW_UNKNOWN: Meaning(
        "something was done for a transaction that the log does not know",
        "was the log restored to an earlier time? Look what the row's effect is",
    ),
    _K.ROW_MISPLACED: Meaning(
        "its transaction asks nothing of this name from this participant",
        "was a participant moved to another database, or another one given its name?",
    ),
    _K.LOG_GAP: Meaning(
        "records of the transaction are missing: what is left proves nothing",
        "restore the log; until then do not trust this transaction's outcome",
    ),
    _K.LOG_UNREADABLE: Meaning(
        "the records cannot be replayed, so no coordinator can go on with it",
        "are the log and this program of the same version?",
    ),
    _K.LOG_ROW_MISSING: Meaning(
        "there are records, and no row that leads to them: no coordinator will find it",
        "restore the log; nobody but us writes there",
    ),
    _K.LOG_ROW_DIFFERS: Meaning(
        "the row does not show what the records say; the records are the truth",
        "who has written to the log? Restore the row by what `twofold show` says",
    ),
    _K.OVERDUE: Meaning(
        "it should have gone on by now", "`twofold show GID` says whom it waits for"
    ),
    _K.ASLEEP: Meaning(
        "it is open, and neither an answer nor a time is awaited: it will never go on",
        "this is a bug of ours: keep the log's records of it",
    ),
    _K.SHARD_UNOWNED: Meaning(
        "transactions are open there, and no coordinator takes care of them",
        "start a coordinator: `twofold serve`",
    ),
    _K.PARKED: Meaning(
        "it waits for a person, and does nothing by itself",
        "`twofold show GID` says why, and what stands",
    ),
}


class Finding(NamedTuple):
    """One disagreement. ``part`` is a branch or a step; ``detail`` is what is so just here."""

    kind: Kind
    gid: str
    participant: str
    part: str
    since_us: int
    detail: str = ""

    @property
    def identity(self) -> tuple[Kind, str, str, str]:
        """What makes it the same one when it is looked for again."""
        return self[:4]

    @property
    def meaning(self) -> Meaning:
        return MEANINGS[self.kind]
