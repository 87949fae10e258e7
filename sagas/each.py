"""A step for each element of a list: how many, only the running saga knows.

Once it does, the saga goes by a definition in which that step is many, named
`pay.0`, `pay.1` and so on, and one that gathers their results under the name
as written. So nothing else has to know that there is such a word.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from sagas import graph
from sagas.model import Each, Expression, Gate, Json, Saga, Scope, Step

MOST: Final = 1_000
"""How many elements a list may have."""


def spread(saga: Saga, name: str, count: int) -> Saga:
    """Return the definition in which a step is as many as its list has elements."""
    step = saga.steps[name]
    assert step.each is not None, f"{name} is one step"
    each = replace(step.each, elements=_Once(step.each.elements))
    ones = [_one(step, each, index) for index in range(count)]
    names = tuple(one.name for one in ones)
    gathering = replace(
        step,
        needs=(*step.needs, *names),
        condition=None,
        each=None,
        work=Gate(names),
        data=_nothing,
        key=None,
        undo=None,
    )
    steps: dict[str, Step] = {}
    for other in saga.steps.values():
        if other is step:
            steps |= {one.name: one for one in ones}
        steps[other.name] = gathering if other is step else other
    dependents = graph.dependents({one.name: one.needs for one in steps.values()})
    private = saga.private
    if private is not None and name in private.parts:
        private = replace(private, parts=(*private.parts, *names))
    written = saga.as_written or saga
    return replace(saga, steps=steps, dependents=dependents, private=private, as_written=written)


def spread_alike(saga: Saga, other: Saga) -> Saga:
    """Return the definition in which the same steps are as many as they are in another version."""
    for name, gathering in other.steps.items():
        many = saga.steps.get(name)
        if many is not None and many.each is not None and isinstance(gathering.work, Gate):
            saga = spread(saga, name, len(gathering.work.gathers or ()))
    return saga


def _one(step: Step, each: Each, index: int) -> Step:
    """Return the step of one element; at most so many lanes run side by side."""
    name = _name(step.name, index)
    before = (_name(step.name, index - each.at_most),) if index >= each.at_most else ()

    def of_one(expression: Expression) -> Expression:
        return _OfOne(expression, each.elements, step.name, name, index)

    undo = step.undo
    if undo is not None:
        undo = replace(undo, data=of_one(undo.data) if undo.data is not None else None)
    return replace(
        step,
        name=name,
        needs=(*step.needs, *before),
        condition=None,
        each=None,
        data=of_one(step.data),
        key=of_one(step.key) if step.key is not None else None,
        undo=undo,
    )


def _name(step: str, index: int) -> str:
    """No id has a dot, so no other step can have this name."""
    return f"{step}.{index}"


def written(name: str) -> str:
    """Return the name that stands in the file, of a step that may be one of many."""
    step, _, index = name.partition(".")
    return step if index.isdecimal() else name


def _nothing(_scope: Scope) -> Json:
    return None


@dataclass(slots=True)
class _Once:
    """A list that all its elements share: what it names does not change any more."""

    elements: Expression
    value: Json = field(default=None, compare=False)

    def __call__(self, scope: Scope) -> Json:
        if self.value is None:
            self.value = self.elements(scope)
        return self.value


@dataclass(frozen=True, slots=True)
class _OfOne:
    """An expression as one element sees it: the element, and its own step's result."""

    expression: Expression
    elements: Expression
    written: str
    name: str
    index: int

    def __call__(self, scope: Scope) -> Json:
        element = self.elements(scope)[self.index]
        steps = {**scope["steps"], self.written: scope["steps"].get(self.name)}
        seen = {**scope, "steps": steps, "each": element, "each_index": self.index}
        return self.expression(seen)
