"""A failing run made small: whatever it fails without is left out.

First whole faults, then transactions, then single strikes: halves before
quarters, as in Zeller's delta debugging.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from tests.simulation.faults import Fault, Plan
from tests.simulation.world import Product, Result, simulate

MOST_RUNS: Final = 600


def shrink(plan: Plan, product: Product | None = None) -> Result:
    """Return the smallest run found that violates the same invariant."""
    return _Search(plan, product).run()


class _Search:
    def __init__(self, plan: Plan, product: Product | None) -> None:
        self._best, self._product, self._runs = plan, product, 0
        self._result = simulate(plan, product=product)
        violation = self._result.violation
        assert violation is not None, f"seed {plan.seed} violates nothing"
        self._invariant = violation[0]

    def run(self) -> Result:
        struck = tuple(self._result.struck)
        idle = frozenset(set(Fault) - set(struck))
        if self._still_fails(replace(self._best, without=idle)):
            struck = tuple(self._result.struck)
        self._leave_out(
            struck, lambda some: replace(self._best, without=self._best.without | set(some))
        )
        self._leave_out(
            range(8), lambda some: replace(self._best, dropped=self._best.dropped | set(some))
        )
        strikes = [
            (fault, n + 1) for fault, count in self._result.struck.items() for n in range(count)
        ]
        self._leave_out(
            strikes, lambda some: replace(self._best, spared=self._best.spared | set(some))
        )
        return simulate(self._best, product=self._product, telling=True)

    def _leave_out(self, items: Sequence[Any], without: Callable[[Sequence[Any]], Plan]) -> None:
        size = max(1, len(items) // 2)
        while True:
            for start in range(0, len(items), size):
                self._still_fails(without(items[start : start + size]))
            if size == 1:
                return
            size //= 2

    def _still_fails(self, plan: Plan) -> bool:
        """Try a smaller run, and keep it if it fails alike."""
        if plan == self._best or self._runs >= MOST_RUNS:
            return False
        self._runs += 1
        result = simulate(plan, product=self._product)
        if result.violation is None or result.violation[0] != self._invariant:
            return False
        self._best, self._result = plan, result
        return True
