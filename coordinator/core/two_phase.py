"""Two-phase commit, coordinator side, presumed abort.

The Decided record is the commit point: it is durable before any participant
hears of it. No record after a crash means abort. A lone branch is asked to
commit by itself (one phase), and is then the one that decides.

After Mohan, Lindsay, Obermarck: Transaction Management in the R* Distributed
Database Management System (1986). Nothing here awaits, reads a clock, or logs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from coordinator.core.events import DeadlinePassed, Event, Kind, Published
from coordinator.core.records import (
    AnyRecord,
    Begun,
    Decided,
    Decision,
    Ended,
    Hazard,
    Outcome,
    Parked,
    Withdrawn,
)
from coordinator.core.transition import (
    Send,
    Status,
    Summary,
    Transition,
    drop,
    fraction,
    on,
    table,
)
from sagas.model import Atomic, EvaluationFailed
from wire.messages import Commit, End, Inquired, Json, Prepare, Rollback, Settled, Vote, Voted
from wire.messages import Outcome as OutcomeMessage

RESEND_FIRST_US: Final = 1_000_000
RESEND_MAX_US: Final = 300_000_000


class Phase(StrEnum):
    """Where an atomic transaction stands."""

    PREPARING = "preparing"
    DELEGATED = "delegated"  # the lone branch decides, in one phase
    WITHDRAWING = "withdrawing"  # ... and has not answered: it is asked how it ended
    COMMITTING = "committing"
    ABORTING = "aborting"
    PARKED = "parked"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class TwoPhase:
    """An atomic transaction.

    The first group of fields is what the log says. The second is what this
    owner has heard and asked: a new owner starts without it, and asks again.
    """

    gid: str
    definition: Atomic
    begun: Begun
    began_us: int
    phase: Phase
    decided: Decided | None = None
    hazards: Mapping[str, End] = field(default_factory=dict[str, End])
    outcome: Outcome | None = None
    reason: str = ""

    votes: Mapping[str, Vote] = field(default_factory=dict[str, Vote], compare=False)
    results: Mapping[str, Json] = field(default_factory=dict[str, Json], compare=False)
    settled: frozenset[str] = field(default=frozenset(), compare=False)
    asked: Mapping[str, tuple[int, int]] = field(
        default_factory=dict[str, tuple[int, int]], compare=False
    )
    """For each branch: when to ask again, and how often it was asked in this phase."""
    telling: bool = field(default=False, compare=False)
    told: bool = field(default=False, compare=False)

    @classmethod
    def born(cls, gid: str, definition: Atomic, begun: Begun, at_us: int) -> TwoPhase:
        """Return the state that the first record makes."""
        alone = len(definition.branches) == 1
        phase = Phase.DELEGATED if alone else Phase.PREPARING
        return cls(gid, definition, begun, at_us, phase)

    def evolve(self, record: AnyRecord, _at_us: int) -> TwoPhase:
        """Return the state in which the record is true."""
        match record:
            case Withdrawn():
                return replace(self, phase=Phase.WITHDRAWING, reason=record.reason, asked={})
            case Decided():
                committing = record.decision is Decision.COMMIT
                return replace(
                    self,
                    phase=Phase.COMMITTING if committing else Phase.ABORTING,
                    decided=record,
                    outcome=Outcome.COMMITTED if committing else Outcome.ABORTED,
                    reason=record.reason or self.reason,
                    asked={},
                )
            case Hazard():
                return replace(self, hazards={**self.hazards, record.branch: record.end})
            case Parked():
                return replace(
                    self, phase=Phase.PARKED, outcome=record.outcome, reason=record.reason
                )
            case Ended():
                return replace(self, phase=Phase.ENDED)
            case _:
                raise AssertionError(f"{self.gid}: {record!r} is no fact of an atomic transaction")

    @property
    def deadline_us(self) -> int:
        return self.began_us + self.definition.vote_timeout_us

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The branches that must still answer before this phase can end."""
        match self.phase:
            case Phase.PREPARING | Phase.DELEGATED | Phase.WITHDRAWING:
                return tuple(b for b in self.definition.branches if b not in self.votes)
            case Phase.COMMITTING | Phase.ABORTING:
                assert self.decided is not None
                return tuple(b for b in self.decided.awaited if b not in self.settled)
            case Phase.PARKED | Phase.ENDED:
                return ()


