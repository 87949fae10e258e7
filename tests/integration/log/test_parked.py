"""An order for all that is parked is for all of it."""

from __future__ import annotations

import pytest

from coordinator.cli import ordering
from coordinator.cli.ordering import Wanted, all_parked
from coordinator.core.transition import Status
from coordinator.log.postgres import PostgresLog
from coordinator.log.store import Batch
from tests.contract.batches import DEFINITION, LEASE_US, gid, row
from tests.integration.log.conftest import Connection
from wire.messages import Action


async def test_more_than_one_answer_holds_are_all_meant(
    log: PostgresLog, hands: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage of a whole day, there may be thousands."""
    monkeypatch.setattr(ordering, "MOST", 2)
    await log.publish(DEFINITION)
    [at] = await log.claim("ann", [0], LEASE_US)
    parked = [row(n, status=Status.PARKED) for n in range(5)]
    await log.persist(Batch([at], [*parked, row(5)], [], []))

    wanted = Wanted(
        Action.RETRY, (), parked=True, name="order", reason="back", actor=None, yes=True
    )

    found = await all_parked([hands, hands], wanted)
    assert [view.gid for view in found] == [gid(n) for n in (4, 3, 2, 1, 0)] * 2
