"""An atomic step: the definition of the transaction that does it, and of the one that undoes it.

They are parts of the saga's definition, and are found by its hash and the
name of the step. What their branches get is evaluated in the saga, and is the
input of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from sagas.document import GroupPart, GroupUndoPart, NoUndoPart, RetryPart
from sagas.model import Atomic, Branch, Call, Expression, Group, Json, Scope, Start, Undo
from sagas.private import Private
from sagas.source import Path
from sagas.works import call, retry_of

Template: TypeAlias = Callable[[Any, Path, Collection[str]], Expression]
"""Makes an expression of what is written at a place, which may name these."""


class Whole(NamedTuple):
    """What a part has of the definition that it is a part of."""

    name: str
    version: int
    hash: str
    source: str
    retain_us: int
    private: bool = False
    """Whether anything of it is not to be shown: then nothing is of its parts."""


def as_step(
    whole: Whole, name: str, part: GroupPart, names: Collection[str], template: Template
) -> tuple[Group, Expression, Undo | None]:
    """Return what an atomic step does, what it gets, and its undo: of the branches that have one.

    The undo may name the step's result: it is known wherever there is something to undo.
    """
    calls: dict[str, Call] = {}
    gets: dict[str, Expression] = {}
    backs: dict[str, Call] = {}
    gives: dict[str, Expression] = {}
    for branch, one in part.branches.items():
        path: Path = ("steps", name, "atomic", "branches", branch)
        calls[branch] = call(one.call)
        gets[branch] = template(one.with_, (*path, "with"), names)
        back = GroupUndoPart(call=one.undo) if isinstance(one.undo, str) else one.undo
        if back is None or isinstance(back, NoUndoPart):
            continue
        backs[branch], gives[branch] = call(back.call), gets[branch]
        if back.with_ is not None:
            known = (*names, f"steps.{name}")
            gives[branch] = template(back.with_, (*path, "undo", "with"), known)
    work, limit_us = group(whole, name, calls, part.vote_timeout), part.vote_timeout
    if not backs:
        return work, together(gets), None
    undo = Undo(
        work=group(whole, f"{name}.undo", backs, limit_us),
        data=together(gives),
        timeout_us=limit_us,
        retry=retry_of(RetryPart()),
    )
    return work, together(gets), undo


def group(whole: Whole, part: str, calls: Mapping[str, Call], vote_timeout_us: int) -> Group:
    """Make the transaction of these branches. ``part`` is the step, or `<step>.undo`."""
    branches = {
        name: Branch(name=name, call=call, data=_from_input(name), key=None)
        for name, call in calls.items()
    }
    definition = Atomic(
        name=f"{whole.name}.{part}",
        version=whole.version,
        hash=f"{whole.hash}#{part}",
        source=whole.source,
        start=Start(topic=None, when=None, key=None),
        check_input=lambda _input: None,
        output=lambda scope: dict(scope["branches"]),
        retain_us=whole.retain_us,
        private=Private(_all_of_it, tuple(branches)) if whole.private else None,
        vote_timeout_us=vote_timeout_us,
        branches=branches,
    )
    return Group(definition)


def together(members: Mapping[str, Expression]) -> Expression:
    """Evaluate what each branch gets."""

    def evaluate(scope: Scope) -> Json:
        return {name: member(scope) for name, member in members.items()}

    return evaluate


def _all_of_it(_input: Json) -> Iterator[tuple[str | int, ...]]:
    yield ()


def _from_input(branch: str) -> Expression:
    def give(scope: Scope) -> Any:
        return scope["input"][branch]

    return give
