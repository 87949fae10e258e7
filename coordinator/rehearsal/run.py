"""One scenario, from its start to its end, and the judgement of that end."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from coordinator.core import machine
from coordinator.core.events import Published
from coordinator.core.machine import State
from coordinator.core.records import Begun, Entry, Outcome
from coordinator.core.saga_state import SagaState, StepPhase
from coordinator.core.transition import Transition
from coordinator.rehearsal.actors import PREPARED, READ, STANDS, UNDONE, Actors
from coordinator.rehearsal.scenarios import HEALTHY, Scenario, scenarios
from sagas.model import AnyDefinition, Saga
from wire.messages import Compensated, Json

GID: Final = "tf1.rehearsal.1.0.00000000000070008000000000000001"
ANSWERED_US: Final = 20_000
"""How long an answer takes that comes at all."""
MOST_TURNS: Final = 100_000


class Verdict(StrEnum):
    """Whether an end is one that the language promises."""

    WHOLE = "whole"  # all of it happened, or nothing that was not to stand
    WAITS = "waits"  # for a person, visibly
    HALF_DONE = "half done"


@dataclass(frozen=True)
class End:
    """How a scenario ended."""

    scenario: str
    verdict: Verdict
    outcome: str
    stands: tuple[str, ...]
    undone: tuple[str, ...]
    took_us: int
    commands: int
    reason: str


@dataclass
class _Run:
    definition: AnyDefinition
    scenario: Scenario
    actors: Actors
    now_us: int = 0
    ended_us: int = 0
    log: list[Entry] = field(default_factory=list[Entry])
    coming: list[tuple[int, int, Any]] = field(default_factory=list[tuple[int, int, Any]])
    numbers: Iterable[int] = field(default_factory=itertools.count)
    crashed: bool = False

    def play(self, begun: Begun) -> State:
        """Run until nothing is to come, not even what comes after the end, and nothing waits."""
        state = self._take(machine.begin(GID, self.definition, begun, self.now_us))
        for _ in range(MOST_TURNS):
            active = machine.summary(state).active
            wake_us = machine.wake_at_us(state) if active else None
            if self.coming and (wake_us is None or self.coming[0][0] <= wake_us):
                self.now_us, _, event = heapq.heappop(self.coming)
                state = self._take(machine.react(state, event, self.now_us))
                state = self._crash(state, event)
            elif wake_us is not None:
                self.now_us = max(self.now_us, wake_us)
                state = self._take(machine.wake(state, self.now_us))
            else:
                break
            if active:
                self.ended_us = self.now_us
        return state

    def _take(self, move: Transition[Any]) -> State:
        for record in move.records:
            self.log.append(Entry(GID, len(self.log), self.now_us, record))
        for send in move.sends:
            told = send.participant is None
            answer = Published() if told else self.actors.answer(send.message)
            if answer is not None:
                late = not told and self.actors.late
                since_us = max(self.now_us, move.state.deadline_us) if late else self.now_us
                at_us = since_us + ANSWERED_US
                heapq.heappush(self.coming, (at_us, next(iter(self.numbers)), answer))
        state: State = move.state
        return state

    def _crash(self, state: State, event: Any) -> State:
        """Forget all but the log, once, if the scenario has it so."""
        undo = "undo " if isinstance(event, Compensated) else ""
        part = getattr(event, "step", None) or getattr(event, "branch", None)
        if self.crashed or not part or undo + part != self.scenario.crash_after:
            return state
        self.crashed = True
        recovered = machine.recover(GID, self.definition, self.log)
        return self._take(machine.resume(recovered, self.now_us))


def rehearse(
    definition: AnyDefinition, given: dict[str, Json], data: Mapping[str, Json]
) -> list[End]:
    """Run a definition through all its scenarios; ``data`` is what steps and branches return."""
    healthy, wanted = _rehearse(definition, HEALTHY, given, data)
    wrong = scenarios(definition, wanted)
    return [healthy, *(_rehearse(definition, one, given, data)[0] for one in wrong)]


def _rehearse(
    definition: AnyDefinition,
    scenario: Scenario,
    given: dict[str, Json],
    data: Mapping[str, Json],
) -> tuple[End, Sequence[str]]:
    """Return the end, and what was wanted: which steps that is, only a run can tell."""
    actors = Actors(scenario.script, data)
    run = _Run(definition, scenario, actors)
    begun = Begun(
        definition=definition.hash,
        name=definition.name,
        version=definition.version,
        key="rehearsal",
        input=given,
    )
    state = run.play(begun)
    wanted = _wanted(state)
    over = not machine.summary(state).active
    end = End(
        scenario=scenario.name,
        verdict=judge(definition, state.outcome if over else None, wanted, actors.marks),
        outcome=str(state.outcome) if over and state.outcome else "never ends",
        stands=_marked(definition, actors.marks, STANDS),
        undone=_marked(definition, actors.marks, UNDONE),
        took_us=run.ended_us,
        commands=actors.commands,
        reason=state.reason,
    )
    return end, wanted


def _wanted(state: State) -> Sequence[str]:
    """Name the steps that were not skipped, or the branches."""
    if isinstance(state, SagaState):
        skipped = {step.name for step, _ in state.in_phase(StepPhase.SKIPPED)}
        return [name for name in state.definition.steps if name not in skipped]
    return list(state.definition.branches)


def _marked(definition: AnyDefinition, marks: Mapping[str, str], mark: str) -> tuple[str, ...]:
    """Name the steps or branches that are marked so, in the definition's order."""
    names = definition.steps if isinstance(definition, Saga) else definition.branches
    return tuple(name for name in names if marks.get(name) == mark)


def judge(
    definition: AnyDefinition,
    outcome: Outcome | None,
    wanted: Sequence[str],
    marks: Mapping[str, str],
) -> Verdict:
    """Tell whether what participants have is what the outcome says.

    The marks are theirs, not the coordinator's: it may be wrong about them.
    """
    if outcome is Outcome.PARKED:
        return Verdict.WAITS
    stands = set(_marked(definition, marks, STANDS))
    if outcome is Outcome.COMMITTED:
        # A branch that has only read has nothing that could stand.
        right = stands == set(wanted) - set(_marked(definition, marks, READ))
    elif outcome is Outcome.COMPENSATED and isinstance(definition, Saga):
        right = all(definition.steps[name].undo is None for name in stands)
    else:
        right = outcome is Outcome.ABORTED and not stands
    # What is left prepared keeps its locks, and nobody will end it.
    return Verdict.WHOLE if right and PREPARED not in marks.values() else Verdict.HALF_DONE
