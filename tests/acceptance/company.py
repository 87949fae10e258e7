"""A company on one machine: what it published, and what must be true of it."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from compose.demo import check
from compose.demo.acts import Published, settled
from compose.demo.check import Finding
from compose.demo.stage import Client
from compose.local.cluster import Cluster
from compose.local.stack import LocalStack

PATIENCE_S = 60.0
COUNTER_NAME = "visits"


class Company:
    """The processes, a client, and everything that was ever published here."""

    def __init__(self, cluster: Cluster, stack: LocalStack) -> None:
        self.cluster, self.stack = cluster, stack
        self.orders = Published("place-order", "orders.placed", "order_id")
        self.transfers = Published("transfer", "transfers.requested", "transfer_id")
        self.increments = Published("increment", "counter.increments", "id")
        self.client = Client(stack.kafka.bootstrap)

    async def renew_client(self) -> None:
        """Connect anew, as any client does whose Kafka was away; hear again what it missed."""
        heard, lied = self.client.outcomes, self.client.contradictions
        await self.client.__aexit__(None, None, None)
        self.client = Client(self.stack.kafka.bootstrap)
        self.client.outcomes, self.client.contradictions = heard, lied
        await self.client.listen_from_the_beginning()

    async def number(self, database: str, query: str, *given: object) -> int:
        """Read one number in a participant's database; none is 0."""
        connection = await asyncpg.connect(self.stack.postgres.dsn(database))
        try:
            return await connection.fetchval(query, *given) or 0
        finally:
            await connection.close()

    async def publish(self, tag: str, count: int) -> None:
        """Publish some of each kind: good ones, and some that must be refused or undone."""
        await self.orders.publish(self.client, [order(tag, n) for n in range(count)])
        await self.transfers.publish(self.client, [transfer(tag, n) for n in range(count)])
        ones = [{"id": f"{tag}-{n}", "name": COUNTER_NAME, "by": 1} for n in range(count)]
        await self.increments.publish(self.client, ones)

    async def findings(self) -> list[Finding]:
        """Wait until everything has ended, and say what must be true."""
        published = (self.orders, self.transfers, self.increments)
        places = [(p.definition, e[p.key]) for p in published for e in p.events]
        await self.client.hear(places, seconds=PATIENCE_S)
        dsn, client = self.stack.postgres.dsn, self.client
        told = [told for p in published for told in p.told(client)]
        lied = client.contradictions
        return [
            await check.heard(told),
            await settled(dsn),
            *await check.transfers(dsn, self.transfers.told(client)),
            *await check.orders(dsn, self.orders.told(client)),
            *await check.counters(dsn, COUNTER_NAME, self.increments.told(client)),
            Finding("nobody was told two outcomes", not lied, repr(lied[:1])),
        ]

    async def silent(self) -> list[tuple[str, str]]:
        """Name what nothing was heard of."""
        published = (self.orders, self.transfers, self.increments)
        places = [(p.definition, str(e[p.key])) for p in published for e in p.events]
        return [place for place in places if place not in self.client.outcomes]

    async def expect_all_well(self) -> None:
        """Fail with everything that does not hold."""
        broken = [finding for finding in await self.findings() if not finding.holds]
        if broken:
            # What an operator would look at first.
            listed = await asyncio.to_thread(self.cluster.run, "list", "list", "--status", "open")
            silent = await self.silent()
            listed += f"\nnothing heard of {len(silent)}: {silent[:5]}\n"
            for name, key in silent[:2]:
                listed += await asyncio.to_thread(
                    self.cluster.run, "list", "list", "--name", name, "--key", key
                )
            gids = [line.split()[0] for line in listed.splitlines()[1:4] if line.startswith("tf1.")]
            shown = [await asyncio.to_thread(self.cluster.run, "show", "show", g) for g in gids]
            pytest.fail("\n".join([*map(str, broken), listed, *shown]))


def order(tag: str, n: int) -> dict[str, object]:
    """Make an order: of five, one cannot be paid, and one cannot be sent."""
    return {
        "order_id": f"embargoed-{tag}-{n}" if n % 5 == 0 else f"{tag}-{n}",
        "customer": "mallory" if n % 5 == 1 else "alice",
        "sku": "widget",
        "quantity": 1 + n % 3,
        "total": 10 + n,
    }


def transfer(tag: str, n: int) -> dict[str, object]:
    """Make a transfer: of five, one has no money."""
    source = "poor" if n % 5 == 0 else f"acc-{1 + n % 50}"
    return {
        "transfer_id": f"{tag}-{n}",
        "from": source,
        "to": f"acc-{51 + n % 50}",
        "amount": 1 + n,
    }
