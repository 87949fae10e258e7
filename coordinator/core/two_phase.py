"""Two-phase commit, coordinator side, presumed abort.

The Decided record is the commit point: it is durable before any participant
hears of it. No record after a crash means abort. A lone branch is asked to
commit by itself (one phase), and is then the one that decides.

After Mohan, Lindsay, Obermarck: Transaction Management in the R* Distributed
Database Management System (1986). Nothing here awaits, reads a clock, or logs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from coordinator.core.events import DeadlinePassed, Event, Published, Revoked
from coordinator.core.records import (
    Decided,
    Decision,
    Ended,
    Hazard,
    Outcome,
    Parked,
    Withdrawn,
)
from coordinator.core.transition import (
    OPEN,
    Send,
    Status,
    Summary,
    Transition,
    fraction,
)
from coordinator.core.two_phase_state import Phase, TwoPhase
from sagas.model import EvaluationFailed
from wire.messages import Commit, End, Inquired, Json, Prepare, Rollback, Settled, Vote, Voted
from wire.messages import Outcome as OutcomeMessage

RESEND_FIRST_US: Final = 1_000_000
RESEND_MAX_US: Final = 300_000_000
RESEND_TOLD_US: Final = 30_000_000
_REVOKED: Final = "the saga that it is a part of goes back"


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
    return decide(Transition(txn), Decision.COMMIT, "", now_us)


def count_committed(txn: TwoPhase, event: Voted, now_us: int) -> Step:
    """A log that was lost had decided so: what has committed is as good as a yes, and binds."""
    if not txn.begun.again:
        return Transition(txn, dropped="only a lone branch may; the rollback will find out")
    return count_vote(txn, replace(event, vote=Vote.COMMIT), now_us)


def vote_against(txn: TwoPhase, event: Voted, now_us: int) -> Step:
    """One no is final, so the other branches are told at once."""
    txn = replace(txn, votes={**txn.votes, event.branch: event.vote})
    return decide(
        Transition(txn), Decision.ABORT, f"{event.branch}: {event.reason or 'voted no'}", now_us
    )


def vote_later(txn: TwoPhase, event: Voted, now_us: int) -> Step:
    """Ask again in a while; the deadline for all votes stands."""
    return Transition(ask_again(txn, event.branch, now_us))


def give_up(txn: TwoPhase, _event: DeadlinePassed, now_us: int) -> Step:
    """Silence is an abort vote: nobody has been told to commit."""
    return decide(
        Transition(txn), Decision.ABORT, f"no vote in time from {_names(txn.waiting_for)}", now_us
    )


def withdraw(txn: TwoPhase, _event: DeadlinePassed, now_us: int) -> Step:
    """The lone branch may have committed: its silence decides nothing, so it is asked."""
    reason = f"no answer in time from {_names(txn.waiting_for)}"
    return Transition(txn).remember(Withdrawn(reason=reason), now_us)


def revoke(txn: TwoPhase, _event: Revoked, now_us: int) -> Step:
    """The saga that it is a part of goes back."""
    if txn.begun.again:
        return Transition(txn, dropped="its branches may have committed: they are asked")
    return decide(Transition(txn), Decision.ABORT, _REVOKED, now_us)


def revoke_lone(txn: TwoPhase, _event: Revoked, now_us: int) -> Step:
    """The lone branch may have committed: it is asked, as at the deadline."""
    return Transition(txn).remember(Withdrawn(reason=_REVOKED), now_us)


def decide(step: Step, decision: Decision, reason: str, now_us: int) -> Step:
    """Write the decision, and who must hear of it: whoever may hold something prepared."""
    txn = step.state
    free = {Vote.ABORT, Vote.READ_ONLY, Vote.COMMITTED}
    awaited = tuple(b for b in txn.definition.branches if txn.votes.get(b) not in free)
    output, complaint = None, ""
    if decision is Decision.COMMIT:
        output, complaint = output_of(txn)
    record = Decided(decision=decision, awaited=awaited, reason=reason or complaint, output=output)
    return step.remember(record, now_us)


# ── one phase ────────────────────────────────────────────────────────────────


def learn_commit(txn: TwoPhase, event: Voted | Settled, now_us: int) -> Step:
    """The lone branch has committed by itself: so has the transaction."""
    data = event.data if isinstance(event, Voted) else None
    txn = replace(
        txn,
        votes={event.branch: Vote.COMMITTED},
        results={event.branch: data},
    )
    return decide(Transition(txn), Decision.COMMIT, "", now_us)


def learn_abort(txn: TwoPhase, event: Voted | Settled, now_us: int) -> Step:
    """The lone branch has not committed, and now cannot."""
    txn = replace(txn, votes={event.branch: Vote.ABORT})
    return decide(Transition(txn), Decision.ABORT, event.reason or txn.reason, now_us)


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
    assert txn.decided is not None
    if event.branch not in txn.decided.awaited:
        return Transition(txn, dropped="it holds nothing that could end otherwise")
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
    if txn.waiting_for or not (txn.told or txn.begun.parent):
        return step
    if not txn.hazards:
        return step.remember(Ended(), now_us)
    told = ", ".join(f"{branch} is {end}" for branch, end in sorted(txn.hazards.items()))
    return step.remember(Parked(reason=told, outcome=_heuristic(txn)), now_us)


def _heuristic(txn: TwoPhase) -> Outcome:
    """Name what a broken promise amounts to, as the XA specification does."""
    if End.HAZARD in txn.hazards.values():
        return Outcome.HEURISTIC_HAZARD
    if txn.decided is None or len(txn.hazards) < len(txn.decided.awaited):
        return Outcome.HEURISTIC_MIXED
    committed = txn.outcome is Outcome.COMMITTED
    return Outcome.HEURISTIC_ROLLBACK if committed else Outcome.HEURISTIC_COMMIT


def answer(txn: TwoPhase, event: Inquired, _now_us: int) -> Step:
    """Tell a branch in doubt what was decided, once more."""
    branch = txn.definition.branches[event.branch]
    assert txn.decided is not None
    message = decision_message(txn.gid, event.branch, txn.decided.decision)
    key = _key(txn, event.branch)
    return Transition(txn, sends=(Send(branch.call.participant, message, key),))


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
    """Ask all branches, or none if one of them cannot even be asked.

    One that rests first is refused at once all the same: what it would ask is known.
    """
    try:
        for name in txn.waiting_for if txn.starts_us > now_us else ():
            _question(txn, name)
        return dispatch(Transition(txn), now_us)
    except EvaluationFailed as error:
        aborted = Decided(decision=Decision.ABORT, awaited=(), reason=str(error))
        return dispatch(Transition(txn).remember(aborted, now_us), now_us)


def dispatch(step: Step, now_us: int) -> Step:
    """Add the messages that the state calls for and that are due."""
    if step.state.begun.parent and step.state.phase in (Phase.COMMITTING, Phase.ABORTING):
        step = finish_if_complete(step, now_us)  # nobody else must be told first
    txn = step.state
    sends: list[Send] = []
    asked = dict(txn.asked)
    for name in txn.waiting_for:
        due_us, times = _next_question(txn, name)
        if due_us <= now_us:
            sends.append(_question(txn, name))
            asked[name] = (now_us + resend_pause_us(txn.gid, name, times), times + 1)
    tell_at_us = txn.tell_at_us
    if _telling(txn) and txn.outcome is not None and tell_at_us <= now_us:
        sends.append(_outcome(txn, txn.outcome))
        tell_at_us = now_us + RESEND_TOLD_US
    if not sends:
        return step
    state = replace(txn, asked=asked, tell_at_us=tell_at_us)
    return replace(step, state=state, sends=(*step.sends, *sends))


def _next_question(txn: TwoPhase, branch: str) -> tuple[int, int]:
    """Tell when to ask a branch, and how often it was asked in this phase."""
    undecided = txn.phase in (Phase.PREPARING, Phase.DELEGATED)
    return txn.asked.get(branch, (txn.starts_us if undecided else 0, 0))


def _telling(txn: TwoPhase) -> bool:
    """Whether somebody may not yet know the outcome."""
    if txn.begun.parent and txn.phase is not Phase.PARKED:
        return False  # but that it waits for a person is for everyone
    return txn.outcome is not None and txn.phase is not Phase.ENDED and not txn.told


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
    times = [_next_question(txn, name)[0] for name in txn.waiting_for]
    if txn.votes_in_time:
        times.append(txn.deadline_us)
    if _telling(txn):
        times.append(txn.tell_at_us)
    return min(times, default=None)


def expects_answers(txn: TwoPhase) -> bool:
    """Tell whether a branch was asked, or somebody told, and has not answered yet."""
    return _telling(txn) or bool(txn.asked)


def due(txn: TwoPhase, now_us: int) -> Iterator[Event]:
    """Tell what time has brought."""
    if txn.votes_in_time and txn.deadline_us <= now_us:
        yield DeadlinePassed()


def summary(txn: TwoPhase) -> Summary:
    """Tell what the transaction's row shows."""
    match txn.phase:
        case Phase.ENDED:
            return Summary(Status.ENDED, txn.outcome, active=False)
        case Phase.PARKED:
            return Summary(Status.PARKED, txn.outcome, active=not txn.told)
        case _:
            return OPEN


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


