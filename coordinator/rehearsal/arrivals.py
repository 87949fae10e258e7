"""What comes for steps that wait: an event, a person's word, or nothing.

Either as the script has it for each step, or by the clock, as a scenario says
what happens meanwhile. What comes by the clock must fit, as it must for real.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, TypeAlias

from coordinator.core import machine
from coordinator.core.events import Event, Letter, Looked
from coordinator.core.machine import State
from coordinator.core.records import WaitBegan
from coordinator.core.transition import Transition
from coordinator.core.waiting import letter_key
from coordinator.rehearsal.actors import DONE, Act, Answer, Part, Script
from sagas.model import AnyDefinition, Approve, EvaluationFailed, Saga, Scope, Step, Wait
from wire.messages import Action, Json, Order

LOOKED_US: Final = 1_000
MINUTE_US: Final = 60_000_000


class Arrival(NamedTuple):
    """Something that comes after a while."""

    after_us: int
    event: Event


class News(NamedTuple):
    """An event on a topic."""

    topic: str
    body: Json


Happening: TypeAlias = News | Order
"""What happens beside a transaction."""


def willing(definition: AnyDefinition, steps: Collection[str] | None = None) -> AnyDefinition:
    """Let every event fit that is meant for these steps, or for any.

    What is made up for them would match by chance only.
    """
    if not isinstance(definition, Saga):
        return definition
    made = {
        name: _willing(step) if steps is None or name in steps else step
        for name, step in definition.steps.items()
    }
    return replace(definition, steps=made)


def _willing(step: Step) -> Step:
    if not isinstance(step.work, Wait):
        return step
    return replace(step, work=replace(step.work, match=_anything))


def _anything(_scope: Scope) -> Json:
    return True


@dataclass
class Arrivals:
    """All that comes for the waiting steps of one run."""

    definition: AnyDefinition
    script: Script
    data: Mapping[str, Json]
    """What each step returns, so also the event that one waits for."""
    meanwhile: Sequence[tuple[int, Happening]] = ()
    """What happens by the clock, and when. If anything does, nothing else comes by itself,
    except for the steps that the script names."""
    _box: list[Letter] = field(default_factory=list[Letter])

    def seen(self, move: Transition[Any], now_us: int) -> Iterator[Arrival]:
        """Tell what is found by those that look, and what comes later."""
        for name, topic, key in move.looks if isinstance(self.definition, Saga) else ():
            yield from self._found(name, topic, key, now_us)

    def words(self, move: Transition[Any]) -> Iterator[Arrival]:
        """Tell what persons say where one begins to wait for them: they read it in the log."""
        if not isinstance(self.definition, Saga):
            return
        for record in move.records:
            if isinstance(record, WaitBegan) and not record.topic and self._by_itself(record.step):
                yield from _word(self.definition.steps[record.step], self.script)

    def happens(self, what: Happening, state: State, now_us: int) -> list[Event]:
        """Put an event into the box, and tell who waits for it; or pass on a person's word."""
        if isinstance(what, Order):
            return [what]
        assert isinstance(self.definition, Saga), "only sagas wait"
        places: set[tuple[str, str]] = set()
        for step in self.definition.steps.values():
            if not isinstance(step.work, Wait) or step.work.topic != what.topic:
                continue
            try:
                key = letter_key(step.work.about, step.work.key_of({"event": what.body}))
            except EvaluationFailed:
                continue  # it has nothing of what this one is found by
            places.add((what.topic, key))
        letters = [Letter(*place, 0, len(self._box), now_us, what.body) for place in places]
        self._box += letters
        waits = machine.waits(state)
        return [
            Looked(w.step, self._at(w.topic, w.key)) for w in waits if (w.topic, w.key) in places
        ]

    def _found(self, name: str, topic: str, key: str, now_us: int) -> Iterator[Arrival]:
        """Tell what lies in the box already, and what comes later."""
        if not self._by_itself(name):
            yield Arrival(LOOKED_US, Looked(name, self._at(topic, key)))
            return
        assert isinstance(self.definition, Saga), "only sagas wait"
        answer = self.script.get((name, Part.DO), (DONE,))[0]
        event = self.data.get(name) if answer.data is None else answer.data
        letter = Letter(topic, key, 0, 0, now_us, event)
        early = answer.act is Act.EARLY
        yield Arrival(LOOKED_US, Looked(name, (letter,) if early else ()))
        if answer.act is Act.DONE:
            after_us = _a_while_us(self.definition.steps[name], answer)
            yield Arrival(after_us, Looked(name, (letter,)))

    def _at(self, topic: str, key: str) -> tuple[Letter, ...]:
        return tuple(one for one in self._box if (one.topic, one.key) == (topic, key))

    def _by_itself(self, step: str) -> bool:
        return not self.meanwhile or (step, Part.DO) in self.script


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
    yield Arrival(_a_while_us(step, answer), order)


def _a_while_us(step: Step, answer: Answer) -> int:
    """Come when the script says so, or else in time, whatever time there is."""
    if answer.after_us != DONE.after_us:
        return answer.after_us
    work = step.work
    assert isinstance(work, Wait | Approve), f"{step.name} does not wait"
    return MINUTE_US if work.timeout_us is None else min(MINUTE_US, work.timeout_us // 2)