Step = Transition[TwoPhase]


# ── votes ────────────────────────────────────────────────────────────────────


def count_vote(txn: TwoPhase, event: Voted, now_us: int) -> Step:
    """Count one vote; decide once all are in."""
    txn = replace(
        txn,
        votes={**txn.votes, event.branch: event.vote},
        results={**txn.results, event.branch: event.data},
    )
    if txn.waiting_for:
        return Transition(txn)
    return decide(txn, Decision.COMMIT, "", now_us)


def vote_against(txn: TwoPhase, event: Voted, now_us: int) -> Step:
    """One no is final, so the other branches are told at once."""
    txn = replace(txn, votes={**txn.votes, event.branch: event.vote})
    return decide(txn, Decision.ABORT, f"{event.branch}: {event.reason or 'voted no'}", now_us)


def vote_later(txn: TwoPhase, event: Voted, now_us: int) -> Step:
    """Ask again in a while; the deadline for all votes stands."""
    return Transition(ask_again(txn, event.branch, now_us))


def give_up(txn: TwoPhase, _event: DeadlinePassed, now_us: int) -> Step:
    """Silence is an abort vote: nobody has been told to commit."""
    return decide(txn, Decision.ABORT, f"no vote in time from {_names(txn.waiting_for)}", now_us)


def withdraw(txn: TwoPhase, _event: DeadlinePassed, now_us: int) -> Step:
    """The lone branch may have committed: its silence decides nothing, so it is asked."""
    reason = f"no answer in time from {_names(txn.waiting_for)}"
    return Transition(txn).remember(Withdrawn(reason=reason), now_us)


def decide(txn: TwoPhase, decision: Decision, reason: str, now_us: int) -> Step:
    """Write the decision, and who must hear of it: whoever may hold something prepared."""
    free = {Vote.ABORT, Vote.READ_ONLY, Vote.COMMITTED}
    awaited = tuple(b for b in txn.definition.branches if txn.votes.get(b) not in free)
    output, complaint = None, ""
    if decision is Decision.COMMIT:
        output, complaint = _output(txn)
    record = Decided(decision=decision, awaited=awaited, reason=reason or complaint, output=output)
    return Transition(txn).remember(record, now_us)


# ── one phase ────────────────────────────────────────────────────────────────


def learn_commit(txn: TwoPhase, event: Voted | Settled, now_us: int) -> Step:
    """The lone branch has committed by itself: so has the transaction."""
    data = event.data if isinstance(event, Voted) else None
    txn = replace(
        txn,
        votes={event.branch: Vote.COMMITTED},
        results={event.branch: data},
    )
    return decide(txn, Decision.COMMIT, "", now_us)


def learn_abort(txn: TwoPhase, event: Voted | Settled, now_us: int) -> Step:
    """The lone branch has not committed, and now cannot."""
    txn = replace(txn, votes={event.branch: Vote.ABORT})
    return decide(txn, Decision.ABORT, event.reason or txn.reason, now_us)


def learn_nothing(txn: TwoPhase, event: Settled, now_us: int) -> Step:
    """The lone branch was ended by somebody else: a person must look."""
    hazard = Hazard(branch=event.branch, end=event.end, reason=event.reason)
    parked = Parked(
        reason=f"{event.branch}: {event.reason or 'nobody can say how it ended'}",
        outcome=Outcome.HEURISTIC_HAZARD,
    )
    return Transition(txn).remember(hazard, now_us).remember(parked, now_us)


# ── the second phase ─────────────────────────────────────────────────────────


def settle(txn: TwoPhase, event: Settled, now_us: int) -> Step:
    """One branch has ended as decided."""
    return finish_if_complete(
        Transition(replace(txn, settled=txn.settled | {event.branch})), now_us
    )


def settle_otherwise(txn: TwoPhase, event: Settled, now_us: int) -> Step:
    """One branch has ended against the decision, or unknown: recorded, never hidden."""
    if event.branch in txn.hazards:
        return Transition(txn, dropped="this hazard is known")
    step = Transition(replace(txn, settled=txn.settled | {event.branch})).remember(
        Hazard(branch=event.branch, end=event.end, reason=event.reason), now_us
    )
    return finish_if_complete(step, now_us)


