"""Sagas that would disturb each other, and what a lock spares them, on real servers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from tests.acceptance.company import Company
from tests.acceptance.register import FIRST
from tests.acceptance.test_promises import rows
from tests.acceptance.test_waiting import until
from wire.kafka import create_topics

MODULE: Final = "tests.acceptance.register"
DEFINITION: Final = """\
saga: {name}
version: 1
start: {{topic: acceptance.{name}, key: event.id}}
{lock}
steps:
  read:
    call: register.read
    with: {{name: "${{ input.name }}"}}
    undo: {{none: it changes nothing}}
  think:
    if: input.slowly
    approve: {{roles: [clerk]}}
  write:
    call: register.write
    with: {{name: "${{ input.name }}", value: "${{ steps.read.value + input.by }}"}}
    undo: register.restore
  look:
    if: input.slowly
    approve: {{roles: [clerk]}}
  settle:
    call: register.settle
    with: {{by: "${{ input.by }}"}}
    undo: {{none: it changes nothing}}
"""
LOCKED, BARE = "deposit-locked", "deposit"
OF: Final = "JOIN twofold.transaction USING (gid) WHERE start_key = "


class Bank:
    """Deposits, under a lock and not, that a clerk holds up where a test wants it."""

    def __init__(self, company: Company) -> None:
        self._company = company

    async def deposit(self, name: str, *deposits: dict[str, Any]) -> None:
        """Start some, in this order."""
        await self._company.client.publish(f"acceptance.{name}", list(deposits), key="id")

    async def stands(self, key: str, step: int) -> None:
        """Wait until a deposit waits for the clerk, for the first or the second time."""
        waits = f"SELECT FROM twofold.decision_log {OF} '{key}' AND kind = 'wait-began'"
        await until(self._company, waits, step)

    async def waits(self, key: str) -> None:
        """Wait until a deposit stands in the queue of its lock."""
        await until(self._company, f"SELECT FROM twofold.claim {OF} '{key}'", 1)

    async def gid(self, key: str) -> str:
        """Return a deposit's name."""
        query = "SELECT gid FROM twofold.transaction WHERE start_key = $1"
        [[gid]] = await rows(self._company, query, key)
        return gid

    async def clerk(self, key: str, step: str, *, refuses: bool = False) -> None:
        """Let a deposit go on, or back."""
        said = ["--role", "clerk", "--reason", "a test", *(["--refuse"] if refuses else [])]
        await self.run("approve", await self.gid(key), step, *said)

    async def run(self, *argv: str) -> str:
        """Run a command of `twofold`."""
        return await asyncio.to_thread(self._company.cluster.run, argv[0], *argv)

    async def ended(self, name: str, *keys: str) -> list[str]:
        """Wait for the outcomes."""
        places = [(name, key) for key in keys]
        assert await self._company.client.hear(places, seconds=60) == []
        return [self._company.client.outcomes[place].outcome for place in places]

    async def locks(self) -> list[tuple[str, str, str, str]]:
        """Return what `twofold locks` shows, with keys instead of names."""
        found = json.loads(await self.run("locks", "-o", "json"))
        assert all(line["since"] for line in found)
        return [
            (one["lock"], one["key"], "holds" if one["holds"] else "waits", one["status"])
            for one in found
        ]

    async def value(self, name: str) -> int:
        """Read what is in the register."""
        connection: Any = await asyncpg.connect(self._company.stack.postgres.dsn("register"))
        try:
            query = "SELECT value FROM register WHERE name = $1"
            found: int | None = await connection.fetchval(query, name)
        finally:
            await connection.close()
        return FIRST if found is None else found

    async def nothing_is_held(self) -> None:
        """Insist that no lock is left: what has ended has given back its own."""
        async with asyncio.timeout(30):
            while await rows(self._company, "SELECT FROM twofold.claim"):
                await asyncio.sleep(0.1)


