"""The steps of a recovery, in their order.

    quiet      no coordinator runs
    claim      all shards of the store, so that nobody begins meanwhile
    seal       participants' databases, against whoever still acts on the lost log
    read       starts, commands and outcomes from Kafka, and then participants' databases
    refill     the letter box, with the events that came since
    rebuild    what they prove of each transaction
    persist    that, page by page, under our epochs
    raise      the generation: later starts have other names, and marks count anew

A recovery that is broken off is begun anew: what it has persisted is then part
of the log. Until the generation is raised, coordinators leave the shards alone, and
participants do not obey them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from audit.reading import PAGE, Source
from coordinator.cli.errors import Trouble
from coordinator.config import Config
from coordinator.definitions import Definitions, participants, publish
from coordinator.log.ask import ask
from coordinator.log.parts import born_us
from coordinator.log.postgres import PostgresLog
from coordinator.log.store import Batch, ClusterFacts, Position
from coordinator.marks import Marks
from coordinator.service import load_files
from recovery.letters import refill
from recovery.locks import cleared
from recovery.page import Page, Rebuilt
from recovery.parts import ATTEMPTS, below
from recovery.sealing import seal
from recovery.starts import Asked, Naming, Said, asked_since, by_shard, sent_since, told_ever
from sagas.model import AnyDefinition
from wire import gids
from wire.kafka import ShardReader
from wire.topics import Topics

LEASE_US: Final = 600_000_000
"""Long enough to read everything."""

OWNER: Final = "recovery"
"""One name, so that a recovery takes over at once from one that was broken off."""

CLOCKS_MS: Final = 600_000
"""How much the clocks of the log and of coordinators may differ."""

NEWEST: Final = """
    SELECT (extract(epoch FROM coalesce(max(changed_at), '1970-01-01')) * 1000)::bigint
      FROM twofold.transaction
"""
POSITIONS: Final = (
    "SELECT id, epoch, requests_offset, replies_offset FROM twofold.shard ORDER BY id"
)
KNOWN: Final = "SELECT gid FROM twofold.transaction WHERE gid = ANY($1::text[])"
NOT_ENDED: Final = (
    "SELECT gid, definition, start_key FROM twofold.transaction WHERE status <> 'ended'"
)
RAISE: Final = """
    WITH raised AS (UPDATE twofold.cluster SET generation = $2 WHERE generation = $1 RETURNING 1)
    INSERT INTO twofold.recovery (from_generation, to_generation, rebuilt, actor, reason)
    SELECT $1, $2, $3, $4, $5 FROM raised RETURNING 1
