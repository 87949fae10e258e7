"""A branch of an atomic transaction, participant side.

What the participant's database says, and what the coordinator asks, make a
rule: what to do, and what to answer. Every pair is in RULES.

The marker is a row that says "committed" and is written first thing in the
branch's own transaction. So nobody sees it before it is true; COMMIT PREPARED
publishes it together with the work; and since the row is unique, whoever gets
a "rolled back" marker in knows that nothing is prepared, nor ever will be.
"Not prepared" alone proves nothing: it is so before, during and after.

Nothing here reads a clock, logs, or knows what a database is: `pursue` awaits
only what it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, TypeAlias

from wire.messages import End, Json, Vote


class Asked(StrEnum):
    """What the coordinator asks of a branch."""

    PREPARE = "prepare"
    PREPARE_ALONE = "prepare, in one phase"
    PREPARE_LATE = "prepare, after its deadline"
    COMMIT = "commit"
    ROLLBACK = "rollback"


class Seen(StrEnum):
    """What the participant's database says of a branch."""

    FRESH = "fresh"  # no marker, nothing prepared; perhaps at work
    PREPARED = "prepared"
    COMMITTED = "committed"  # by its marker
    ROLLED_BACK = "rolled back"  # by its marker
    ELSEWHERE = "elsewhere"  # prepared in a database, or by a role, that is not ours


class Do(StrEnum):
    """What the database is to do."""

    WORK = "work"  # begin, write the marker, run the handler
    PREPARE = "prepare"  # what was worked
    COMMIT_WORK = "commit work"
    DISCARD = "discard"  # what was worked
    MARK = "mark rolled back"  # after discarding what was worked, if anything
    COMMIT_PREPARED = "commit prepared"
    ROLL_BACK_PREPARED = "roll back prepared"
    NOTHING = "nothing"


class Came(StrEnum):
    """What came of it."""

    TOOK = "took"  # it is so now
    STALE = "stale"  # the database was not as seen: look again
    DONE = "done"  # the handler worked; nothing is durable yet
    READ_ONLY = "read-only"  # the handler says that it wrote nothing
    REFUSED = "refused"  # by the handler, or by a constraint
    BUSY = "busy"
    FAILED = "failed"


AnyAnswer: TypeAlias = Vote | End


class Rule(NamedTuple):
    """What to do and what to answer, and why. Without an answer: do it, then look again."""

    do: Do
    answer: AnyAnswer | None
    reason: str


class Sight(NamedTuple):
    """What the database says, with what its marker keeps."""

    seen: Seen
    data: Json = None
    reason: str = ""


class Report(NamedTuple):
    """What came of doing something."""

    came: Came
    data: Json = None
    reason: str = ""


class Answer(NamedTuple):
    """What the coordinator is told."""

    answer: AnyAnswer
    data: Json = None
    reason: str = ""


_A, _S, _D = Asked, Seen, Do

RULES: Final[Mapping[tuple[Seen, Asked], Rule]] = {
    # Nothing is known of it.
    (_S.FRESH, _A.PREPARE): Rule(_D.WORK, None, "asked for the first time"),
    (_S.FRESH, _A.PREPARE_ALONE): Rule(_D.WORK, None, "asked for the first time"),
    (_S.FRESH, _A.PREPARE_LATE): Rule(_D.MARK, Vote.ABORT, "too late: its deadline had passed"),
    (_S.FRESH, _A.COMMIT): Rule(
        _D.NOTHING,
        End.HAZARD,
        "neither prepared nor marked as committed: somebody else ended it,"
        " or its database was restored",
    ),
    (_S.FRESH, _A.ROLLBACK): Rule(_D.MARK, End.ROLLED_BACK, "a later Prepare is now refused"),
    # It has voted yes, and waits.
    (_S.PREPARED, _A.PREPARE): Rule(_D.NOTHING, Vote.COMMIT, "prepared already: its yes stands"),
    (_S.PREPARED, _A.PREPARE_ALONE): Rule(
        _D.NOTHING, Vote.COMMIT, "prepared already, so only a decision may commit it"
    ),
    (_S.PREPARED, _A.PREPARE_LATE): Rule(
        _D.NOTHING, Vote.COMMIT, "prepared in time: its yes binds it"
    ),
    (_S.PREPARED, _A.COMMIT): Rule(_D.COMMIT_PREPARED, End.COMMITTED, "as decided"),
    (_S.PREPARED, _A.ROLLBACK): Rule(
        _D.ROLL_BACK_PREPARED, None, "then marked, since a Prepare may still be on its way"
    ),
    # Its marker is visible, so its work is.
    (_S.COMMITTED, _A.PREPARE): Rule(_D.NOTHING, Vote.COMMITTED, "committed already"),
    (_S.COMMITTED, _A.PREPARE_ALONE): Rule(_D.NOTHING, Vote.COMMITTED, "committed already"),
    (_S.COMMITTED, _A.PREPARE_LATE): Rule(_D.NOTHING, Vote.COMMITTED, "committed in time"),
    (_S.COMMITTED, _A.COMMIT): Rule(_D.NOTHING, End.COMMITTED, "committed already: told again"),
    (_S.COMMITTED, _A.ROLLBACK): Rule(
        _D.NOTHING, End.COMMITTED, "it has committed, in one phase or against the decision"
    ),
    # Its marker says that it never will.
    (_S.ROLLED_BACK, _A.PREPARE): Rule(_D.NOTHING, Vote.ABORT, "it was rolled back before"),
    (_S.ROLLED_BACK, _A.PREPARE_ALONE): Rule(_D.NOTHING, Vote.ABORT, "it was rolled back before"),
    (_S.ROLLED_BACK, _A.PREPARE_LATE): Rule(_D.NOTHING, Vote.ABORT, "it was rolled back before"),
    (_S.ROLLED_BACK, _A.COMMIT): Rule(
        _D.NOTHING, End.ROLLED_BACK, "it was rolled back, against the decision"
    ),
    (_S.ROLLED_BACK, _A.ROLLBACK): Rule(_D.NOTHING, End.ROLLED_BACK, "rolled back: told again"),
    # Its name is prepared, but not within our reach.
    (_S.ELSEWHERE, _A.PREPARE): Rule(_D.NOTHING, Vote.ABORT, "its name is taken elsewhere"),
    (_S.ELSEWHERE, _A.PREPARE_ALONE): Rule(_D.NOTHING, Vote.ABORT, "its name is taken elsewhere"),
    (_S.ELSEWHERE, _A.PREPARE_LATE): Rule(_D.NOTHING, Vote.ABORT, "its name is taken elsewhere"),
    (_S.ELSEWHERE, _A.COMMIT): Rule(_D.NOTHING, End.HAZARD, "prepared, but out of our reach"),
    (_S.ELSEWHERE, _A.ROLLBACK): Rule(_D.NOTHING, End.HAZARD, "prepared, but out of our reach"),
}