def outcome_told(txn: TwoPhase, _event: Published, now_us: int) -> Step:
    """The outcome is on its topic."""
    return finish_if_complete(Transition(replace(txn, told=True)), now_us)


def parking_told(txn: TwoPhase, _event: Published, _now_us: int) -> Step:
    """Everyone knows that it is parked: nothing is left to do here."""
    return Transition(replace(txn, told=True))


def finish_if_complete(step: Step, now_us: int) -> Step:
    """End once every branch has ended and the outcome is told."""
    txn = step.state
    if txn.waiting_for or not txn.told:
        return step
    if not txn.hazards:
        return step.remember(Ended(), now_us)
    told = ", ".join(f"{branch} is {end}" for branch, end in sorted(txn.hazards.items()))
    return step.remember(Parked(reason=told, outcome=_heuristic(txn)), now_us)


def _heuristic(txn: TwoPhase) -> Outcome:
    """Name what a broken promise amounts to, as the XA specification does."""
    if End.HAZARD in txn.hazards.values():
        return Outcome.HEURISTIC_HAZARD
    if len(txn.hazards) < len(txn.definition.branches):
        return Outcome.HEURISTIC_MIXED
    committed = txn.outcome is Outcome.COMMITTED
    return Outcome.HEURISTIC_ROLLBACK if committed else Outcome.HEURISTIC_COMMIT


def answer(txn: TwoPhase, event: Inquired, _now_us: int) -> Step:
    """Tell a branch in doubt what was decided, once more."""
    branch = txn.definition.branches[event.branch]
    assert txn.decided is not None
    message = decision_message(txn.gid, event.branch, txn.decided.decision)
    return Transition(txn, sends=(Send(branch.call.participant, message, txn.gid),))


def answer_if_decided(txn: TwoPhase, event: Inquired, now_us: int) -> Step:
    """Tell a branch in doubt what was decided, if anything was."""
    if txn.decided is None:
        return Transition(txn, dropped="parked undecided: a person decides")
    return answer(txn, event, now_us)


def decision_message(gid: str, branch: str, decision: Decision) -> Commit | Rollback:
    """Say the decision to one branch."""
    if decision is Decision.COMMIT:
        return Commit(gid=gid, branch=branch)
    return Rollback(gid=gid, branch=branch)


# ── what must be sent, and when to look again ────────────────────────────────


def begin(txn: TwoPhase, now_us: int) -> Step:
    """Refuse at once what cannot even be asked."""
    try:
        for branch in txn.definition.branches.values():
            branch.data(scope(txn))
    except EvaluationFailed as error:
        aborted = Decided(decision=Decision.ABORT, awaited=(), reason=str(error))
        return Transition(txn).remember(aborted, now_us)
    return Transition(txn)


def dispatch(step: Step, now_us: int) -> Step:
    """Add the messages that the state calls for and that are due."""
    txn = step.state
    sends = list(step.sends)
    asked = dict(txn.asked)
    for name in txn.waiting_for:
        due_us, times = asked.get(name, (0, 0))
        if due_us <= now_us:
            sends.append(_question(txn, name))
            asked[name] = (now_us + resend_pause_us(txn.gid, name, times), times + 1)
    telling = txn.telling
    if txn.outcome is not None and txn.phase is not Phase.ENDED and not telling:
        sends.append(_outcome(txn, txn.outcome))
        telling = True
    return replace(step, state=replace(txn, asked=asked, telling=telling), sends=tuple(sends))


def resend_pause_us(gid: str, branch: str, times: int) -> int:
    """Double the pause each time, up to five minutes, spread by a quarter."""
    pause = min(RESEND_FIRST_US * 2 ** min(times, 20), RESEND_MAX_US)
    return int(pause * (1 + fraction(gid, branch, times) / 4))


def ask_again(txn: TwoPhase, branch: str, now_us: int) -> TwoPhase:
    """Leave a busy branch alone for a while: 100 ms at first, then longer."""
    times = txn.asked.get(branch, (0, 1))[1]
    pause = resend_pause_us(txn.gid, branch, times) // 20
    return replace(txn, asked={**txn.asked, branch: (now_us + pause, times)})


