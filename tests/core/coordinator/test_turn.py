"""One turn of the engine, without an engine."""

from __future__ import annotations

from coordinator.core import machine
from coordinator.core.events import Published
from coordinator.core.transition import Send
from coordinator.definitions import Definitions
from coordinator.holdings import Holdings, Live, Shard
from coordinator.log.store import ClusterFacts
from coordinator.turn import Known, Setting, Turn
from tests.core.coordinator.builders import (
    GID,
    START_US,
    Story,
    atomic,
    inquired,
    settled,
    voted,
)
from wire.envelope import Envelope, seal, unseal
from wire.kafka import Received
from wire.messages import Commit, End, Reply, Rollback, Vote
from wire.topics import Topics

TOPICS = Topics("test")


def committing() -> Story:
    """Return a transaction that is to commit, and whose outcome is told."""
    story = Story.begin(atomic("ledger", "stock"))
    story.hear(voted("ledger", Vote.COMMIT))
    story.hear(voted("stock", Vote.COMMIT))
    story.hear(Published())
    return story


def turn_of(story: Story, known: Known, replies: list[Reply]) -> list[Send]:
    """Let replies come in one turn, and return what leaves."""
    definitions = Definitions()
    definitions.add(story.definition)
    setting = Setting(
        ClusterFacts("test", 1, 1), TOPICS, definitions, lambda _: "0" * 32, lambda: False
    )
    holdings = Holdings()
    holdings.shards[0] = Shard(0, 1, 0, 0, 0)
    holdings.hold(Live(GID, 0, story.state, "", len(story.log), machine.summary(story.state)))
    turn = Turn(setting, holdings, known, START_US)
    for offset, reply in enumerate(replies):
        sealed = seal(Envelope(reply), topic=TOPICS.replies, source="/test", key=GID)
        turn.receive(
            Received(TOPICS.replies, 0, offset, sealed.key, sealed.value, sealed.headers, 0)
        )
    return [
        Send(out.record.topic, unseal(out.record.headers, out.record.value).message, GID)
        for out in turn.work.outgoing
    ]


def test_a_branch_in_doubt_is_told_of_the_commit_while_the_transaction_is_open() -> None:
    """An answer from memory."""
    sent = turn_of(committing(), Known(), [inquired("stock")])

    assert [type(send.message) for send in sent] == [Commit]


def test_nothing_is_presumed_of_a_transaction_that_ends_in_the_same_turn() -> None:
    """The log was not asked, since memory knew it; to presume abort would be to lie."""
    replies = [settled("ledger", End.COMMITTED), settled("stock", End.COMMITTED)]

    sent = turn_of(committing(), Known(), [*replies, inquired("stock")])

    assert not [send for send in sent if isinstance(send.message, Rollback)]