def _key(txn: TwoPhase, name: str) -> str:
    """One key for all that a branch hears, so that it arrives in order."""
    key = txn.definition.branches[name].key
    return txn.gid if key is None else str(key(_asking_scope(txn)))


def _asking_scope(txn: TwoPhase) -> Mapping[str, Any]:
    return {**scope(txn), "branches": {}}


def _question(txn: TwoPhase, name: str) -> Send:
    branch = txn.definition.branches[name]
    where, key = branch.call.participant, _key(txn, name)
    match txn.phase:
        case Phase.PREPARING | Phase.DELEGATED:
            prepare = Prepare(
                gid=txn.gid,
                branch=name,
                command=branch.call.command,
                data=branch.data(scope(txn)),
                one_phase=txn.phase is Phase.DELEGATED,
            )
            return Send(where, prepare, key, txn.deadline_us if txn.votes_in_time else None)
        case Phase.COMMITTING:
            return Send(where, Commit(gid=txn.gid, branch=name), key)
        case _:
            return Send(where, Rollback(gid=txn.gid, branch=name), key)


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


def output_of(txn: TwoPhase) -> tuple[Json, str]:
    """Evaluate the output; the decision does not depend on whether it has a value."""
    if txn.definition.output is None:
        return None, ""
    try:
        return txn.definition.output(scope(txn)), ""
    except EvaluationFailed as error:
        return None, f"output: {error}"


def _names(branches: tuple[str, ...]) -> str:
    return ", ".join(branches)
