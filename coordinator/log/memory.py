"""A decision log in memory: the twin of the one on Postgres, for simulators.

It keeps the same promises and passes the same tests. It outlives its users:
an owner that "crashed" keeps what it held, a position with an old epoch, and
is fenced like any other. Records are kept as JSON, as in a table, so that what
is read is never the very object that was written. Each method is one step,
with no await inside; the clock is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from coordinator.core.events import Letter
from coordinator.core.lock import Claim
from coordinator.core.records import Decided, Decision, Entry, decode, encode
from coordinator.core.transition import Status
from coordinator.log.parts import born_us
from coordinator.log.store import (
    LETTERS_LIMIT,
    Batch,
    Census,
    ClusterFacts,
    KnownStart,
    LogUnavailable,
    Place,
    Position,
    Row,
    StoredDefinition,
    VersionTaken,
    Waiting,
    check,
)

HOUR_US = 3_600_000_000


class _Lease(NamedTuple):
    owner: str
    until_us: int


class MemoryLog:
    """A DecisionLog. Subclass it, and override a method, to let that one fail."""

    def __init__(self, facts: ClusterFacts, clock: Callable[[], int]) -> None:
        self._facts = facts
        self._clock = clock
        self._shards = {
            n: Position(n, 0, 0, 0) for n in range(facts.store, facts.shards, facts.stores)
        }
        self._leases: dict[int, _Lease] = {}
        self._heartbeats: dict[str, int] = {}
        self._rows: dict[str, Row] = {}
        self._starts: dict[tuple[str, str], str] = {}
        self._entries: dict[str, dict[int, tuple[int, str]]] = {}
        self._definitions: dict[str, StoredDefinition] = {}
        self._purged_us = 0
        self._waiting: dict[tuple[str, str], Waiting] = {}
        self._letters: dict[tuple[str, str, int, int], Letter] = {}
        self._claims: dict[tuple[str, str], tuple[int, Claim]] = {}

    async def facts(self) -> ClusterFacts:
        return self._facts

    # ── the log itself ───────────────────────────────────────────────────────

    async def persist(self, batch: Batch) -> frozenset[int]:
        check(batch)
        counted = [p for p in batch.positions if self._epoch(p.shard) == p.epoch]
        mine = frozenset(position.shard for position in counted)
        begun = [row for row in batch.begun if row.shard in mine]
        entries = [entry for shard, entry in batch.entries if shard in mine]
        self._refuse_duplicates(begun, entries)
        self._shards |= {position.shard: position for position in counted}
        for row in begun:
            self._rows[row.gid] = row
            self._starts[row.name, row.key] = row.gid
        for gid, seq, at_us, record in entries:
            self._entries.setdefault(gid, {})[seq] = (at_us, encode(record))
        for gid, shard, status, outcome, active, wake_at_us, _, moved in batch.changes:
            if shard in mine and gid in self._rows:
                self._rows[gid] = self._rows[gid]._replace(
                    status=status,
                    outcome=outcome,
                    active=active,
                    wake_at_us=wake_at_us,
                    definition=moved or self._rows[gid].definition,
                )
        for one in batch.waiting:
            if one.shard in mine:
                self._waiting.pop((one.gid, one.step), None)
                if one.topic:
                    self._waiting[one.gid, one.step] = one
        for shard, lock, gid, claim in batch.claims:
            if shard in mine:
                self._claims.pop((lock, gid), None)
                self._claims |= {} if claim is None else {(lock, gid): (shard, claim)}
        return mine

    def _refuse_duplicates(self, begun: Sequence[Row], entries: Sequence[Entry]) -> None:
        gids = [row.gid for row in begun]
        starts = [(row.name, row.key) for row in begun]
        places = [(entry.gid, entry.seq) for entry in entries]
        taken = (
            [gid for gid in gids if gid in self._rows]
            + [start for start in starts if start in self._starts]
            + [(gid, seq) for gid, seq in places if seq in self._entries.get(gid, {})]
        )
        twice = any(len(set(keys)) < len(keys) for keys in (gids, starts, places))
        if taken or twice:
            raise LogUnavailable(f"a key is there already: {taken}")

    async def active(self, shards: Collection[int]) -> Sequence[Entry]:
        wanted = sorted(r.gid for r in self._rows.values() if r.active and r.shard in shards)
        return [entry for gid in wanted for entry in self.entries(gid)]

    async def deliver(self, letters: Collection[Letter]) -> None:
        for one in letters:
            self._letters.setdefault((one.topic, one.key, one.partition, one.offset), one)

    async def waiting(self, places: Collection[Place]) -> Sequence[Waiting]:
        found = (one for one in self._waiting.values() if (one.topic, one.key) in places)
        return sorted(found)

    async def letters(self, places: Collection[Place]) -> Mapping[Place, Sequence[Letter]]:
        found: dict[Place, list[Letter]] = {}
        for one in sorted(self._letters.values(), key=_age):
            place = (one.topic, one.key)
            if place in places:
                found.setdefault(place, []).append(one)
        return {place: some[-LETTERS_LIMIT:] for place, some in found.items()}

    async def throw_away(self, topic: str, before_us: int, limit: int) -> int:
        old = [
            place
            for place, one in self._letters.items()
            if one.topic == topic and one.at_us < before_us
        ][:limit]
        for place in old:
            del self._letters[place]
        return len(old)

    async def asleep(self, gids: Collection[str]) -> Sequence[Entry]:
        wanted = [row.gid for gid in set(gids) if (row := self._rows.get(gid)) and _sleeps(row)]
        return await self.records(wanted)

    async def waking(self, shards: Collection[int], until_us: int, limit: int) -> Sequence[Entry]:
        due = [
            (row.wake_at_us or 0, row.gid)
            for row in self._rows.values()
            if row.shard in shards and _sleeps(row) and (row.wake_at_us or 0) <= until_us
        ]
        return await self.records([gid for _, gid in sorted(due)[:limit]])

    async def claims(self, shards: Collection[int]) -> Sequence[tuple[int, str, Claim]]:
        found = (
            (shard, lock, claim)
            for (lock, _), (shard, claim) in self._claims.items()
            if shard in shards
        )
        return sorted(found, key=lambda one: (one[1], one[2].place))

    async def unended(self, gids: Collection[str]) -> frozenset[str]:
        rows = self._rows
        return frozenset(g for g in gids if g in rows and rows[g].status is not Status.ENDED)

    async def records(self, gids: Collection[str]) -> Sequence[Entry]:
        return [entry for gid in sorted(set(gids)) for entry in self.entries(gid)]

    def entries(self, gid: str) -> Sequence[Entry]:
        """Return what the log has of one transaction."""
        found = sorted(self._entries.get(gid, {}).items())
        return [Entry(gid, seq, at_us, decode(text)) for seq, (at_us, text) in found]

    @property
    def rows(self) -> Mapping[str, Row]:
        """All transactions, by gid."""
        return self._rows

    async def known_starts(
        self, starts: Collection[tuple[str, str]]
    ) -> Mapping[tuple[str, str], KnownStart]:
        return {
            start: KnownStart(gid, self._rows[gid].input_hash)
            for start in starts
            if (gid := self._starts.get(start)) is not None
        }

    async def decisions(self, gids: Collection[str]) -> Mapping[str, Decision | None]:
        return {
            gid: self._decision(gid)
            for gid in gids
            if gid in self._rows or born_us(gid) < self._purged_us
        }

    async def purge(self, keep: Mapping[str, int], now_us: int, limit: int) -> int:
        gone = [
            gid
            for gid, row in self._rows.items()
            if row.name in keep
            and row.status is Status.ENDED
            and self.entries(gid)[-1].at_us < now_us - keep[row.name]
        ][:limit]
        for gid in gone:
            row = self._rows.pop(gid)
            del self._starts[row.name, row.key], self._entries[gid]
            self._purged_us = max(self._purged_us, born_us(gid) + 1000)
        return len(gone)

    def _decision(self, gid: str) -> Decision | None:
        records = (entry.record for entry in self.entries(gid))
        return next((r.decision for r in records if isinstance(r, Decided)), None)

    # ── who owns what ────────────────────────────────────────────────────────

    async def census(self, replica: str, lease_us: int) -> Census:
        now_us = self._clock()
        self._heartbeats = {
            name: at_us for name, at_us in self._heartbeats.items() if at_us >= now_us - HOUR_US
        } | {replica: now_us}
        mine = [shard for shard, lease in self._leases.items() if lease.owner == replica]
        self._leases |= {shard: _Lease(replica, now_us + lease_us) for shard in mine}
        alive = (name for name, at_us in self._heartbeats.items() if at_us > now_us - lease_us)
        free = frozenset(shard for shard in self._shards if self._is_free(shard))
        return Census(now_us, tuple(sorted(alive)), frozenset(mine), free)

    async def claim(
        self, replica: str, shards: Collection[int], lease_us: int
    ) -> Sequence[Position]:
        taken: list[Position] = []
        for shard in sorted(self._shards.keys() & set(shards)):
            if self._is_free(shard) or self._leases[shard].owner == replica:
                self._leases[shard] = _Lease(replica, self._clock() + lease_us)
                held = self._shards[shard]
                self._shards[shard] = held._replace(epoch=held.epoch + 1)
                taken.append(self._shards[shard])
        return taken

    async def release(self, replica: str, shards: Collection[int]) -> None:
        for shard in shards:
            if shard in self._leases and self._leases[shard].owner == replica:
                del self._leases[shard]

    async def leave(self, replica: str) -> None:
        await self.release(replica, tuple(self._leases))
        self._heartbeats.pop(replica, None)

    def _is_free(self, shard: int) -> bool:
        return shard not in self._leases or self._leases[shard].until_us < self._clock()

    def _epoch(self, shard: int) -> int | None:
        return self._shards[shard].epoch if shard in self._shards else None

    # ── definitions ──────────────────────────────────────────────────────────

    async def publish(self, definition: StoredDefinition) -> bool:
        if definition.hash in self._definitions:
            return False
        for other in self._definitions.values():
            if (other.name, other.version) == (definition.name, definition.version):
                raise VersionTaken(definition.name, definition.version)
        self._definitions[definition.hash] = definition
        return True

    async def definitions(self, known: Collection[str] = ()) -> Sequence[StoredDefinition]:
        found = (d for d in self._definitions.values() if d.hash not in known)
        return sorted(found, key=lambda d: (d.name, d.version))


def _age(letter: Letter) -> tuple[int, int, int]:
    return letter.at_us, letter.partition, letter.offset


def _sleeps(row: Row) -> bool:
    return not row.active and row.wake_at_us is not None
