"""The safe part: ask the coordinator, as a participant in doubt does.

Nothing here ends a branch. The coordinator answers from its log, with a
Commit or a Rollback for the participant, which looks before it does anything.
So asking once too often, or at the wrong moment, changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from audit.findings import Finding
from audit.reading import Source
from coordinator.cli.reach import kafka
from coordinator.config import Config
from wire import gids
from wire.envelope import Envelope, Record, seal
from wire.kafka import Producer, partition_counts
from wire.messages import Inquired
from wire.topics import Topics

LOOK_S: Final = 0.5


async def repair(
    findings: Sequence[Finding], source: Source, config: Config, seconds: float
) -> frozenset[Finding]:
    """Ask about each finding that this may mend; return those that are mended in time."""
    topics = Topics(config.kafka.prefix)
    with kafka(config):
        counts = await partition_counts(config.kafka.bootstrap, [topics.replies])
        shards = counts.get(topics.replies, 0)
        asked = [one for one in findings if one.meaning.repairable and _has_owner(one, shards)]
        async with Producer(config.kafka.bootstrap) as producer:
            await producer.burst([inquiry(one, topics) for one in asked])
    deadline = asyncio.get_running_loop().time() + seconds
    while left := await _still_prepared(asked, source):
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(LOOK_S)
    return frozenset(asked) - left


def _has_owner(finding: Finding, shards: int) -> bool:
    """Tell whether there is anybody to ask: a log of the same name may have had more shards."""
    name = gids.parse(finding.gid)
    return name is not None and name.shard < shards


def inquiry(finding: Finding, topics: Topics) -> Record:
    """Ask how a branch is to end, in the name of whoever has its database."""
    name = gids.parse(finding.gid)
    assert name is not None, "only what is named as ours is asked about"
    # Participants that share a database answer for each other's branches.
    participant = finding.participant.partition("+")[0]
    question = Inquired(gid=finding.gid, branch=finding.part, participant=participant)
    return seal(
        Envelope(question),
        topic=topics.replies,
        source="/twofold/audit",
        key=finding.gid,
        partition=name.shard,
    )


async def _still_prepared(asked: Collection[Finding], source: Source) -> frozenset[Finding]:
    facts = await source.read({finding.gid for finding in asked})
    names = {prepared.name for _, prepared in facts.prepared()}
    return frozenset(f for f in asked if gids.prepared_name(f.gid, f.part) in names)