def wake_at_us(txn: TwoPhase) -> int | None:
    """Tell when time alone will next change something."""
    times = [txn.asked.get(name, (0, 0))[0] for name in txn.waiting_for]
    if txn.phase in (Phase.PREPARING, Phase.DELEGATED):
        times.append(txn.deadline_us)
    return min(times, default=None)


def due(txn: TwoPhase, now_us: int) -> Iterator[Event]:
    """Tell what time has brought."""
    if txn.phase in (Phase.PREPARING, Phase.DELEGATED) and txn.deadline_us <= now_us:
        yield DeadlinePassed()


def summary(txn: TwoPhase) -> Summary:
    """Tell what the transaction's row shows."""
    match txn.phase:
        case Phase.ENDED:
            return Summary(Status.ENDED, txn.outcome, active=False)
        case Phase.PARKED:
            return Summary(Status.PARKED, txn.outcome, active=not txn.told)
        case _:
            return Summary(Status.OPEN, None, active=True)


def scope(txn: TwoPhase) -> Mapping[str, Any]:
    """What this transaction's expressions may name."""
    return {
        "input": txn.begun.input,
        "branches": txn.results,
        "txn": {
            "gid": txn.gid,
            "key": txn.begun.key,
            "definition": txn.begun.name,
            "version": txn.begun.version,
        },
    }


def _question(txn: TwoPhase, name: str) -> Send:
    branch = txn.definition.branches[name]
    where = branch.call.participant
    match txn.phase:
        case Phase.PREPARING | Phase.DELEGATED:
            prepare = Prepare(
                gid=txn.gid,
                branch=name,
                command=branch.call.command,
                data=branch.data(scope(txn)),
                one_phase=txn.phase is Phase.DELEGATED,
            )
            return Send(where, prepare, txn.gid, txn.deadline_us)
        case Phase.COMMITTING:
            return Send(where, Commit(gid=txn.gid, branch=name), txn.gid)
        case _:
            return Send(where, Rollback(gid=txn.gid, branch=name), txn.gid)


def _outcome(txn: TwoPhase, outcome: Outcome) -> Send:
    message = OutcomeMessage(
        gid=txn.gid,
        definition=txn.begun.name,
        version=txn.begun.version,
        key=txn.begun.key,
        outcome=outcome,
        output=txn.decided.output if txn.decided else None,
        reason=txn.reason,
    )
    return Send(None, message, txn.begun.key)


def _output(txn: TwoPhase) -> tuple[Json, str]:
    """Evaluate the output; the decision does not depend on whether it has a value."""
    if txn.definition.output is None:
        return None, ""
    try:
        return txn.definition.output(scope(txn)), ""
    except EvaluationFailed as error:
        return None, f"output: {error}"


def _names(branches: tuple[str, ...]) -> str:
    return ", ".join(branches)


# ── the table ────────────────────────────────────────────────────────────────

_VOTES = (Kind.VOTED_COMMIT, Kind.VOTED_ABORT, Kind.VOTED_READ_ONLY, Kind.VOTED_COMMITTED)
_ALL_VOTES = (*_VOTES, Kind.VOTED_BUSY)
_SETTLED = (Kind.SETTLED_COMMITTED, Kind.SETTLED_ROLLED_BACK, Kind.SETTLED_HAZARD)
KINDS: Final = (*_ALL_VOTES, *_SETTLED, Kind.INQUIRED, Kind.DEADLINE_PASSED, Kind.PUBLISHED)
_P = Phase

RULES: Final = table(
    Phase,
    KINDS,
    on(_P.PREPARING, Kind.VOTED_COMMIT, count_vote, "all yes: commit"),
    on(_P.PREPARING, Kind.VOTED_READ_ONLY, count_vote, "a yes that needs no second phase"),
    on(_P.PREPARING, Kind.VOTED_ABORT, vote_against, "one no is final"),
    on(_P.PREPARING, Kind.VOTED_BUSY, vote_later, "no vote yet: asked again until the deadline"),
    drop(_P.PREPARING, Kind.VOTED_COMMITTED, "only a lone branch may; the rollback will find out"),
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
)
