"""What each event does in each phase of a saga.

The acts are in saga.py, compensation.py and orders.py; docs/state-tables.md
shows the same.
"""

from __future__ import annotations

from typing import Final

from coordinator.core import (
    arrivals,
    belonging,
    children,
    compensation,
    locking,
    moving,
    orders,
    unsent,
)
from coordinator.core.events import BY_HAND, FOR_PARKED, ORDERS, TO_WAITERS, Kind
from coordinator.core.saga import (
    deadline_passed,
    outcome_told,
    parking_told,
    step_busy,
    step_done,
    step_failed,
    step_refused,
    step_silent,
)
from coordinator.core.saga_state import Phase
from coordinator.core.transition import drop, on, table

_SAID = ("done", "refused", "busy", "failed", "silent", "unsent")
_STEP = tuple(Kind(f"step {how}") for how in _SAID)
_UNDO = tuple(Kind(f"undo {how}") for how in _SAID)
_LOCK = (Kind.LOCK_GRANTED, Kind.LOCK_DENIED, Kind.LOCK_RELEASED)
_WAIT = (Kind.LETTERS_LOOKED_AT, Kind.WAIT_OVER)
KINDS: Final = (
    *_STEP,
    *_UNDO,
    *_LOCK,
    *_WAIT,
    Kind.CHILD_BEGINS,
    Kind.CHILD_ENDED,
    Kind.REVOKED,
    Kind.DISMISSED,
    Kind.DEADLINE_PASSED,
    Kind.PUBLISHED,
    *ORDERS,
    *TO_WAITERS,
)
_P = Phase

