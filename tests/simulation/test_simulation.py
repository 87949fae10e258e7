"""Many seeds find nothing; what is planted, few seeds find."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from coordinator.core import machine, two_phase, two_phase_table
from coordinator.core.events import Kind
from coordinator.core.transition import Rule, Transition
from coordinator.core.two_phase_state import Phase
from coordinator.engine import Engine
from coordinator.holdings import Holdings, Live
from coordinator.log.store import Batch
from coordinator.work import Work
from participants import branch, step
from tests.simulation.command import Sum, run_many
from tests.simulation.faults import Fault, Plan
from tests.simulation.log import SimLog
from tests.simulation.shrink import shrink
from tests.simulation.world import Product, simulate
from wire.messages import End, Result

SEEDS = 10_000
FEW = 400
ROOT = Path(__file__).parents[2]

Plant: TypeAlias = Callable[[pytest.MonkeyPatch], Product]


@pytest.mark.timeout(1800)
def test_ten_thousand_seeds_violate_nothing() -> None:
    """Every fault strikes, every kind of outcome comes about, and every invariant holds."""
    total = Sum()
    for total in run_many(range(SEEDS)):
        assert not total.failed, f"python -m tests.simulation 1 --from {min(total.failed)[0]}"

    assert total.seeds == SEEDS
    assert set(total.struck) == set(Fault)
    ends = {"COMMITTED", "ABORTED", "COMPENSATED", "PARKED"}
    assert set(total.outcomes) - {"None"} == ends  # none yet: a part that a parked saga keeps


def test_a_seed_is_always_the_same_run() -> None:
    """Also in another process, where sets of texts have another order."""
    digests = [simulate(Plan(seed)).digest for seed in range(20)]

    program = (
        "from tests.simulation.faults import Plan; from tests.simulation.world import simulate;"
        "print(*[simulate(Plan(seed)).digest for seed in range(20)])"
    )
    for hash_seed in ("1", "2"):
        again = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        assert again.stdout.split() == digests


# ── planted bugs ─────────────────────────────────────────────────────────────


class Unfenced(SimLog):
    """A log that takes everybody's writes."""

    async def persist(self, batch: Batch) -> frozenset[int]:
        now = [p._replace(epoch=self.positions[p.shard].epoch) for p in batch.positions]
        return await super().persist(batch._replace(positions=now))


class Hasty(Engine):
    """An engine that tells first, and then remembers."""

    async def _persist_then_send(self, work: Work) -> None:
        await self._send(work.to_send(self.shards), work.crash_points_amid)
        work.outgoing.clear()
        await super()._persist_then_send(work)


class Deaf(Engine):
    """An engine that does not notice that its batch did not count."""

    async def _persist(self, work: Work) -> frozenset[int]:
        await super()._persist(work)
        return frozenset(work.positions)


def unfenced(_: pytest.MonkeyPatch) -> Product:
    return Product(log=Unfenced)


def hasty(_: pytest.MonkeyPatch) -> Product:
    return Product(engine=Hasty)


def deaf(_: pytest.MonkeyPatch) -> Product:
    return Product(engine=Deaf)


def no_abort_marker(patch: pytest.MonkeyPatch) -> Product:
    """Roll back what was never heard of, and leave no mark."""
    patch.setitem(
        rules(branch.RULES),
        (branch.Seen.FRESH, branch.Asked.ROLLBACK),
        branch.Rule(branch.Do.NOTHING, End.ROLLED_BACK, "planted"),
    )
    return Product()


def blind_timeout(patch: pytest.MonkeyPatch) -> Product:
    """Take the silence of a lone branch, which may have committed, for a no."""
    patch.setitem(
        rules(two_phase_table.RULES),
        (Phase.DELEGATED, Kind.DEADLINE_PASSED),
        Rule(two_phase.give_up, "planted"),
    )
    return Product()


def no_seal(patch: pytest.MonkeyPatch) -> Product:
    """Undo what was never done, and do not remember it."""
    patch.setitem(
        rules(step.RULES),
        (step.Status.FRESH, step.Asked.COMPENSATE),
        step.Rule(step.Do.NOTHING, Result.DONE, "planted"),
    )
    return Product()


def no_barrier(patch: pytest.MonkeyPatch) -> Product:
    """Do again what was done."""
    patch.setitem(
        rules(step.RULES),
        (step.Status.DONE, step.Asked.EXECUTE),
        step.Rule(step.Do.RUN, None, "planted"),
    )
    return Product()


def no_timers(patch: pytest.MonkeyPatch) -> Product:
    """Say everything once, and never again."""
    patch.setattr(machine, "resume", nothing)
    patch.setattr(Holdings, "set_timer", ignored)
    return Product()


def nothing(state: machine.State, now_us: int) -> Transition[Any]:
    """Do nothing, whatever the time."""
    del now_us
    return Transition(state)


def ignored(holdings: Holdings, live: Live) -> None:
    """Wake nobody."""
    del holdings, live


def rules(table: Any) -> dict[Any, Any]:
    """Return a table that can be spoiled."""
    return table


PLANTS: list[Plant] = [
    unfenced,
    hasty,
    deaf,
    no_abort_marker,
    blind_timeout,
    no_seal,
    no_barrier,
    no_timers,
]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the ten thousand seeds above would prove nothing."""
    product = plant(monkeypatch)

    found = next((s for s in range(FEW) if simulate(Plan(s), product=product).violation), None)

    assert found is not None


def test_a_failing_run_is_made_smaller() -> None:
    """What is left is told, and still fails alike."""
    product = Product(engine=Hasty)
    seed = next(s for s in range(FEW) if simulate(Plan(s), product=product).violation)
    before = simulate(Plan(seed), product=product)

    after = shrink(Plan(seed), product)

    assert before.violation is not None
    assert after.violation is not None
    assert after.violation[0] == before.violation[0]
    assert sum(after.struck.values()) <= sum(before.struck.values())
    assert any("VIOLATION" in line for line in after.lines)
