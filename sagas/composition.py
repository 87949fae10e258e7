"""Sagas that are steps of others, seen together: each is there, and none is a part of itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from sagas import graph
from sagas.model import AnyDefinition, Saga, SubSaga
from sagas.problems import Problem, did_you_mean
from sagas.source import Source


def sub_sagas(definition: AnyDefinition) -> Mapping[str, str]:
    """Return the steps that are other sagas, with the names of these."""
    steps = definition.steps.values() if isinstance(definition, Saga) else ()
    return {step.name: step.work.saga for step in steps if isinstance(step.work, SubSaga)}


def misplaced(
    definition: AnyDefinition,
    origin: str,
    together: Collection[AnyDefinition],
    published: Collection[str] = (),
) -> Iterator[Problem]:
    """Find steps that no saga of those given ``together`` does, or only a circle.

    ``published`` are names that need not be among them.
    """
    source = Source(definition.source, origin)
    known = {one.name for one in together if isinstance(one, Saga)}
    parts = {one.name: list(sub_sagas(one).values()) for one in together}
    parts = {name: [part for part in found if part in parts] for name, found in parts.items()}
    for step, part in sub_sagas(definition).items():
        path = ("steps", step, "saga")
        if part not in known and part not in published:
            said = f"step `{step}` is the saga `{part}`, which is in none of the files given"
            meant = did_you_mean(part, known - {definition.name})
            hint = meant or "give its file together with this one"
            yield source.problem("part-unknown", said, hint, path=path)
        elif part in parts and definition.name in {part, *graph.ancestors(parts, part)}:
            said = f"`{part}` is a part of `{definition.name}`, and that is a part of `{part}`"
            hint = "a saga that begins itself would never come to an end"
            yield source.problem("part-cycle", said, hint, path=path)
