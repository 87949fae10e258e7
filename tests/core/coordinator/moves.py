"""Parked sagas, and newer versions of them: for the tests of moving."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from coordinator.core.records import Ordered, StepRefused
from coordinator.core.saga_state import Phase
from sagas.model import Busy, Each, Json, Lock, OnUnknown, Saga, Step
from tests.core.coordinator.builders import (
    Story,
    compensated,
    constant,
    executed,
    look_up,
    saga,
    step,
    undo,
)
from wire.messages import Compensate, Execute, LockGranted, Result


def newer(*steps: Step, version: int = 2, **changed: Any) -> Saga:
    """Make a later version of the saga that all tests here begin with."""
    made = replace(saga(*steps), version=version, hash=f"sha256:saga-{version}")
    return replace(made, **changed)


def refusal(story: Story) -> str:
    """Say why the last order was refused."""
    return [record for record in story.records if isinstance(record, Ordered)][-1].refused


def asked(story: Story) -> list[tuple[str, Json]]:
    """Name the steps that the last transition asks for, and what they get."""
    messages = [send.message for send in story.last.sends]
    return [(m.step, m.data) for m in messages if isinstance(m, Execute | Compensate)]


def parked(story: Story) -> Story:
    assert story.saga.phase is Phase.PARKED, story.saga.phase
    story.publish()
    return story


STOCK = step("stock")
PAY = step("pay", "stock", pivot=True)


def mail(path: str = "id", **said: Any) -> Step:
    return step("mail", "pay", back=False, data=look_up("steps", "pay", path), attempts=1, **said)


def mistaken() -> Story:
    """The money is taken, and what the mail needs is written wrong."""
    story = Story.begin(saga(STOCK, PAY, mail("idd")))
    story.hear(executed("stock"))
    story.hear(executed("pay", data={"id": "p-1"}))
    assert StepRefused(
        step="mail", attempt=1, reason="steps.pay.idd has no value", asked=False
    ) in (story.records)
    return parked(story)


def answered(result: Result, attempts: int = 1, **said: Any) -> Story:
    """The money is taken, and the mail was asked for in vain."""
    story = Story.begin(saga(STOCK, PAY, mail(**said)))
    story.hear(executed("stock"))
    story.hear(executed("pay", data={"id": "p-1"}))
    for attempt in range(1, attempts + 1):
        story.hear(executed("mail", result, attempt, reason="no such address"))
    return parked(story)


def silent() -> Story:
    """The money is taken, and nobody knows whether the mail was sent."""
    story = Story.begin(saga(STOCK, PAY, mail()))
    story.hear(executed("stock"))
    story.hear(executed("pay", data={"id": "p-1"}))
    story.sleep()
    return parked(story)


def unknown() -> Story:
    """Nobody knows whether the stock is reserved."""
    lone = step("stock", attempts=1, on_unknown=OnUnknown.PARK)
    story = Story.begin(saga(lone, PAY))
    story.sleep()
    return parked(story)


def stuck(result: Result = Result.FAILED) -> Story:
    """The payment was refused, and the stock cannot be given back."""
    story = Story.begin(saga(step("stock", back=undo("stock", attempts=1)), PAY))
    story.hear(executed("stock"))
    story.hear(executed("pay", Result.REFUSED))
    if result is Result.DONE:
        story.sleep()
    else:
        story.hear(compensated("stock", result))
    return parked(story)


def each(name: str, *needs: str, elements: Json, **said: Any) -> Step:
    return replace(step(name, *needs, **said), each=Each(constant(elements), at_most=2))


def locked(key: Json = "x") -> Lock:
    return Lock(key=constant(key), busy=Busy.WAIT)


def with_lock() -> Story:
    story = Story.begin(replace(saga(STOCK, PAY, mail("idd")), lock=locked()))
    story.hear(LockGranted(gid=story.gid, lock="x"))
    story.hear(executed("stock"))
    story.hear(executed("pay", data={"id": "p-1"}))
    return parked(story)
