"""Processes that kill themselves where it hurts most, and what is true afterwards.

Each test runs a mixed load into a process that dies by SIGKILL at a crash
point of docs/guarantees.md, lets another take over, and then asks the
checker, which knows only the databases and what clients were told.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.acceptance.company import Company

LOAD = 10
DEATH_S = 6.0
ROUNDS = 5


async def load_until_death(company: Company, point: str) -> None:
    """Publish until the point is reached: some need a race that not every round brings."""
    for n in range(ROUNDS):
        await company.publish(f"{point.replace(':', '-')}-{n}", LOAD)
        if await asyncio.to_thread(company.cluster.await_death, "doomed", seconds=DEATH_S):
            return
    pytest.fail(f"{point} was never reached")


@pytest.mark.parametrize(
    "point", ["C2", "C4:3", "C6", "C9", "C10:3", "C11", "C12", "C15:2", "C16", "C16:2"]
)
async def test_a_coordinator_dies_at(company: Company, point: str) -> None:
    """Another coordinator finishes what it had begun, and nothing is half done."""
    cluster = company.cluster
    await asyncio.to_thread(cluster.start_participants, "services")
    await asyncio.to_thread(cluster.start_coordinator, "doomed", failpoint=point)
    await load_until_death(company, point)
    await asyncio.to_thread(cluster.start_coordinator, "heir")

    await company.expect_all_well()


@pytest.mark.parametrize(
    "point", ["P1", "P2:2", "P3:2", "P4", "P4:3", "P5", "P6", "P7", "P10", "P12", "P12:3"]
)
async def test_a_participant_dies_at(company: Company, point: str) -> None:
    """Started again, it finds out from its marks what it had done."""
    cluster = company.cluster
    await asyncio.to_thread(cluster.start_coordinator, "coordinator")
    await asyncio.to_thread(cluster.start_participants, "doomed", failpoint=point)
    await load_until_death(company, point)
    await asyncio.to_thread(cluster.start_participants, "heir")

    await company.expect_all_well()


async def test_every_process_is_killed_in_turn(company: Company) -> None:
    """At no moment of a load does it matter who dies."""
    cluster = company.cluster
    await asyncio.to_thread(cluster.start_participants, "services-0")
    await asyncio.to_thread(cluster.start_coordinator, "coordinator-0")
    for n in range(1, 4):
        await company.publish(f"turn-{n}", LOAD)
        await asyncio.to_thread(cluster.launch_coordinator, f"coordinator-{n}")
        await asyncio.to_thread(cluster.kill, f"coordinator-{n - 1}")
        await company.publish(f"turn-{n}-more", LOAD)
        await asyncio.to_thread(cluster.kill, f"services-{n - 1}")
        await asyncio.to_thread(cluster.launch_participants, f"services-{n}")
        await asyncio.to_thread(cluster.await_ready)

    await company.expect_all_well()
