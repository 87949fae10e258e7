"""What comes for steps that wait, as the script has it: an event, a person's word, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from coordinator.core.events import Event, Letter, Looked
from coordinator.core.records import WaitBegan
from coordinator.core.transition import Transition
from coordinator.rehearsal.actors import DONE, Act, Part, Script
from sagas.model import AnyDefinition, Approve, Saga, Scope, Step, Wait
from wire.messages import Action, Json, Order

LOOKED_US: Final = 1_000
MINUTE_US: Final = 60_000_000


class Arrival(NamedTuple):
    """Something that comes after a while."""

    after_us: int
    event: Event


def willing(definition: AnyDefinition) -> AnyDefinition:
    """Let every event fit that is meant for a step: what is made up would match by chance only."""
    if not isinstance(definition, Saga):
        return definition
    steps = {name: _willing(step) for name, step in definition.steps.items()}
    return replace(definition, steps=steps)


def _willing(step: Step) -> Step:
    if not isinstance(step.work, Wait):
        return step
    return replace(step, work=replace(step.work, match=_anything))


def _anything(_scope: Scope) -> Json:
    return True


def arrivals(
    definition: AnyDefinition,
    script: Script,
    data: Mapping[str, Json],
    move: Transition[Any],
    now_us: int,
) -> Iterator[Arrival]:
    """Tell what comes for those that begin to wait, or look again."""
    if not isinstance(definition, Saga):
        return
    for name, topic, key in move.looks:
        answer = script.get((name, Part.DO), (DONE,))[0]
        event = data.get(name) if answer.data is None else answer.data
        letter = Letter(topic, key, 0, 0, now_us, event)
        early = answer.act is Act.EARLY
        yield Arrival(LOOKED_US, Looked(name, (letter,) if early else ()))
        if answer.act is Act.DONE:
            yield Arrival(_a_while_us(definition.steps[name]), Looked(name, (letter,)))
    for record in move.records:
        if isinstance(record, WaitBegan) and not record.topic:
            yield from _word(definition.steps[record.step], script)


def _word(step: Step, script: Script) -> Iterator[Arrival]:
    answer = script.get((step.name, Part.DO), (DONE,))[0]
    if answer.act not in (Act.DONE, Act.REFUSED):
        return
    assert isinstance(step.work, Approve), f"{step.name} waits for no person"
    order = Order(
        gid="",
        id=step.name,
        action=Action.APPROVE if answer.act is Act.DONE else Action.REFUSE,
        actor="somebody",
        reason=answer.reason,
        step=step.name,
        data=answer.data,
        role=next(iter(step.work.roles), ""),
    )
    yield Arrival(_a_while_us(step), order)


def _a_while_us(step: Step) -> int:
    """Come in time, whatever time there is."""
    work = step.work
    assert isinstance(work, Wait | Approve), f"{step.name} does not wait"
    return MINUTE_US if work.timeout_us is None else min(MINUTE_US, work.timeout_us // 2)
