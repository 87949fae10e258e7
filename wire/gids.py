"""The names of transactions.

    tf1.<cluster>.<generation>.<shard>.<32 hex digits>

A reply finds its shard in the name, with no lookup; a participant finds out
whether a prepared transaction is its own cluster's; the hex digits are a
UUIDv7, so the name also tells when the transaction was asked for. Names are made of
``[a-z0-9._-]`` only, since Postgres takes the name of a prepared transaction
as a literal and nothing else (https://www.postgresql.org/docs/current/sql-prepare-transaction.html,
less than 200 bytes).
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

FORMAT = "tf1"
MAX_KEY: Final = 500
KEY_RULE: Final = f"a key has 1 to {MAX_KEY} printable characters"
MAX_LOCK: Final = 200
LOCK_RULE: Final = f"the name of a lock has 1 to {MAX_LOCK} printable characters"
_GID = re.compile(
    r"tf1\.([a-z0-9-]{1,24})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,4})\.([0-9a-f]{32})"
)
_PREPARED = re.compile(_GID.pattern + r"\.([a-z][a-z0-9_]{0,39})")


class Gid(NamedTuple):
    """The parts of a transaction's name."""

    cluster: str
    generation: int
    shard: int
    unique: str

    def __str__(self) -> str:
        return f"{FORMAT}.{self.cluster}.{self.generation}.{self.shard}.{self.unique}"

    @property
    def began_us(self) -> int:
        """Microseconds since 1970, to the millisecond, from the UUIDv7."""
        return int(self.unique[:12], 16) * 1000


def parse(text: str) -> Gid | None:
    """Read a transaction's name, or None if it is not one of ours."""
    match = _GID.fullmatch(text)
    return Gid(match[1], int(match[2]), int(match[3]), match[4]) if match else None


def prepared_name(gid: str, branch: str) -> str:
    """Name the prepared transaction of one branch; at most 118 bytes."""
    name = f"{gid}.{branch}"
    if not _PREPARED.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a prepared transaction")
    return name


def parse_prepared(name: str) -> tuple[Gid, str] | None:
    """Read the name of a prepared transaction, or None if it is a stranger's."""
    match = _PREPARED.fullmatch(name)
    return (Gid(match[1], int(match[2]), int(match[3]), match[4]), match[5]) if match else None


def is_start_key(key: str) -> bool:
    """Tell whether a start may have this key. It is indexed, and Kafka's key as well."""
    return 0 < len(key) <= MAX_KEY and key.isprintable()


def shard_of_start(definition: str, key: str, shards: int) -> int:
    """Choose the shard of a start: the same key always meets the same owner."""
    digest = hashlib.blake2b(f"{definition}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shards


def is_lock_name(name: str) -> bool:
    """Tell whether a lock may have this name."""
    return 0 < len(name) <= MAX_LOCK and name.isprintable()


def shard_of_lock(name: str, shards: int) -> int:
    """Choose the shard in which a lock is kept: all who want it meet there."""
    digest = hashlib.blake2b(f"lock\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shards


def unique_of_start(at_ms: int, partition: int, offset: int, key: str, definition: str) -> str:
    """Name a transaction after the record that asks for it, and the definition's hash.

    So whoever reads that record gives the same name: a log that has lost the
    beginning of a transaction still finds what was done under it, and by which
    version. ``at_ms`` is the broker's time on the record; with it, a topic that
    was recreated has other names.
    """
    place = f"{partition}/{offset}/{definition}\0{key}"
    digest = hashlib.blake2b(place.encode(), digest_size=10).digest()
    return uuid7(max(0, at_ms) * 1000, int.from_bytes(digest, "big"))


def child(gid: str, label: str) -> str:
    """Name a transaction that is part of another: of the same shard, and as old.

    ``label`` names it among all parts of the other one.
    """
    parent = parse(gid)
    assert parent is not None, f"{gid} is no name"
    digest = hashlib.blake2b(f"{gid}/{label}".encode(), digest_size=10).digest()
    unique = uuid7(parent.began_us, int.from_bytes(digest, "big"))
    return str(parent._replace(unique=unique))


def child_key(gid: str, label: str) -> str:
    """Return what a part of a transaction has for a start key: one that no start can have."""
    return f"{gid}\u00a0{label}"


def uuid7(now_us: int, random80: int) -> str:
    """Lay out a UUIDv7 (RFC 9562, 5.7) as 32 hex digits from its time and 74 of 80 other bits."""
    value = (now_us // 1000 & (1 << 48) - 1) << 80 | random80 & (1 << 80) - 1
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return f"{value:032x}"
