"""What a decision log can do.

Two things keep it right:

`persist` takes a whole batch or nothing of it, shard by shard: whatever a
batch holds for a shard is written only together with the advance of the
shard's offsets, and only under the epoch that the owner took. That update is
the fence: no row, no batch.

`claim` raises the epoch, and from its return on no lower epoch can write.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from coordinator.core.events import Letter
from coordinator.core.lock import Claim
from coordinator.core.records import Decision, Entry, Outcome
from coordinator.core.transition import Status

LETTERS_LIMIT: Final = 1000
"""Letters of one place that are looked at: the newest, or one that has just come were none."""


class LogUnavailable(Exception):
    """The log could not be reached or has refused, or a write's fate is unknown.

    Whoever was writing must drop its shards and claim them again: the new
    epoch waits for whatever is still running, and then sees what became of it.
    """


class Position(NamedTuple):
    """A shard as one owner holds it: the epoch, and the next offsets to read."""

    shard: int
    epoch: int
    requests_offset: int
    replies_offset: int


class Row(NamedTuple):
    """A transaction as it begins: what is searched for, beside the log's records."""

    gid: str
    shard: int
    name: str
    definition: str
    key: str
    input_hash: str
    began_us: int
    status: Status
    outcome: Outcome | None
    active: bool
    wake_at_us: int | None = None
    search: tuple[str, ...] = ()
    """Words by which it is found: `field=value`."""


class Change(NamedTuple):
    """A transaction's row, as its state now shows it."""

    gid: str
    shard: int
    status: Status
    outcome: Outcome | None
    active: bool
    wake_at_us: int | None
    at_us: int
    definition: str | None = None
    """The one that it goes by since it was moved."""


class Waiting(NamedTuple):
    """A step waits for events with this key on a topic; without a topic, it does so no more."""

    shard: int
    gid: str
    step: str
    topic: str = ""
    key: str = ""


Place: TypeAlias = tuple[str, str]
"""Where letters lie and are waited for: topic and key."""


class ClaimChange(NamedTuple):
    """A transaction's claim on a lock, as it now stands; None if it has none any more."""

    shard: int
    """The lock's."""
    lock: str
    gid: str
    claim: Claim | None


class Batch(NamedTuple):
    """All that one turn of the engine wants to remember.

    Whatever it holds is for a shard of its positions. A transaction that
    begins in it has its row in `begun`, as it stands at the end of the turn;
    `changes` are of rows from before.
    """

    positions: Sequence[Position]
    begun: Sequence[Row]
    entries: Sequence[tuple[int, Entry]]
    """Each with its shard."""
    changes: Sequence[Change]
    waiting: Sequence[Waiting] = ()
    """Each step at most once."""
    claims: Sequence[ClaimChange] = ()


def check(batch: Batch) -> None:
    """Insist on what a batch promises, since a log would lose the rest in silence."""
    shards = {position.shard for position in batch.positions}
    assert len(shards) == len(batch.positions), "a shard has two positions"
    told = [*batch.begun, *batch.changes]
    mentioned = {row.shard for row in (*told, *batch.waiting, *batch.claims)}
    mentioned |= {shard for shard, _ in batch.entries}
    assert mentioned <= shards, f"no position for the shards {mentioned - shards}"
    assert len({row.gid for row in told}) == len(told), "a transaction has two rows"
    claims = {(change.lock, change.gid) for change in batch.claims}
    assert len(claims) == len(batch.claims), "a claim has two rows"


_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def storable(texts: Iterable[str]) -> bool:
    """Tell whether a log can hold these texts. What it cannot hold, it does not know.

    Postgres takes no NUL, and UTF-8 has no halves of characters. A message may
    have the first in any string, so a question with one must not be an error:
    the same message would be read, and fail, again and again.
    """
    return not any(_UNSTORABLE.search(text) for text in texts)


class KnownStart(NamedTuple):
    """A start that was accepted before."""

    gid: str
    input_hash: str


class StoredDefinition(NamedTuple):
    """A published definition."""

    hash: str
    name: str
    version: int
    source: str