RULES: Final = table(
    Phase,
    KINDS,
    on(_P.RUNNING, Kind.STEP_DONE, step_done, "its result is kept; what needed it may start"),
    on(
        _P.RUNNING,
        Kind.STEP_REFUSED,
        step_refused,
        "a business no: back, or on without it, or past the pivot, park",
    ),
    on(_P.RUNNING, Kind.STEP_BUSY, step_busy, "asked again later; costs no attempt"),
    on(_P.RUNNING, Kind.STEP_FAILED, step_failed, "tried again while attempts are left"),
    on(_P.RUNNING, Kind.STEP_SILENT, step_silent, "unknown: tried again while attempts are left"),
    on(_P.RUNNING, Kind.STEP_UNSENT, unsent.step, "too large: refused, or unknown if asked before"),
    on(_P.RUNNING, Kind.DEADLINE_PASSED, deadline_passed, "back, or past the pivot, park"),
    drop(_P.RUNNING, _UNDO, "nothing is being undone"),
    drop(_P.RUNNING, Kind.PUBLISHED, "there is no outcome yet"),
    on(_P.COMPENSATING, Kind.UNDO_DONE, compensation.undone, "what it was built on may follow"),
    on(_P.COMPENSATING, Kind.UNDO_FAILED, compensation.failed, "tried again, then parked"),
    on(_P.COMPENSATING, Kind.UNDO_BUSY, compensation.failed, "no deadline here: it costs one"),
    on(_P.COMPENSATING, Kind.UNDO_SILENT, compensation.silent, "tried again, then parked"),
    on(_P.COMPENSATING, Kind.UNDO_UNSENT, unsent.undo, "too large: parked"),
    on(_P.COMPENSATING, Kind.UNDO_REFUSED, compensation.refused, "an undo has no no: parked"),
    drop(_P.COMPENSATING, _STEP, "late: its undo is on the way and finds what is there"),
    drop(_P.COMPENSATING, Kind.DEADLINE_PASSED, "going back has no deadline"),
    drop(_P.COMPENSATING, Kind.PUBLISHED, "there is no outcome yet"),
    *(
        on(phase, Kind.CHILD_ENDED, children.ended, "in the same commit as its own end")
        for phase in (_P.RUNNING, _P.COMPENSATING, _P.PARKED)
    ),
    drop(_P.LOCKING, Kind.CHILD_ENDED, "nothing has begun yet"),
    drop((_P.CLOSED, _P.ENDED), Kind.CHILD_ENDED, "the outcome stands"),
    on(_P.RUNNING, Kind.CHILD_BEGINS, children.begins, "in the same commit as its beginning"),
    drop(set(Phase) - {_P.RUNNING}, Kind.CHILD_BEGINS, "it has turned: the child never begins"),
    # What the saga says that it is a part of.
    *(
        on(phase, Kind.REVOKED, belonging.revoked, "back, unless past its pivot")
        for phase in (_P.LOCKING, _P.RUNNING, _P.CLOSED)
    ),
    drop(_P.COMPENSATING, Kind.REVOKED, "it is going back already"),
    drop(_P.PARKED, Kind.REVOKED, "a person decides; it is told again if it is to go on"),
    drop(_P.ENDED, Kind.REVOKED, "its end is told"),
    *(
        on(phase, Kind.DISMISSED, belonging.let_go, "what it does stands for good")
        for phase in Phase
        if phase is not _P.ENDED
    ),
    drop(_P.ENDED, Kind.DISMISSED, "it has ended"),
    on(_P.CLOSED, Kind.PUBLISHED, outcome_told, "everyone knows: the end"),
    on(_P.PARKED, Kind.PUBLISHED, parking_told, "everyone knows that it waits"),
    drop(_P.ENDED, Kind.PUBLISHED, "told already"),
    drop((_P.CLOSED, _P.ENDED), (*_STEP, *_UNDO), "repeated: the outcome stands"),
    drop(_P.PARKED, (*_STEP, *_UNDO), "a person decides; the participant remembers its answer"),
    drop((_P.CLOSED, _P.PARKED, _P.ENDED), Kind.DEADLINE_PASSED, "the outcome stands"),
    # What a step waits for.
    on(_P.RUNNING, Kind.LETTERS_LOOKED_AT, arrivals.looked, "done, if one fits"),
    on(_P.RUNNING, Kind.WAIT_OVER, arrivals.over, "on without it, back, or parked past the pivot"),
    on(_P.RUNNING, Kind.ORDER_SIGNAL, arrivals.signal, "a person's word for the event"),
    on(_P.RUNNING, Kind.ORDER_APPROVE, arrivals.approve, "if its role may"),
    on(_P.RUNNING, Kind.ORDER_REFUSE, arrivals.say_no, "as refused by a participant"),
    drop((_P.COMPENSATING, _P.CLOSED, _P.ENDED), _WAIT, "nothing is waited for"),
    drop(_P.COMPENSATING, TO_WAITERS, "it is going back already"),
    drop((_P.CLOSED, _P.ENDED), TO_WAITERS, "the outcome stands"),
    drop(_P.PARKED, _WAIT, "a person decides; letters stay in their box"),
    drop(_P.PARKED, TO_WAITERS, "it is parked: retry it first, or skip the step"),
    # What locks say.
    on(_P.LOCKING, Kind.LOCK_GRANTED, locking.granted, "on to the next lock, or the first step"),
    on(_P.LOCKING, Kind.LOCK_DENIED, locking.denied, "on without it where allowed; or the end"),
    on(_P.LOCKING, Kind.DEADLINE_PASSED, deadline_passed, "it waited too long; nothing is done"),
    drop(_P.LOCKING, (*_STEP, *_UNDO, *_WAIT), "nothing has been asked yet"),
    drop(_P.LOCKING, TO_WAITERS, "nothing has been asked yet"),
    drop(_P.LOCKING, Kind.PUBLISHED, "there is no outcome yet"),
    drop(_P.LOCKING, Kind.LOCK_RELEASED, "of before the log was restored: it asks anew"),
    drop((_P.RUNNING, _P.COMPENSATING), Kind.LOCK_GRANTED, "repeated: it has it, and needs it"),
    drop(_P.PARKED, Kind.LOCK_GRANTED, "what is parked keeps its locks"),
    drop((_P.RUNNING, _P.COMPENSATING, _P.PARKED), Kind.LOCK_DENIED, "old: it has gone on"),
    drop((_P.RUNNING, _P.COMPENSATING, _P.PARKED), Kind.LOCK_RELEASED, "it has released nothing"),
    on(_P.CLOSED, Kind.LOCK_RELEASED, locking.released, "the end, if everyone knows by now"),
    drop((_P.CLOSED, _P.ENDED), Kind.LOCK_DENIED, "old: the outcome stands"),
    on(_P.CLOSED, Kind.LOCK_GRANTED, locking.give_back, "it needs it no more"),
    on(_P.ENDED, Kind.LOCK_GRANTED, locking.give_back, "it needs it no more"),
    drop(_P.ENDED, Kind.LOCK_RELEASED, "known already"),
    # What a person orders.
    on(_P.LOCKING, Kind.ORDER_ABORT, orders.turn_back, "nothing has happened, and nothing will"),
    drop(_P.LOCKING, (*FOR_PARKED, *BY_HAND), "only for what is parked"),
    on(_P.RUNNING, Kind.ORDER_ABORT, orders.turn_back, "back, unless the pivot forbids it"),
    on(_P.PARKED, Kind.ORDER_RETRY, orders.try_again, "with all attempts, and a new deadline"),
    on(_P.PARKED, Kind.ORDER_SKIP, orders.skip, "a person has seen to that step"),
    on(_P.PARKED, Kind.ORDER_COMPENSATE, orders.turn_back, "back, even past the pivot"),
    on(_P.PARKED, Kind.ORDER_MOVE, moving.move, "if that version fits what has begun"),
    on(_P.PARKED, Kind.ORDER_COMMIT, orders.close, "it ends as a person says"),
    on(_P.PARKED, Kind.ORDER_ROLLBACK, orders.close, "it ends as a person says"),
    drop(_P.PARKED, Kind.ORDER_ABORT, "it may be past its pivot: compensate says so"),
    drop(_P.RUNNING, (*FOR_PARKED, *BY_HAND), "only for what is parked"),
    drop(_P.COMPENSATING, (*FOR_PARKED, *BY_HAND), "only for what is parked"),
    drop(_P.COMPENSATING, Kind.ORDER_ABORT, "it is going back already"),
    drop((_P.CLOSED, _P.ENDED), ORDERS, "the outcome stands"),
)
