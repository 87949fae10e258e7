"""What steps do, from what is written to what the core relies on."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sagas import graph
from sagas.document import ApprovePart, AskPart, NoUndoPart, RetryPart, StepPart, WaitPart
from sagas.expressions import compile_expression
from sagas.matching import equality
from sagas.model import (
    Approve,
    Call,
    Expression,
    Gate,
    OnTimeout,
    OnUnknown,
    Retry,
    Step,
    SubSaga,
    Undo,
    Wait,
)


def wait_of(part: WaitPart, match: Expression, names: Collection[str]) -> Wait | None:
    """Make a wait; None if its `match`, here compiled, has no key."""
    key = equality(part.match, names)
    if key is None:
        return None
    return Wait(
        topic=part.topic,
        about=key.of_event,
        key_of=compile_expression(key.of_event, ("event",)),
        key=compile_expression(key.of_waiter, names),
        match=match,
        timeout_us=part.timeout,
        on_timeout=OnTimeout(part.on_timeout),
    )


def approval_of(part: ApprovePart) -> Approve:
    """Make the wait for a person."""
    return Approve(
        roles=tuple(part.roles),
        timeout_us=part.timeout,
        on_timeout=OnTimeout(part.on_timeout),
    )


def undoes_itself(
    name: str, parts: Mapping[str, StepPart], needs: Mapping[str, list[str]]
) -> Undo | None:
    """Make the undo of a step that is a saga, before the pivot: it goes back as a whole."""
    part = parts[name]
    pivot = next((one for one, other in parts.items() if other.pivot), None)
    after = pivot is not None and name not in graph.ancestors(needs, pivot)
    if part.saga is None or after or isinstance(part.undo, NoUndoPart):
        return None
    retry = retry_of(RetryPart())
    return Undo(work=SubSaga(part.saga), data=None, timeout_us=part.timeout, retry=retry)


def call(text: str) -> Call:
    """Read `participant.command`."""
    participant, _, command = text.partition(".")
    return Call(participant, command)


def asked(ask: str | AskPart) -> AskPart:
    """Read `participant.command`, or more than that."""
    return AskPart(call=ask) if isinstance(ask, str) else ask


def gate(name: str, needs: Mapping[str, list[str]]) -> Step:
    """Make the pivot of a saga that has none, for what can only come after one."""
    return Step(
        name=name,
        needs=tuple(needs[name]),
        condition=None,
        work=Gate(),
        data=lambda _scope: None,
        key=None,
        timeout_us=0,
        retry=retry_of(RetryPart()),
        on_unknown=OnUnknown.RETRY,
        undo=None,
        pivot=True,
    )


def retry_of(part: RetryPart) -> Retry:
    """Read how often, and how far apart."""
    return Retry(
        attempts=part.attempts,
        first_us=part.first,
        factor=part.factor,
        max_us=part.max,
        jitter=part.jitter == "full",
        budget_us=part.budget,
    )