class VersionTaken(Exception):
    """A version is published once, with one text, and this was another."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(
            f"{name} version {version} is published with another text:"
            " give the new text a new version"
        )
        self.name, self.version = name, version


class Census(NamedTuple):
    """Who is there, at one moment of the log's own clock."""

    now_us: int
    replicas: tuple[str, ...]
    mine: frozenset[int]
    free: frozenset[int]


class ClusterFacts(NamedTuple):
    """What was fixed when the log was created."""

    name: str
    shards: int
    """Of all stores together."""
    generation: int
    store: int = 0
    stores: int = 1

    @property
    def kept(self) -> int:
        """How many of the shards this store has: every ``stores``-th, from ``store`` on."""
        return len(range(self.store, self.shards, self.stores))


class DecisionLog(Protocol):
    """One store of the decision log. Every method may raise LogUnavailable."""

    async def facts(self) -> ClusterFacts:
        """Tell what this log is."""
        ...

    async def persist(self, batch: Batch) -> frozenset[int]:
        """Write the batch durably; return the shards for which it counted."""
        ...

    async def census(self, replica: str, lease_us: int) -> Census:
        """Say "I live", renew the leases held, and look around."""
        ...

    async def claim(
        self, replica: str, shards: Collection[int], lease_us: int
    ) -> Sequence[Position]:
        """Take the shards that are free or expired: lease, then the next epoch."""
        ...

    async def release(self, replica: str, shards: Collection[int]) -> None:
        """Give shards back, and wake those who may want them."""
        ...

    async def leave(self, replica: str) -> None:
        """Give everything back, and be forgotten."""
        ...

    async def active(self, shards: Collection[int]) -> Sequence[Entry]:
        """Return the records of all transactions that need an owner, in order of gid and seq."""
        ...

    async def asleep(self, gids: Collection[str]) -> Sequence[Entry]:
        """Return the records of those of these transactions that sleep."""
        ...

    async def waking(self, shards: Collection[int], until_us: int, limit: int) -> Sequence[Entry]:
        """Return the records of those who sleep until then, at most so many, the first first.

        They are in order of gid and seq.
        """
        ...

    async def deliver(self, letters: Collection[Letter]) -> None:
        """Put letters into the box; those that are there, by place and offset, stay."""
        ...

    async def waiting(self, places: Collection[Place]) -> Sequence[Waiting]:
        """Tell who waits there."""
        ...

    async def letters(self, places: Collection[Place]) -> Mapping[Place, Sequence[Letter]]:
        """Return the newest LETTERS_LIMIT of what lies at each, the oldest of them first."""
        ...

    async def throw_away(self, topic: str, before_us: int, limit: int) -> int:
        """Empty the box of what is older, at most so many letters; return how many."""
        ...

    async def records(self, gids: Collection[str]) -> Sequence[Entry]:
        """Return all that is known of these transactions, in order of gid and seq."""
        ...

    async def claims(self, shards: Collection[int]) -> Sequence[tuple[int, str, Claim]]:
        """Return all claims on these shards' locks: shard, lock, claim; each lock's in order."""
        ...

    async def unended(self, gids: Collection[str]) -> frozenset[str]:
        """Tell which of these exist and have not ended."""
        ...

    async def known_starts(
        self, starts: Collection[tuple[str, str]]
    ) -> Mapping[tuple[str, str], KnownStart]:
        """Find the starts, by (definition name, key), that were accepted before."""
        ...

    async def decisions(self, gids: Collection[str]) -> Mapping[str, Decision | None]:
        """Tell what was decided, for those that exist.

        None where nothing is yet, and where nobody can say, since the
        transaction may have been purged.
        """
        ...

    async def purge(self, keep: Mapping[str, int], now_us: int, limit: int) -> int:
        """Forget transactions that have ended, at most so many; return how many.

        ``keep`` tells for each name how many microseconds after its end one is
        kept. What has not ended is kept, and so is what is not named.
        """
        ...

    async def publish(self, definition: StoredDefinition) -> bool:
        """Store a definition; False if it was there. Raises VersionTaken."""
        ...

    async def definitions(self, known: Collection[str] = ()) -> Sequence[StoredDefinition]:
        """Return all definitions ever published, but for these hashes."""
        ...