AFTER_WORK: Final[Mapping[tuple[Asked, Came], Rule]] = {
    (_A.PREPARE, Came.DONE): Rule(_D.PREPARE, Vote.COMMIT, "durable, and can still go either way"),
    (_A.PREPARE, Came.READ_ONLY): Rule(_D.DISCARD, Vote.READ_ONLY, "nothing to decide on"),
    (_A.PREPARE, Came.REFUSED): Rule(_D.MARK, Vote.ABORT, "a no is for good, also when repeated"),
    (_A.PREPARE, Came.FAILED): Rule(_D.MARK, Vote.ABORT, "a fault in one branch aborts them all"),
    (_A.PREPARE, Came.BUSY): Rule(_D.DISCARD, Vote.BUSY, "nothing was done: ask again"),
    (_A.PREPARE_ALONE, Came.DONE): Rule(
        _D.COMMIT_WORK, Vote.COMMITTED, "there is nobody to agree with"
    ),
    (_A.PREPARE_ALONE, Came.READ_ONLY): Rule(_D.DISCARD, Vote.READ_ONLY, "nothing to commit"),
    (_A.PREPARE_ALONE, Came.REFUSED): Rule(
        _D.MARK, Vote.ABORT, "a no is for good, also when repeated"
    ),
    (_A.PREPARE_ALONE, Came.FAILED): Rule(_D.MARK, Vote.ABORT, "a fault aborts it"),
    (_A.PREPARE_ALONE, Came.BUSY): Rule(_D.DISCARD, Vote.BUSY, "nothing was done: ask again"),
}
"""What the handler answered, or the end of its transaction, makes a rule as well."""

ROUNDS: Final = 8
"""How often the database may turn out other than seen before the asker is put off."""


class BranchDatabase(Protocol):
    """What a branch needs of its database. Each deed happens there wholly or not at all."""

    async def look(self) -> Sight:
        """Tell what is so. What is prepared must be read before the marker is."""
        ...

    async def perform(self, do: Do, reason: str, patience: int) -> Report:
        """Do it, or find that it cannot be: STALE. ``patience`` grows with each round."""
        ...


async def pursue(asked: Asked, expected: Seen, database: BranchDatabase) -> Answer | None:
    """Follow the rules until there is an answer.

    It begins with what is most likely so, since the database refuses what is
    not. None is silence: the asker asks again, and so does the resolver.
    """
    rule, told = RULES[expected, asked], Report(Came.TOOK)
    for patience in range(ROUNDS):
        came = await database.perform(rule.do, _reason(asked, rule, told), patience)
        match came.came:
            case Came.TOOK if rule.answer is not None:
                data = told.data if isinstance(rule.answer, Vote) else None
                return Answer(rule.answer, data, _reason(asked, rule, told))
            case Came.TOOK | Came.STALE:
                sight = await database.look()
                rule = RULES[sight.seen, asked]
                told = Report(Came.TOOK, sight.data, sight.reason)
            case _:
                rule, told = AFTER_WORK[asked, came.came], came
    return None if asked in _DECISIONS else Answer(Vote.BUSY, reason="contended")


_DECISIONS: Final = frozenset({Asked.COMMIT, Asked.ROLLBACK})
_AS_WISHED: Final = frozenset(
    {
        (Asked.PREPARE, Vote.COMMIT),
        (Asked.PREPARE, Vote.READ_ONLY),
        (Asked.PREPARE_ALONE, Vote.COMMITTED),
        (Asked.PREPARE_ALONE, Vote.READ_ONLY),
        (Asked.COMMIT, End.COMMITTED),
        (Asked.ROLLBACK, End.ROLLED_BACK),
    }
)


def _reason(asked: Asked, rule: Rule, told: Report) -> str:
    """Give the handler's or the marker's reason, else the rule's; good news needs none."""
    if told.reason or (asked, rule.answer) in _AS_WISHED:
        return told.reason
    return rule.reason if rule.answer is not None else ""
