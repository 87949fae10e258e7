"""What a scenario lets happen beside a transaction, and nobody there could hear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coordinator.rehearsal.script import HappeningPart, ScenarioFile
from sagas.model import AnyDefinition, Approve, Saga, Step, Wait
from sagas.problems import Problem, did_you_mean
from sagas.source import Path, Source

_KINDS: Final[dict[str, tuple[type[Wait | Approve], str]]] = {
    "approve": (Approve, "a person"),
    "refuse": (Approve, "a person"),
    "signal": (Wait, "an event"),
}


def unheard(source: Source, script: ScenarioFile, definition: AnyDefinition) -> Iterator[Problem]:
    """Find what means nothing to the definition: it would change nothing, and the scenario pass."""
    saga = definition if isinstance(definition, Saga) else None
    for title, scenario in script.scenarios.items():
        here: Path = ("scenarios", title)
        if scenario.held and (saga is None or saga.lock is None):
            said = f"`{definition.name}` needs no lock"
            yield source.problem("shape", said, path=(*here, "held"), key=True)
        for i, part in enumerate(scenario.meanwhile):
            path: Path = (*here, "meanwhile", i)
            if part.topic is None:
                yield from _of_a_step(source, part, saga, path)
                continue
            topics = _topics(saga)
            if part.topic not in topics:
                said = f"no step of `{definition.name}` waits for events on `{part.topic}`"
                hint = did_you_mean(part.topic, topics)
                yield source.problem("shape", said, hint, path=(*path, "topic"))


def _topics(saga: Saga | None) -> set[str]:
    steps = saga.steps.values() if saga is not None else ()
    return {step.work.topic for step in steps if isinstance(step.work, Wait)}


def _of_a_step(
    source: Source, part: HappeningPart, saga: Saga | None, path: Path
) -> Iterator[Problem]:
    for word, (kind, what) in _KINDS.items():
        name = getattr(part, word)
        if name is None:
            continue
        steps: dict[str, Step] = dict(saga.steps) if saga is not None else {}
        able = {step.name for step in steps.values() if isinstance(step.work, kind)}
        if name not in able:
            said = f"no step `{name}` waits for {what}"
            yield source.problem("unknown-step", said, did_you_mean(name, able), path=(*path, word))
