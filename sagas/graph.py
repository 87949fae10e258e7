"""The order of a saga's steps: who needs whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

Needs = Mapping[str, Sequence[str]]


def order(needs: Needs) -> list[str]:
    """Return the steps so that each comes after those it needs, else in the file's order.

    Raises:
        graphlib.CycleError: some steps need each other; args[1] is the circle.

    """
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    place = {name: i for i, name in enumerate(needs)}
    ready: list[str] = []
    done: list[str] = []
    while sorter.is_active():
        ready.extend(sorter.get_ready())
        ready.sort(key=place.__getitem__)
        done.append(ready.pop(0))
        sorter.done(done[-1])
    return done


def ancestors(needs: Needs, step: str) -> set[str]:
    """Return all steps that are certainly done when this one starts."""
    found: set[str] = set()
    todo = list(needs[step])
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo.extend(needs[one])
    return found


def dependents(needs: Needs) -> dict[str, tuple[str, ...]]:
    """Return for each step those that need it."""
    found: dict[str, list[str]] = {step: [] for step in needs}
    for step, wanted in needs.items():
        for need in set(wanted):
            found[need].append(step)
    return {step: tuple(after) for step, after in found.items()}


def longest_us(needs: Needs, timeouts_us: Mapping[str, int]) -> int:
    """Return how long the longest chain takes if every step uses its whole timeout."""
    ends: dict[str, int] = {}
    for step in order(needs):
        ends[step] = timeouts_us[step] + max((ends[need] for need in needs[step]), default=0)
    return max(ends.values(), default=0)


__all__ = ["CycleError", "ancestors", "dependents", "longest_us", "order"]
