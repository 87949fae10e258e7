"""The log's server dies with its disk, and an old copy of it takes its place.

What `twofold recover` does is done here with the product's own parts: starts
are named by recovery/starts.py, and compared and rebuilt by recovery/page.py.
Only what reads Kafka and Postgres is written again.
"""

from __future__ import annotations

import asyncio
import copy
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from audit import facts as audited
from coordinator.core import machine
from coordinator.core.records import Begun, ChildEnded, Entry
from coordinator.core.records import Outcome as Ending
from coordinator.definitions import Definitions
from coordinator.log.store import Batch
from recovery.locks import cleared
from recovery.page import Page
from recovery.parts import ATTEMPTS
from recovery.starts import Asked, Naming, Said, sent
from sagas.model import Group
from tests.simulation.facts import has_row
from tests.simulation.faults import Fault
from wire.envelope import Unreadable, unseal
from wire.messages import Outcome
from wire.topics import Topics

if TYPE_CHECKING:
    from tests.simulation.world import World

UNDER_WAY_S: Final = 7.0
"""What was sent before, or was said by the dead, has arrived by then."""
PAUSED: Final = 0.6
"""How many coordinators of the lost log are not dead, and wake up afterwards."""
DROWSY_S: Final = 2.5
TICK_S: Final = 0.02
LEASE_US: Final = 3_600_000_000


class Restoring:
    """One loss of the log, if the seed has one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.under_way = False

    async def run(self) -> None:
        """Copy the log, go on, lose it, restore the copy, and bring that up to date."""
        faults = self._world.faults
        if not faults.strikes(Fault.LOG_RESTORED):
            return
        await asyncio.sleep(faults.between(Fault.LOG_RESTORED, 0.0, 3.0))
        backup = self._world.log.copied()
        await asyncio.sleep(faults.between(Fault.LOG_RESTORED, 0.1, 4.0))
        self.under_way = True
        await self._end_coordinators()
        await asyncio.sleep(UNDER_WAY_S)
        self._world.log.restored(copy.deepcopy(backup))
        self._world.check.restored(self._world.log)
        self._world.trace.note("log", "is restored")
        await self._recover()
        self.under_way = False
        for coordinator in self._world.coordinators:
            wakes_s = faults.between(Fault.LOG_RESTORED, 0.0, 1.5)
            self._world.loop.call_later(wakes_s, coordinator.process.wake)

    async def _end_coordinators(self) -> None:
        """Kill them, or let them sleep with a decision that they have told nobody, if they can."""
        processes = [coordinator.process for coordinator in self._world.coordinators]
        between = self._world.faults.between
        drowsy = [p for p in processes if between(Fault.LOG_RESTORED, 0.0, 1.0) < PAUSED]
        for process in drowsy:
            process.drowsy = True
        give_up_at = self._world.loop.time() + DROWSY_S
        while not all(p.paused for p in drowsy) and self._world.loop.time() < give_up_at:
            await asyncio.sleep(TICK_S)
        for process in processes:
            if process in drowsy:
                process.drowsy = False
                process.sleep()
            else:
                process.kill()

    async def _recover(self) -> None:
        world, server = self._world, self._world.log
        facts = await server.facts()
        definitions = Definitions()
        for definition in world.published:
            definitions.add(definition)
        claimed = await server.claim("recovery", range(world.shards), LEASE_US)
        names = Naming(facts.name, [facts.generation], definitions)
        for database in world.databases.values():
            for shard in range(world.shards):
                database.raise_generation(facts.name, shard, facts.generation + 1)
            database.crash()
        topics, logs = world.topics, world.broker.logs
        asked: dict[str, Asked] = {}
        for position in claimed:
            requests = logs[topics.requests, position.shard]
            for record in requests[position.requests_offset :]:
                asked |= {one.gid: one for one in names.asked(record)}
        moved = [p._replace(replies_offset=len(logs[topics.replies, p.shard])) for p in claimed]
        every = [r for (topic, _), log in logs.items() if _commands(topic) for r in log]
        said = Said(self._told(), sent(every))
        names, attempts = sorted({*server.rows, *asked}), ATTEMPTS
        known, versions = self._facts(facts), definitions.of_name
        while True:
            page = Page(names, known, asked, said, versions=versions, attempts=attempts)
            if not page.more:
                break
            attempts *= 2
        here = {p.shard: p for p in moved}
        old = cleared(await server.claims(here), here)
        await server.persist(Batch(moved, [], [], [], claims=old))
        batch = page.batch(here, world.shards)
        await server.persist(batch)
        for _, entry in batch.entries:
            self._know_what_groups_returned(entry)
        server.raise_generation()
        world.check.generation = facts.generation + 1
        world.check.recovering = False
        await server.leave("recovery")

    def _know_what_groups_returned(self, entry: Entry) -> None:
        """Insist that what a group has returned is known again, once all of it has committed."""
        record, check = entry.record, self._world.check
        if not isinstance(record, ChildEnded) or record.outcome is not Ending.COMMITTED:
            return
        step = check.facts[entry.gid].saga.steps[record.step]
        if isinstance(step.work, Group):
            branches = step.work.definition.branches.values()
            where = ((one.name, self._world.databases[one.call.participant]) for one in branches)
            if all(has_row(at, record.child, name, "committed") for name, at in where):
                known = record.data == {one.name: {"of": one.name} for one in branches}
                check.insist(known, "what a group has returned is known", f"{record}")

    def _told(self) -> dict[str, Outcome]:
        found: dict[str, Outcome] = {}
        for (topic, _), log in self._world.broker.logs.items():
            if topic == self._world.topics.outcomes:
                for record in log:
                    with suppress(Unreadable):
                        message = unseal(record.headers, record.value).message
                        assert isinstance(message, Outcome)
                        if message.outcome != "REFUSED":
                            found[message.gid] = message
        return found

    def _facts(self, facts: Any) -> audited.Facts:
        """Say what the log and the databases hold, as an audit would read it."""
        world = self._world
        transactions = {gid: self._transaction(gid) for gid in world.log.rows}
        log = audited.LogFacts(facts.name, [facts.generation], world.now_us(), [None], transactions)
        return audited.Facts(log, [_database(one) for one in world.databases.values()], 0)

    def _transaction(self, gid: str) -> audited.Transaction:
        row, entries = self._world.log.rows[gid], self._world.log.entries(gid)
        begun = entries[0].record
        assert isinstance(begun, Begun)
        state = machine.recover(gid, self._world.check.by_hash[begun.definition], entries)
        told = audited.Row(
            row.shard, row.definition, row.status, row.outcome, row.active, row.began_us, 0
        )
        return audited.Transaction(gid, told, [entry.seq for entry in entries], entries, state)


def _commands(topic: str) -> bool:
    return topic.endswith(Topics.commands(""))


def _database(one: Any) -> audited.Database:
    barriers: dict[tuple[str, str], audited.Barrier] = {}
    markers: dict[tuple[str, str], audited.Marker] = {}
    for (table, gid, part), row in one.rows.items():
        if table == "branch":
            markers[gid, part] = audited.Marker(gid, part, row.status, 0, row.reply)
        else:
            barriers[gid, part] = audited.Barrier(gid, part, row.status, 0, row.reply, row.reason)
    prepared = [audited.Prepared(name, "", 0) for name in one.prepared]
    return audited.Database((one.name,), prepared, barriers, markers)
