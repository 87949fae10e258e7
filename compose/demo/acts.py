"""What happens in the demo, act by act."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from compose.demo import check
from compose.demo.check import Finding, Told
from compose.demo.show import Show
from compose.demo.stage import Client
from compose.local.cluster import Cluster

LOAD: Final = 300
"""Orders, and as many transfers, during the load."""
WRITERS: Final = 10
INCREMENTS: Final = 20
PATIENCE_S: Final = 90.0

Place = tuple[str, str]


class Scene(NamedTuple):
    """What the acts play with."""

    show: Show
    client: Client
    cluster: Cluster
    dsn: Callable[[str], str]


class Published:
    """The events of one kind that were published, and what was heard of them."""

    def __init__(self, definition: str, topic: str, key: str) -> None:
        self.definition, self.topic, self.key = definition, topic, key
        self.events: list[dict[str, Any]] = []

    async def publish(self, client: Client, events: Sequence[dict[str, Any]]) -> list[Place]:
        """Publish events; return what is to be heard of them."""
        self.events.extend(events)
        await client.publish(self.topic, events, key=self.key)
        return [(self.definition, event[self.key]) for event in events]

    def told(self, client: Client) -> list[Told]:
        """Put each event beside the outcome that was heard."""
        heard = client.outcomes
        return [
            Told(event, heard[place].outcome if place in heard else None)
            for event in self.events
            for place in [(self.definition, event[self.key])]
        ]


class Play:
    """The acts, in order. Each returns whether what it showed is as it should be."""

    def __init__(self, scene: Scene) -> None:
        self._show, self._client, self._cluster, self._dsn = scene
        self.orders = Published("place-order", "orders.placed", "order_id")
        self.transfers = Published("transfer", "transfers.requested", "transfer_id")
        self.increments = Published("increment", "counter.increments", "id")
        self.remarkable: dict[str, str] = {}
        self._recovered: Place | None = None
        self.holds = True

    # ── sagas ────────────────────────────────────────────────────────────────

    async def sagas(self) -> None:
        """One order goes through, one finds no stock, one is undone."""
        self._show.act("A saga over three services: stock, payments, shipping")
        await self._one_order("an order that goes through", "COMMITTED", order_id="order-good")
        await self._one_order(
            "an order of something that is not in stock: refused, and nothing has happened",
            "ABORTED",
            order_id="order-nostock",
            sku="unobtainium",
        )
        await self._one_order(
            "an order whose charge is refused: the reservation is undone",
            "COMPENSATED",
            order_id="order-mallory",
            customer="mallory",
        )
        await self._one_order(
            "an order that cannot be sent: the charge and the reservation are undone",
            "COMPENSATED",
            order_id="embargoed-1",
        )

    async def _one_order(self, what: str, expected: str, **changes: Any) -> None:
        event = {**an_order("?", random.Random(0)), **changes}  # noqa: S311  # not for secrets
        places = await self.orders.publish(self._client, [event])
        await self._hear_one(what, expected, places[0])

    # ── two-phase commit ─────────────────────────────────────────────────────

    async def atomics(self) -> None:
        """One transfer commits in both banks, one in neither."""
        self._show.act("An atomic transfer between two banks, by two-phase commit")
        good = a_transfer("transfer-good", "acc-1", "acc-2", 250)
        places = await self.transfers.publish(self._client, [good])
        await self._hear_one("a transfer that both banks can do", "COMMITTED", places[0])
        bad = a_transfer("transfer-bad", "poor", "acc-2", 250)
        places = await self.transfers.publish(self._client, [bad])
        await self._hear_one(
            "a transfer from an empty account: one NO, so neither bank does it",
            "ABORTED",
            places[0],
        )

    async def _hear_one(self, what: str, expected: str, place: Place) -> None:
        await self._client.hear([place], seconds=PATIENCE_S)
        outcome = self._client.outcomes.get(place)
        found = outcome.outcome if outcome else "nothing heard"
        self._verdict(Finding(what, found == expected, found))
        if outcome is None:
            return
        self.remarkable.setdefault(outcome.outcome.lower(), outcome.gid)
        said = await asyncio.to_thread(self._cluster.run, "show", "show", outcome.gid)
        self._show.quote(said.rstrip().splitlines())

    # ── kill -9 under load ───────────────────────────────────────────────────

    async def killing(self) -> None:
        """Kill a coordinator in the middle of a load of both kinds."""
        self._show.act("kill -9 of a coordinator in the middle of a load")
        dice = random.Random(7)  # noqa: S311  # not for secrets
        orders = [an_order(f"load-{n}", dice) for n in range(LOAD)]
        transfers = [
            a_transfer(f"load-{n}", account(dice), account(dice), dice.randint(1, 500))
            for n in range(LOAD)
        ]
        places: list[Place] = []
        with self._show.counting("transactions that ended", 2 * LOAD) as progress:
            killer = asyncio.create_task(self._kill_in_the_middle(places))
            for start in range(0, LOAD, 20):
                places += await self.orders.publish(self._client, orders[start : start + 20])
                places += await self.transfers.publish(self._client, transfers[start : start + 20])
                progress.update(progress.task_ids[0], completed=self._ended(places))
                await asyncio.sleep(0.1)
            began = time.monotonic()
            await self._client.hear(
                places,
                seconds=PATIENCE_S,
                progress=lambda done: progress.update(progress.task_ids[0], completed=done),
            )
            killed = await killer
        self._show.say(f"killed {killed}; all had ended {time.monotonic() - began:.1f} s later")
        await self._cluster_check()

    def _ended(self, places: Sequence[Place]) -> int:
        return sum(place in self._client.outcomes for place in places)

    async def _kill_in_the_middle(self, places: Sequence[Place]) -> str:
        while self._ended(places) < LOAD // 2:  # noqa: ASYNC110  # outcomes ring no bell
            await asyncio.sleep(0.02)
        underway = len(places) - self._ended(places)
        await asyncio.to_thread(self._cluster.kill, "coordinator-1")
        for place in places:
            if place not in self._client.outcomes:
                self._recovered = place
                break
        return f"coordinator-1 with {underway} transactions under way"

    async def _cluster_check(self) -> None:
        told_orders = self.orders.told(self._client)
        told_transfers = self.transfers.told(self._client)
        self._verdict(await check.heard([*told_orders, *told_transfers]))
        # First of all: what is still prepared is on neither side.
        self._verdict(await settled(self._dsn))
        for finding in await check.transfers(self._dsn, told_transfers):
            self._verdict(finding)
        for finding in await check.orders(self._dsn, told_orders):
            self._verdict(finding)
        lied = self._client.contradictions
        self._verdict(Finding("nobody was told two outcomes", not lied, f"{len(lied)}"))
        if self._recovered is not None and self._recovered in self._client.outcomes:
            self.remarkable["recovered"] = self._client.outcomes[self._recovered].gid

    # ── the distributed counter ──────────────────────────────────────────────

    async def counter(self) -> None:
        """Ten writers add to a counter in three databases; a service is killed meanwhile."""
        self._show.act("The distributed counter: ten writers, three databases")
        total = WRITERS * INCREMENTS
        with self._show.counting("increments", total) as progress:
            task = progress.task_ids[0]
            writers = [
                asyncio.create_task(self._write(n, lambda: progress.advance(task)))
                for n in range(WRITERS)
            ]
            await asyncio.sleep(0.5)
            await asyncio.to_thread(self._cluster.kill, "counter")
            self._show.say("killed the counters' process, and started it again")
            await asyncio.to_thread(self._cluster.start_participants, "counter", modules=[COUNTER])
            await asyncio.gather(*writers)
        told = self.increments.told(self._client)
        self._verdict(await check.heard(told))
        self._verdict(await settled(self._dsn))
        for finding in await check.counters(self._dsn, "visits", told):
            self._verdict(finding)

    async def _write(self, writer: int, done: Callable[[], None]) -> None:
        for n in range(INCREMENTS):
            event = {"id": f"writer-{writer}-{n}", "name": "visits", "by": 1}
            places = await self.increments.publish(self._client, [event])
            await self._client.hear(places, seconds=PATIENCE_S)
            done()

    def _verdict(self, finding: Finding) -> None:
        self.holds &= finding.holds
        self._show.verdict(finding.what, holds=finding.holds, found=finding.found)


COUNTER: Final = "participants.examples.counter"
MODULES: Final = ("participants.examples.shop", "participants.examples.bank", COUNTER)
DEFINITIONS: Final = tuple(
    Path(__file__).parents[2] / "sagas" / "examples" / name
    for name in ("place-order.yaml", "transfer.yaml", "increment.yaml")
)


async def settled(dsn: Callable[[str], str]) -> Finding:
    """Wait for the last phase two: an outcome is told before the branches have heard it."""
    deadline = time.monotonic() + PATIENCE_S
    finding = await check.prepared(dsn)
    while not finding.holds and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        finding = await check.prepared(dsn)
    return finding


def an_order(order_id: str, dice: random.Random) -> dict[str, Any]:
    """Make an order; every seventh customer's card is blocked."""
    return {
        "order_id": order_id,
        "customer": "mallory" if dice.random() < 1 / 7 else f"customer-{dice.randint(1, 50)}",
        "sku": "widget",
        "quantity": dice.randint(1, 3),
        "total": dice.randint(10, 500),
    }


def account(dice: random.Random) -> str:
    """Choose an account; one in ten has no money."""
    return "poor" if dice.random() < 1 / 10 else f"acc-{dice.randint(1, 100)}"


def a_transfer(transfer_id: str, source: str, target: str, amount: int) -> dict[str, Any]:
    """Make a transfer."""
    return {"transfer_id": transfer_id, "from": source, "to": target, "amount": amount}