@pytest.fixture
async def bank(company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """A register with a database of its own, and two definitions that differ by a lock."""
    cluster = company.cluster
    files: list[Path] = []
    for name, lock in ((BARE, ""), (LOCKED, 'lock: {key: "account:${ input.name }"}')):
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(DEFINITION.format(name=name, lock=lock))
    monkeypatch.setattr(cluster, "definitions", [*cluster.definitions, *files])
    company.stack.postgres.create_database("register")
    await asyncio.to_thread(cluster.run, "register", "participants", "migrate", MODULE)
    shown = [f"--definitions={file}" for file in files]
    await asyncio.to_thread(cluster.run, "topics", "topics", *shown)
    topics = {f"acceptance.{name}": 1 for name in (BARE, LOCKED)}
    await create_topics(company.stack.kafka.bootstrap, topics, replication=1, config={})
    await asyncio.to_thread(cluster.launch_participants, "register", modules=[MODULE])
    await asyncio.to_thread(cluster.launch_coordinator, "coordinator-0")
    await asyncio.to_thread(cluster.await_ready)
    return Bank(company)


def slow(key: str, name: str, by: int) -> dict[str, Any]:
    """Make a deposit that waits for the clerk, twice."""
    return {"id": key, "name": name, "by": by, "slowly": True}


async def test_a_lost_update(bank: Bank) -> None:
    """Two read the same value, and one write is lost. Under a lock, the second reads later."""
    first, second = slow("lost-1", "lost", 11), slow("lost-2", "lost", 21)
    await bank.deposit(BARE, first, second)
    for key in ("lost-1", "lost-2"):
        await bank.stands(key, 1)
    for key in ("lost-1", "lost-2"):
        await bank.clerk(key, "think")
        await bank.stands(key, 2)
        await bank.clerk(key, "look")
    assert await bank.ended(BARE, "lost-1", "lost-2") == ["COMMITTED", "COMMITTED"]
    assert await bank.value("lost") == FIRST + 21

    first, second = slow("kept-1", "kept", 11), slow("kept-2", "kept", 21)
    await bank.deposit(LOCKED, first)
    await bank.stands("kept-1", 1)
    await bank.deposit(LOCKED, second)
    await bank.waits("kept-2")
    for key in ("kept-1", "kept-2"):
        await bank.stands(key, 1)
        await bank.clerk(key, "think")
        await bank.stands(key, 2)
        await bank.clerk(key, "look")
    assert await bank.ended(LOCKED, "kept-1", "kept-2") == ["COMMITTED", "COMMITTED"]
    assert await bank.value("kept") == FIRST + 32
    await bank.nothing_is_held()


async def test_a_dirty_read(bank: Bank) -> None:
    """One builds on what another takes back. Under a lock, it reads what stands."""
    first, second = slow("dirty-1", "dirty", 11), slow("dirty-2", "dirty", 21)
    await bank.deposit(BARE, first)
    await bank.stands("dirty-1", 1)
    await bank.clerk("dirty-1", "think")
    await bank.stands("dirty-1", 2)
    await bank.deposit(BARE, second)
    await bank.stands("dirty-2", 1)
    await bank.clerk("dirty-1", "look", refuses=True)
    assert await bank.ended(BARE, "dirty-1") == ["COMPENSATED"]
    await bank.clerk("dirty-2", "think")
    await bank.stands("dirty-2", 2)
    await bank.clerk("dirty-2", "look")
    assert await bank.ended(BARE, "dirty-2") == ["COMMITTED"]
    assert await bank.value("dirty") == FIRST + 11 + 21  # though nobody has paid in 11

    first, second = slow("clean-1", "clean", 11), slow("clean-2", "clean", 21)
    await bank.deposit(LOCKED, first)
    await bank.stands("clean-1", 1)
    await bank.clerk("clean-1", "think")
    await bank.stands("clean-1", 2)
    await bank.deposit(LOCKED, second)
    await bank.waits("clean-2")
    await bank.clerk("clean-1", "look", refuses=True)
    await bank.stands("clean-2", 1)
    assert await bank.ended(LOCKED, "clean-1") == ["COMPENSATED"]
    await bank.clerk("clean-2", "think")
    await bank.stands("clean-2", 2)
    await bank.clerk("clean-2", "look")
    assert await bank.ended(LOCKED, "clean-2") == ["COMMITTED"]
    assert await bank.value("clean") == FIRST + 21
    await bank.nothing_is_held()


async def test_a_lock_survives_its_owner_and_a_parked_holder_keeps_it(
    bank: Bank, company: Company
) -> None:
    """Who waits goes on waiting, under whatever coordinator, until a person has seen to it."""
    await bank.deposit(LOCKED, slow("held-1", "cursed", 11))
    await bank.stands("held-1", 1)
    await bank.deposit(LOCKED, slow("held-2", "cursed", 21))
    await bank.waits("held-2")
    await asyncio.to_thread(company.cluster.kill, "coordinator-0")
    await asyncio.to_thread(company.cluster.launch_coordinator, "heir")
    await bank.clerk("held-1", "think")
    await bank.stands("held-1", 2)
    lock = "account:cursed"
    waits = (lock, "held-2", "waits", "open")
    assert await bank.locks() == [(lock, "held-1", "holds", "open"), waits]

    await bank.clerk("held-1", "look", refuses=True)
    assert await bank.ended(LOCKED, "held-1") == ["PARKED"]
    assert await bank.locks() == [(lock, "held-1", "holds", "parked"), waits]
    assert "holds, and is parked" in await bank.run("locks", lock)
    assert len(json.loads(await bank.run("locks", "--limit", "1", "-o", "json"))) == 1
    company.client.outcomes.pop((LOCKED, "held-1"))
    gid = await bank.gid("held-1")
    await bank.run("skip", gid, "--step", "write", "--reason", "seen to by hand")
    await bank.stands("held-2", 1)
    assert await bank.ended(LOCKED, "held-1") == ["COMPENSATED"]
    assert await bank.locks() == [(lock, "held-2", "holds", "open")]

    await bank.run("abort", await bank.gid("held-2"), "--reason", "enough")
    assert await bank.ended(LOCKED, "held-2") == ["COMPENSATED"]
    await bank.nothing_is_held()


async def test_no_lock_is_held_by_two_while_owners_die(bank: Bank, company: Company) -> None:
    """Forty read and write over the same two values, half of them go back: the sums are exact."""
    names = ("many-0", "many-1")
    by = {f"many-{n}": 1 + n // 2 for n in range(40)}
    keys = list(by)
    deposits = [
        {"id": key, "name": names[n % 2], "by": by[key], "slowly": False}
        for n, key in enumerate(keys)
    ]
    await asyncio.to_thread(company.cluster.start_coordinator, "coordinator-1")
    for n in (0, 1):
        await bank.deposit(LOCKED, *deposits[20 * n : 20 * n + 20])
        begun = "SELECT FROM twofold.transaction WHERE start_key LIKE 'many-%'"
        await until(company, begun, 20 * n + 5)
        await asyncio.to_thread(company.cluster.kill, f"coordinator-{n}")
        await asyncio.to_thread(company.cluster.launch_coordinator, f"heir-{n}")
    outcomes = await bank.ended(LOCKED, *keys)

    stands = {key for key, one in zip(keys, outcomes, strict=True) if one == "COMMITTED"}
    assert [by[key] % 2 for key in stands] == [1] * 20
    for n, name in enumerate(names):
        assert await bank.value(name) == FIRST + sum(by[key] for key in stands & {*keys[n::2]})
    await bank.nothing_is_held()