"""


_Followed = dict[str, AnyDefinition | None]
"""Transactions, and what they follow, if it is known."""


class Done(NamedTuple):
    """What became of one store."""

    store: int
    forgotten: tuple[int, ...]
    """The shards of which more was known."""
    generation: int
    rebuilt: Sequence[Rebuilt]
    unexplained: Sequence[str]
    """Transactions with traces in databases, and neither a log nor a start."""


@dataclass(frozen=True)
class Recovery:
    """One recovery of a store. Without a reason, it only says what it would do."""

    config: Config
    source: Source
    reader: ShardReader
    number: int
    actor: str
    reason: str | None
    definitions: Definitions = field(default_factory=Definitions)

    async def run(self, *, anyway: bool) -> Done | None:
        """Recover the store, if it has forgotten anything, or anyway."""
        dsn = self.config.log.stores[self.number]
        log = await PostgresLog.open(dsn)
        try:
            facts = await log.facts()
            await self._learn(log)
            async with self._claimed(log) as positions:
                return await self._recover(log, facts, positions, anyway=anyway)
        finally:
            await log.close()

    async def _learn(self, log: PostgresLog) -> None:
        """Know the definitions: those of the log, and those that it may have lost."""
        for definition in load_files(self.config.definitions, Topics(self.config.kafka.prefix)):
            self.definitions.add(definition)
            if self.reason is not None:
                await publish(log, definition)
        await self.definitions.refresh(log)

    @asynccontextmanager
    async def _claimed(self, log: PostgresLog) -> AsyncGenerator[list[Position]]:
        shards = [Position(*row) for row in await ask(log.pool, POSITIONS)]
        if self.reason is None:
            yield shards
            return
        claimed = await log.claim(OWNER, [one.shard for one in shards], LEASE_US)
        try:
            if len(claimed) < len(shards):
                raise Trouble("somebody holds shards of the log.", "Stop all coordinators first.")
            yield list(claimed)
        finally:
            await log.leave(OWNER)

    async def _recover(
        self, log: PostgresLog, facts: ClusterFacts, positions: list[Position], *, anyway: bool
    ) -> Done | None:
        topics = Topics(self.config.kafka.prefix)
        marks = Marks(self.reader, topics, facts.generation)
        forgotten = tuple(sorted(await marks.forgotten(positions)))
        if not (forgotten or anyway):
            return None
        last = [
            mark.generation for mark in (await marks.last([p.shard for p in positions])).values()
        ]
        newest = max([facts.generation, *last])
        names = Naming(facts.name, range(facts.generation, newest + 1), self.definitions)
        asked = await asked_since(self.reader, topics, positions, names)
        if self.reason is not None:
            await seal(self.source, facts.name, [p.shard for p in positions], newest + 1)
        # What is sent after this is read is not obeyed. What was sent before, and is done
        # by now, is seen in the databases, which are read last.
        [[newest_ms]] = await ask(log.pool, NEWEST, within_s=None)
        since_ms = max(0, newest_ms - CLOCKS_MS)
        said = await self._said(topics, since_ms)
        if self.reason is not None:
            kafka = self.config.kafka.bootstrap
            await refill(self.reader, kafka, log, self.definitions, since_ms)
        ends = await self.reader.ends((topics.replies, p.shard) for p in positions)
        # Replies to what the old log has asked prove nothing now: whoever is asked again, answers.
        moved = [p._replace(replies_offset=ends[topics.replies, p.shard]) for p in positions]
        rebuilt, seen = await self._rebuild(log, {p.shard: p for p in moved}, asked, said)
        if self.reason is not None:
            raised = (facts.generation, newest + 1, len(rebuilt), self.actor, self.reason)
            if not await ask(log.pool, RAISE, *raised):
                raise Trouble("somebody else has recovered this log meanwhile.")
        traced = by_shard([*await self.source.in_doubt(), *said.told], {p.shard for p in positions})
        explained = seen | await self._known(log, traced)
        unexplained = set(traced) - explained
        return Done(self.number, forgotten, newest + 1, rebuilt, sorted(unexplained))

    async def _said(self, topics: Topics, since_ms: int) -> Said:
        bootstrap = self.config.kafka.bootstrap
        called = {name for one in self.definitions.all_newest() for name in participants(one)}
        return Said(
            await told_ever(self.reader, topics, bootstrap),
            await sent_since(self.reader, bootstrap, called, since_ms),
        )

    async def _known(self, log: PostgresLog, names: Sequence[str]) -> set[str]:
        """Find the transactions that the log has, or may have had: it has purged some."""
        pages = [names[start : start + PAGE] for start in range(0, len(names), PAGE)]
        [[purged_us]] = await ask(log.pool, "SELECT purged_us FROM twofold.cluster")
        purged = {name for name in names if born_us(name) < purged_us}
        return purged | {row[0] for page in pages for row in await ask(log.pool, KNOWN, page)}

    async def _not_ended(self, log: PostgresLog) -> tuple[_Followed, _Followed]:
        """Find what has not ended, and apart from that what is a part of others."""
        found = await ask(log.pool, NOT_ENDED, within_s=None)
        wholes, alone = _Followed(), _Followed()
        for gid, followed, key in found:
            where = wholes if gids.is_start_key(key) else alone
            where[gid] = self.definitions.by_hash(followed)
        return wholes, alone

    async def _rebuild(
        self,
        log: PostgresLog,
        positions: Mapping[int, Position],
        asked: Mapping[str, Asked],
        said: Said,
    ) -> tuple[list[Rebuilt], set[str]]:
        wholes, alone = await self._not_ended(log)
        wholes |= {gid: one.definition for gid, one in asked.items()}
        shards = (await log.facts()).shards
        old = cleared(await log.claims(positions), positions)
        await self._persist(log, Batch(list(positions.values()), [], [], [], claims=old))
        found, seen = list[Rebuilt](), set[str]()
        for follow in (wholes, alone):
            wanted = sorted(follow.keys() - seen)
            for start in range(0, len(wanted), PAGE):
                page = await self._page(wanted[start : start + PAGE], follow, asked, said)
                found += page.rebuilt
                seen |= page.seen
                await self._persist(log, page.batch(positions, shards))
        return found, seen

    async def _page(
        self, names: Sequence[str], follow: _Followed, asked: Mapping[str, Asked], said: Said
    ) -> Page:
        """Compare some, with all that may have begun as part of them, however often."""
        known = {gid: definition for gid in names if (definition := follow[gid])}
        versions, attempts = self.definitions.of_name, ATTEMPTS
        while True:
            parts = [p for gid, one in known.items() for p in below(gid, one, versions, attempts)]
            facts = await self.source.read([*names, *parts])
            page = Page(names, facts, asked, said, versions=versions, attempts=attempts)
            if not page.more:
                return page
            attempts *= 2

    async def _persist(self, log: PostgresLog, batch: Batch) -> None:
        """Persist a page, and where replies go on."""
        if self.reason is None:
            return
        counted = await log.persist(batch)
        if len(counted) < len(batch.positions):
            raise Trouble("somebody has taken a shard of the log meanwhile.")
