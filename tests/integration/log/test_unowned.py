"""Shards that nobody has, as an audit sees them that takes its time."""

from __future__ import annotations

import asyncio

from audit.reading import UNOWNED
from coordinator.log.postgres import PostgresLog
from tests.contract.batches import beginning
from tests.integration.log.conftest import Connection

SHORT_US = 300_000


async def test_a_lease_does_not_expire_while_it_is_looked_at(
    log: PostgresLog, hands: Connection
) -> None:
    """What is renewed meanwhile is not in the snapshot, and so nor is what has expired since."""
    [at] = await log.claim("ann", [0], SHORT_US)
    await log.persist(beginning(1, at=at))

    async with hands.transaction(isolation="repeatable_read", readonly=True):
        assert await hands.fetch(UNOWNED) == []
        await asyncio.sleep(SHORT_US / 500_000)
        assert await hands.fetch(UNOWNED) == []
    [[shard, open_, owner, _]] = await hands.fetch(UNOWNED)

    assert (shard, open_, owner) == (0, 1, "ann")
