"""A definition through all its scenarios, and the judgement of how each ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from coordinator.core import machine
from coordinator.core.machine import State
from coordinator.core.records import Outcome
from coordinator.core.saga_state import SagaState, StepPhase
from coordinator.rehearsal.actors import DONE, PREPARED, READ, STANDS, UNDONE, Actors
from coordinator.rehearsal.arrivals import willing
from coordinator.rehearsal.keeper import FOR_GOOD_US
from coordinator.rehearsal.play import Play
from coordinator.rehearsal.scenarios import HEALTHY, Scenario, both, scenarios, without
from sagas.model import AnyDefinition, Approve, Group, Saga, Wait
from wire.messages import Json


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


def rehearse(
    definition: AnyDefinition, given: dict[str, Json], data: Mapping[str, Json]
) -> list[End]:
    """Run a definition through all its scenarios; ``data`` is what steps and branches return."""
    definition = willing(definition)
    healthy, wanted, seen = _rehearse(definition, HEALTHY, given, data)
    wrong = scenarios(seen, wanted)
    ends = [healthy, *(_rehearse(definition, one, given, data)[0] for one in wrong)]
    if isinstance(seen, Saga):
        ends += _alternatives(seen, HEALTHY, (wanted, wanted), given, data)
    return ends


def _alternatives(
    saga: Saga,
    base: Scenario,
    asked: tuple[Sequence[str], Sequence[str]],
    given: dict[str, Json],
    data: Mapping[str, Json],
) -> Iterator[End]:
    """Rehearse what is only wanted where the saga goes on without a step.

    ``asked`` are the steps that ``base`` wants, and which of them may be done without here.
    """
    wanted, fresh = asked
    for name in fresh:
        for lacking in without(saga.steps[name]):
            here = lacking if base is HEALTHY else both(base, lacking)
            _, now, seen = _rehearse(saga, here, given, data)
            assert isinstance(seen, Saga), "an alternative is one of a saga"
            instead = [one for one in now if one not in wanted]
            for one in scenarios(seen, now, instead):
                yield _rehearse(seen, both(here, one), given, data)[0]
            yield from _alternatives(seen, here, (now, instead), given, data)


def _rehearse(
    definition: AnyDefinition,
    scenario: Scenario,
    given: dict[str, Json],
    data: Mapping[str, Json],
) -> tuple[End, Sequence[str], AnyDefinition]:
    """Return the end, and what was wanted: which steps there are, only a run can tell."""
    actors = Actors(scenario.script, {**data, **of_branches(definition, data)})
    held_us = FOR_GOOD_US if scenario.held else 0
    play = Play(definition, actors, scenario.crash, held_us)
    state = play.run(given, "rehearsal")
    wanted = _wanted(state)
    if isinstance(definition, Saga):
        actors.marks.update(group_marks(definition, actors.marks))
    over = not machine.summary(state).active
    # Longer than anyone rehearses, and its deadline is yet to come: that will end it.
    # What turns without time passing would never come to it.
    passed = play.now_us > len(actors.asked) * DONE.after_us
    goes_on = not over and passed and play.now_us < state.deadline_us
    parked = [
        f"{step} is parked: {p.reason}" for step, p in play.parts() if not over and _parked(p)
    ]
    end = End(
        scenario=scenario.name,
        verdict=Verdict.WAITS
        if goes_on or parked
        else judge(state.definition, state.outcome if over else None, wanted, actors.marks),
        outcome="waits" if parked else "goes on" if goes_on else _outcome(state, over=over),
        stands=marked(state.definition, actors.marks, STANDS),
        undone=marked(state.definition, actors.marks, UNDONE),
        took_us=play.ended_us,
        commands=len(actors.asked),
        reason="; ".join(parked) or state.reason,
    )
    return end, wanted, state.definition


def _parked(part: State) -> bool:
    """Tell whether a part waits for a person, and what it is part of waits with it."""
    return part.outcome is Outcome.PARKED


def _outcome(state: State, *, over: bool) -> str:
    return str(state.outcome) if over and state.outcome else "never ends"


def _wanted(state: State) -> Sequence[str]:
    """Name the steps that were asked of somebody, or waited for, or the branches."""
    if isinstance(state, SagaState):
        skipped = {step.name for step, _ in state.in_phase(StepPhase.SKIPPED)}
        steps = [step for step in state.definition.steps.values() if step.name not in skipped]
        return [s.name for s in steps if s.has_effect or isinstance(s.work, Wait | Approve)]
    return list(state.definition.branches)


def marked(definition: AnyDefinition, marks: Mapping[str, str], mark: str) -> tuple[str, ...]:
    """Name the steps or branches that are marked so, in the definition's order."""
    names = definition.steps if isinstance(definition, Saga) else definition.branches
    return tuple(name for name in names if marks.get(name) == mark)


def of_branches(definition: AnyDefinition, data: Mapping[str, Any]) -> Mapping[str, Json]:
    """Tell what the branches of atomic steps return, as that is what such a step returns."""
    steps = definition.steps.values() if isinstance(definition, Saga) else ()
    return {
        f"{step.name}.{branch}": result
        for step in steps
        if isinstance(step.work, Group) and isinstance(data.get(step.name), dict)
        for branch, result in data[step.name].items()
    }


def group_marks(saga: Saga, marks: Mapping[str, str]) -> Mapping[str, str]:
    """Tell what stands of each atomic step, from what stands of its branches.

    What was done by some of them alone is marked as prepared: it is half done.
    """
    found: dict[str, str] = {}
    for step in saga.steps.values():
        if not isinstance(step.work, Group):
            continue
        done = {marks.get(f"{step.name}.{branch}") for branch in step.work.definition.branches}
        back = {name: mark for name, mark in marks.items() if name.startswith(f"{step.name}.undo.")}
        if STANDS in back.values():
            found[step.name] = UNDONE
        elif STANDS in done:
            found[step.name] = STANDS if done <= {STANDS, READ} else PREPARED
        elif done == {READ}:
            found[step.name] = READ
    return found


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
    stands = set(marked(definition, marks, STANDS))
    asked = set(wanted)
    if isinstance(definition, Saga):
        asked = {name for name in asked if definition.steps[name].has_effect}
    if outcome is Outcome.COMMITTED:
        # A branch that has only read has nothing that could stand.
        right = stands == asked - set(marked(definition, marks, READ))
    elif outcome is Outcome.COMPENSATED and isinstance(definition, Saga):
        right = all(definition.steps[name].undo is None for name in stands)
    else:
        right = outcome is Outcome.ABORTED and not stands
    # What is left prepared keeps its locks, and nobody will end it.
    return Verdict.WHOLE if right and PREPARED not in marks.values() else Verdict.HALF_DONE
