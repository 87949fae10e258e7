"""Steps that wait, for an event or for a person: how a wait begins, and when it is over.

An event may come before its saga waits, or after. So it is put into a letter
box, and that a saga waits into a table, and whoever does the one looks at the
other afterwards: one of both sees both (docs/adr/0017-letters.md).

Nothing here awaits, reads a clock, or logs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from coordinator.core.records import WaitBegan
from coordinator.core.saga_state import Asked, Phase, SagaState, StepPhase, StepState
from coordinator.core.transition import Look, Transition
from sagas.model import Approve, EvaluationFailed, Json, Step, Wait

Move: TypeAlias = Transition[SagaState]

GRACE_US: Final = 10_000_000
"""How long an owner that finds a wait goes on with it at least, whatever its time: what came
while nobody was there is still on its way."""

MAX_KEY: Final = 500


def begin(move: Move, step: Step, state: StepState, values: Mapping[str, Any], now_us: int) -> Move:
    """Begin to wait, or go on; for an event, look into the letter box first.

    Raises:
        EvaluationFailed: nobody can say which event is meant.

    """
    work, waits = step.work, state.waits
    if waits is None:
        waits = WaitBegan(step=step.name)
        if isinstance(work, Wait):
            key = letter_key(work.about, work.key(values))
            waits = WaitBegan(step=step.name, topic=work.topic, key=key)
        move = move.remember(waits, now_us)
    attempt = (state.phase, state.attempt, state.since_us)
    asked = Asked(attempt, now_us, looked=isinstance(work, Approve))
    move = replace(move, state=replace(move.state, asked={**move.state.asked, step.name: asked}))
    if asked.looked:
        return move
    return replace(move, looks=(*move.looks, Look(step.name, waits.topic, waits.key)))


def over_us(step: Step, state: StepState, asked: Asked | None) -> int | None:
    """Tell when a step has waited for long enough, if it ever has."""
    work = step.work
    assert isinstance(work, Wait | Approve), f"{step.name} does not wait"
    if work.timeout_us is None:
        return None
    over = state.since_us + work.timeout_us
    if asked is None or asked.sent_us <= state.waits_since_us:
        return over
    return max(over, asked.sent_us + GRACE_US)


def waits(saga: SagaState) -> frozenset[Look]:
    """Tell for which events it waits."""
    if saga.phase is not Phase.RUNNING:
        return frozenset()
    return frozenset(
        Look(name, state.waits.topic, state.waits.key)
        for name, state in saga.steps.items()
        if state.waits is not None and state.waits.topic and state.phase is StepPhase.RUNNING
    )


def letter_key(about: str, value: Json) -> str:
    """Name what an event is about, and what a saga waits for, equal if they may belong together.

    Raises:
        EvaluationFailed: it is null, which would belong to everything.

    """
    if value is None:
        raise EvaluationFailed(f"`{about}` is null, and null is no key")
    whole = isinstance(value, float) and value.is_integer()
    said = msgspec.json.encode(int(value) if whole else value, order="deterministic").decode()
    if len(said) > MAX_KEY:
        said = hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
    return f"{about} = {said}"
