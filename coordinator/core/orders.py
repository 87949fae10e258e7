"""What a person orders: each is written down with who said it and why.

A person knows what no machine does: that a card was refunded by hand, that a
participant will never come back. So an order may end what the rules would
leave waiting for ever, and it is the only thing that may. It comes through the
same door as everything else, and what the tables have no rule for is refused,
which is written down as well.

Nothing here awaits, reads a clock, or logs.
"""

from __future__ import annotations

from typing import Any

from coordinator.core import compensation, two_phase
from coordinator.core.records import (
    Closed,
    CompensationBegan,
    Decided,
    Decision,
    Hazard,
    Ordered,
    Outcome,
    StepDone,
    StepUndone,
    Withdrawn,
    said,
)
from coordinator.core.saga import Move, close_if_done
from coordinator.core.saga_state import OVER, Phase, SagaState, StepPhase
from coordinator.core.transition import Transition
from coordinator.core.two_phase import Step
from coordinator.core.two_phase_state import TwoPhase
from wire.messages import Action, End, Order


def obeyed(state: Any, order: Order, now_us: int, refused: str = "") -> Transition[Any]:
    """Write an order down: it is carried out, or it is not, and why not."""
    record = Ordered(
        id=order.id,
        action=order.action,
        actor=order.actor,
        reason=order.reason,
        step=order.step,
        role=order.role,
        to=order.to,
        refused=refused,
    )
    begun: Transition[Any] = Transition(state)
    return begun.remember(record, now_us)


# ── atomic transactions ──────────────────────────────────────────────────────


def go_on(state: Any, order: Order, now_us: int) -> Transition[Any]:
    """Ask again for all that is outstanding."""
    return obeyed(state, order, now_us)


def abort_undecided(txn: TwoPhase, order: Order, now_us: int) -> Step:
    """Nobody has been told to commit: so a person may say no, as a branch may."""
    step: Step = obeyed(txn, order, now_us)
    return two_phase.decide(step, Decision.ABORT, _said(order), now_us)


def withdraw_now(txn: TwoPhase, order: Order, now_us: int) -> Step:
    """The lone branch may have committed: it is asked, as at the deadline."""
    step: Step = obeyed(txn, order, now_us)
    return step.remember(Withdrawn(reason=_said(order)), now_us)


def decide_by_hand(txn: TwoPhase, order: Order, now_us: int) -> Step:
    """Nobody can say how the lone branch ended, but this person does."""
    step: Step = obeyed(txn, order, now_us)
    committed = order.action is Action.COMMIT
    decision = Decision.COMMIT if committed else Decision.ABORT
    return step.remember(Decided(decision=decision, awaited=(), reason=_said(order)), now_us)


def settle_by_hand(txn: TwoPhase, order: Order, now_us: int) -> Step:
    """Take a person's word for the branches that do not answer."""
    end = End.COMMITTED if order.action is Action.COMMIT else End.ROLLED_BACK
    agreed = (txn.outcome is Outcome.COMMITTED) == (end is End.COMMITTED)
    step: Step = obeyed(txn, order, now_us)
    for branch in () if agreed else txn.waiting_for:
        step = step.remember(Hazard(branch=branch, end=end, reason=_said(order)), now_us)
    return two_phase.finish_if_complete(step, now_us)


def resolve(txn: TwoPhase, order: Order, now_us: int) -> Step:
    """What was broken has been mended, or is borne: it ends as this person says."""
    if txn.decided is not None:
        return obeyed(txn, order, now_us)
    if len(txn.definition.branches) > 1:
        return obeyed(txn, order, now_us, "nothing is decided, and not all have said yes: abort it")
    return decide_by_hand(txn, order, now_us)


def abort_parked(txn: TwoPhase, order: Order, now_us: int) -> Step:
    """Abort what was parked before anything was decided."""
    if txn.decided is not None:
        refused = f"it is decided: {txn.decided.decision}"
        return obeyed(txn, order, now_us, refused)
    lone = len(txn.definition.branches) == 1
    return (withdraw_now if lone else abort_undecided)(txn, order, now_us)


# ── sagas ────────────────────────────────────────────────────────────────────


def try_again(saga: SagaState, order: Order, now_us: int) -> Move:
    """Ask again, with all attempts. What was refused is not: that answer is for good.

    But what is a transaction of its own begins as another one.
    """
    assert saga.before is not None, f"{saga.gid} is not parked"
    no = saga.in_phase(StepPhase.REFUSED)
    refused = ", ".join(step.name for step, _ in no if not step.is_apart)
    if refused and saga.before.phase is Phase.RUNNING:
        why = f"{refused} was refused, and would be again: skip, compensate, resolve or move it"
        return obeyed(saga, order, now_us, why)
    return obeyed(saga, order, now_us)


def skip(saga: SagaState, order: Order, now_us: int) -> Move:
    """Go on as if the step were done, or undone: a person has seen to it."""
    assert saga.before is not None, f"{saga.gid} is not parked"
    state = saga.steps.get(order.step)
    going_back = saga.before.phase is Phase.COMPENSATING
    stuck = (
        {StepPhase.STUCK, StepPhase.UNDOING}
        if going_back
        else {StepPhase.EXHAUSTED, StepPhase.REFUSED, StepPhase.RUNNING}
    )
    if state is None or state.phase not in stuck:
        able = ", ".join(step.name for step, _ in saga.in_phase(*stuck)) or "none"
        refused = f"{order.step or 'no step'} is not what it is parked for; {able} can be skipped"
        return obeyed(saga, order, now_us, refused)
    move: Move = obeyed(saga, order, now_us)
    if going_back:
        undone = StepUndone(step=order.step, attempt=state.attempt, undone=False)
        return compensation.close_if_undone(move.remember(undone, now_us), now_us)
    done = StepDone(step=order.step, attempt=state.attempt, data=order.data)
    return close_if_done(move.remember(done, now_us), now_us)


def turn_back(saga: SagaState, order: Order, now_us: int) -> Move:
    """Undo what can be undone, because a person wants it so."""
    phase = saga.before.phase if saga.before else saga.phase
    if phase not in (Phase.LOCKING, Phase.RUNNING):
        return obeyed(saga, order, now_us, "it is going back already")
    if saga.before is None and (pivot := saga.definition.pivot) is not None:
        at = saga.steps[pivot.name].phase
        if saga.pivot_is_asked or at in OVER:
            refused = f"its pivot {pivot.name} is {at}: it goes forward, or is parked"
            return obeyed(saga, order, now_us, refused)
    move: Move = obeyed(saga, order, now_us)
    move = move.remember(CompensationBegan(reason=_said(order)), now_us)
    return compensation.close_if_undone(move, now_us)


def close(saga: SagaState, order: Order, now_us: int) -> Move:
    """End it as a person says it ended, whatever the steps say."""
    committed = order.action is Action.COMMIT
    outcome = Outcome.COMMITTED if committed else Outcome.COMPENSATED
    move: Move = obeyed(saga, order, now_us)
    return move.remember(Closed(outcome=outcome, reason=_said(order)), now_us)


def _said(order: Order) -> str:
    return said(order.actor, order.reason)
