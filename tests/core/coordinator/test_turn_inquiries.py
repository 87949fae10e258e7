"""What a branch in doubt is told of a transaction that is in nobody's memory."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from coordinator.core.records import Decision
from coordinator.definitions import Definitions
from coordinator.holdings import Holdings, Shard
from coordinator.log.store import ClusterFacts
from coordinator.setting import Setting
from coordinator.turn import Known, Turn
from tests.core.coordinator.builders import atomic
from wire import gids
from wire.envelope import Envelope, seal, unseal
from wire.kafka import Received
from wire.messages import Commit, Inquired, Rollback
from wire.topics import Topics

GENERATION = 4


def answers(gid: str, decisions: Mapping[str, Decision | None]) -> list[object]:
    """Ask about one branch, and return what is sent."""
    definitions = Definitions()
    definitions.add(atomic("a", "b"))
    setting = Setting(
        facts=ClusterFacts("main", 1, GENERATION),
        topics=Topics(),
        definitions=definitions,
        sample=lambda: False,
    )
    holdings = Holdings()
    holdings.shards[0] = Shard(0, 1, 0, 0, 0)
    asked = Envelope(Inquired(gid=gid, branch="a", participant="a"))
    record = seal(asked, topic=Topics().replies, source="/test", key=gid)
    turn = Turn(setting, holdings, Known(decisions=decisions, doubts=[gid]), 0)
    turn.receive(Received(record.topic, 0, 0, record.key, record.value, record.headers, 0))
    assert not turn.work.buried
    out = [one.record for one in turn.work.outgoing]
    return [unseal(record.headers, record.value).message for record in out]


def name(generation: int = GENERATION) -> str:
    return str(gids.Gid("main", generation, 0, gids.uuid7(1, 1)))


def test_what_never_was_is_presumed_to_be_aborted() -> None:
    """It would be in the log if it had ever been decided."""
    assert answers(name(), {}) == [Rollback(gid=name(), branch="a")]


@pytest.mark.parametrize("generation", [GENERATION - 1, GENERATION + 1])
def test_nothing_is_presumed_of_another_generation(generation: int) -> None:
    """That log may have decided to commit, and is not here to say so."""
    assert answers(name(generation), {}) == []


def test_what_the_log_knows_is_told_whatever_its_generation() -> None:
    """A log that was carried over still has its decisions."""
    old = name(GENERATION - 1)

    assert answers(old, {old: Decision.COMMIT}) == [Commit(gid=old, branch="a")]
    assert answers(old, {old: None}) == []
