"""Sagas that are steps of others. None of them ends with a person: nobody here would come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sagas.model import OnDeadline, OnUnknown, Saga, Scope, Step, SubSaga, Undo

WITHOUT_END = 100_000


def tamed(saga: Saga) -> Saga:
    """Let it go back until it has, whatever happens."""
    steps = {name: _tamed(step) for name, step in saga.steps.items()}
    return replace(saga, steps=steps, on_deadline=OnDeadline.COMPENSATE)


def _tamed(step: Step) -> Step:
    undo = step.undo
    if undo is not None:
        undo = replace(undo, retry=replace(undo.retry, attempts=WITHOUT_END, budget_us=None))
    asks = OnUnknown.RETRY if step.on_unknown is OnUnknown.PARK else step.on_unknown
    return replace(step, undo=undo, on_unknown=asks)


def key_of(key: str, step: str) -> str:
    """Name a part of a transaction as its handlers do."""
    return f"{key}/{step}"


def as_step(step: Step, saga: str) -> Step:
    """Let a step be a saga."""

    def give(scope: Scope) -> Any:
        return {"n": 1, "of": key_of(scope["txn"]["key"], step.name)}

    work = SubSaga(saga)
    undo = step.undo and Undo(
        work=work, data=None, timeout_us=step.undo.timeout_us, retry=step.undo.retry
    )
    return replace(step, work=work, data=give, undo=undo)
