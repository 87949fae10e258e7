"""One turn of the engine, without an engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coordinator.core import machine
from coordinator.core.events import Published
from coordinator.core.records import Ended, Entry, Ordered, decode
from coordinator.core.transition import Send
from coordinator.definitions import Definitions
from coordinator.engine import Engine
from coordinator.holdings import Holdings, Live, Shard
from coordinator.log.store import ClusterFacts
from coordinator.recall import input_hash, replay
from coordinator.setting import Setting
from coordinator.turn import Known, Turn
from coordinator.work import Telling
from sagas.model import AnyDefinition, Each, OnRefused
from tests.core.coordinator.builders import (
    GID,
    START_US,
    Story,
    atomic,
    branch,
    inquired,
    look_up,
    saga,
    settled,
    step,
    voted,
)
from wire.envelope import Envelope, seal, unseal
from wire.kafka import Received
from wire.messages import Action, Begin, Commit, End, Order, Outcome, Reply, Rollback, Vote
from wire.topics import Topics

TOPICS = Topics("test")


class Still:
    """A clock that stands."""

    def now_us(self) -> int:
        return START_US


def committing() -> Story:
    """Return a transaction that is to commit, and whose outcome is told."""
    story = Story.begin(atomic("ledger", "stock"))
    story.hear(voted("ledger", Vote.COMMIT))
    story.hear(voted("stock", Vote.COMMIT))
    story.hear(Published())
    return story


def setting_of(story: Story) -> Setting:
    """Know the story's definition, and little else."""
    definitions = Definitions()
    definitions.add(story.definition)
    facts = ClusterFacts("test", 1, 1)
    return Setting(facts, TOPICS, definitions, lambda: False)


def holding(story: Story, holdings: Holdings) -> None:
    """Have the story in memory, with its shard."""
    holdings.shards[0] = Shard(0, 1, 0, 0, 0)
    digest, summary = input_hash(story.state.begun.input), machine.summary(story.state)
    holdings.hold(Live(GID, 0, story.state, digest, len(story.log), summary))


def turn_of(story: Story, known: Known, replies: list[Reply]) -> list[Send]:
    """Let replies come in one turn, and return what leaves."""
    holdings = Holdings()
    holding(story, holdings)
    turn = Turn(setting_of(story), holdings, known, START_US)
    for offset, reply in enumerate(replies):
        sealed = seal(Envelope(reply), topic=TOPICS.replies, source="/test", key=GID)
        turn.receive(
            Received(TOPICS.replies, 0, offset, sealed.key, sealed.value, sealed.headers, 0)
        )
    sent: list[Send] = []
    for out in turn.work.outgoing:
        message: Any = unseal(out.record.headers, out.record.value).message
        sent.append(Send(out.record.topic, message, GID))
    return sent


def test_a_branch_in_doubt_is_told_of_the_commit_while_the_transaction_is_open() -> None:
    """An answer from memory."""
    sent = turn_of(committing(), Known(), [inquired("stock")])

    assert [type(send.message) for send in sent] == [Commit]


def test_nothing_is_presumed_of_a_transaction_that_ends_in_the_same_turn() -> None:
    """The log was not asked, since memory knew it; to presume abort would be to lie."""
    replies = [settled("ledger", End.COMMITTED), settled("stock", End.COMMITTED)]

    sent = turn_of(committing(), Known(), [*replies, inquired("stock")])

    assert not [send for send in sent if isinstance(send.message, Rollback)]


def test_a_start_that_comes_again_as_its_transaction_ends_begins_nothing() -> None:
    """The log was asked before it had the first one, so memory must still know it."""
    untold = Story.begin(atomic(branch("ledger", data=look_up("input", "missing"))))
    anything: Any = None
    engine = Engine(
        setting=setting_of(untold),
        log=anything,
        producer=anything,
        reader=anything,
        clock=Still(),
        watcher=anything,
    )
    holding(untold, engine._holdings)  # pyright: ignore[reportPrivateUsage]
    engine._told.append(Telling(GID, untold.state.tell_at_us))  # pyright: ignore[reportPrivateUsage]
    again = seal(
        Envelope(Begin(definition="transfer", key="k-1", input={})),
        topic=TOPICS.requests,
        source="/test",
        key="k-1",
    )

    engine._decide(  # pyright: ignore[reportPrivateUsage]
        [Received(TOPICS.requests, 0, 0, again.key, again.value, again.headers, 0)], Known()
    )

    work = engine._work  # pyright: ignore[reportPrivateUsage]
    assert [entry.record for _, entry in work.entries] == [Ended()]
    assert not work.begun


@pytest.mark.parametrize("turns", [1, 2])
def test_an_order_that_comes_again_is_obeyed_once(turns: int) -> None:
    """In the same turn, and by an owner that knows of the first from the log alone."""
    story = Story.begin(saga(step("pay", pivot=True, attempts=1)))
    story.sleep()
    story.publish()
    order = Order(gid=GID, id="o-1", action=Action.RETRY, actor="ann", reason="seen to")
    sealed = seal(Envelope(order), topic=TOPICS.replies, source="/test", key=GID)
    log = [Entry(GID, seq, at, decode(text)) for seq, (at, text) in enumerate(story.log)]
    before = len(log)

    for _ in range(turns):
        holdings = Holdings()
        holdings.shards[0] = Shard(0, 1, 0, 0, 0)
        turn = Turn(setting_of(story), holdings, Known(records={GID: log}), story.now_us)
        for offset in range(2):
            turn.receive(
                Received(TOPICS.replies, 0, offset, sealed.key, sealed.value, sealed.headers, 0)
            )
        log += [entry for _, entry in turn.work.entries]

    assert [type(entry.record) for entry in log[before:]] == [Ordered]


def test_an_order_is_heard_where_its_transaction_ends_in_the_same_turn() -> None:
    """The log was not asked, since memory knew it: nobody may say that there is none."""
    story, holdings = committing(), Holdings()
    holding(story, holdings)
    turn = Turn(setting_of(story), holdings, Known(), START_US)
    order = Order(gid=GID, id="o-1", action=Action.ABORT, actor="ann", reason="too late")

    for offset, message in enumerate(
        [settled("ledger", End.COMMITTED), settled("stock", End.COMMITTED), order]
    ):
        sealed = seal(Envelope(message), topic=TOPICS.replies, source="/test", key=GID)
        turn.receive(
            Received(TOPICS.replies, 0, offset, sealed.key, sealed.value, sealed.headers, 0)
        )

    assert turn.work.buried == []
    assert [type(entry.record) for _, entry in turn.work.entries] == [Ended, Ordered]
    assert not holdings.live


def test_a_transaction_ends_once_its_last_outcome_is_told() -> None:
    """That it was parked may be on its way for so long that a person has ended it meanwhile."""
    story = Story.begin(saga(step("pay", pivot=True, attempts=1)))
    story.sleep()
    holdings = Holdings()
    holding(story, holdings)
    live, setting = holdings.live[GID], setting_of(story)
    parked = Turn(setting, holdings, Known(), story.now_us + 60_000_000)
    parked.resume(live)
    order = Order(gid=GID, id="o-1", action=Action.COMMIT, actor="ann", reason="seen to")
    sealed = seal(Envelope(order), topic=TOPICS.replies, source="/test", key=GID)

    turn = Turn(setting, holdings, Known(), story.now_us + 61_000_000)
    turn.receive(Received(TOPICS.replies, 0, 0, sealed.key, sealed.value, sealed.headers, 0))

    [(_, outcome)] = outcomes_of(turn)
    assert outcome == "COMMITTED"
    for before, outgoing in ((True, parked.work.outgoing), (False, turn.work.outgoing)):
        [telling] = [out.tells for out in outgoing]
        assert telling is not None
        turn.told(telling)
        ended = any(isinstance(entry.record, Ended) for _, entry in turn.work.entries)
        assert ended is not before


def outcomes_of(turn: Turn) -> list[tuple[str, str]]:
    """Return what is told, and where."""
    records = [out.record for out in turn.work.outgoing]
    told = [(one.topic, unseal(one.headers, one.value).message) for one in records]
    return [(topic, said.outcome) for topic, said in told if isinstance(said, Outcome)]


def ask(turn: Turn, begin: Begin, offset: int = 0) -> None:
    """Let a start come to the only shard."""
    record = seal(Envelope(begin), topic=TOPICS.requests, source="/test", key="k", partition=0)
    turn.receive(Received(TOPICS.requests, 0, offset, record.key, record.value, record.headers, 0))


def test_whoever_wants_a_reply_hears_the_outcome_too() -> None:
    """And also that a start was refused; both topics are told in one burst, or again."""
    quiet = atomic(branch("ledger", data=look_up("input", "missing")))
    definition = replace(quiet, start=replace(quiet.start, reply_to="trips.told"))
    setting = setting_of(Story.begin(definition))
    holdings = Holdings()
    holdings.shards[0] = Shard(0, 1, 0, 0, 0)
    turn = Turn(setting, holdings, Known(), START_US)

    for offset, number in enumerate((1, 2)):
        ask(turn, Begin(definition=definition.name, key="k", input={"n": number}), offset)

    both = ("trips.told", TOPICS.outcomes)
    assert outcomes_of(turn) == [(t, "ABORTED") for t in both] + [(t, "REFUSED") for t in both]


def test_a_thousand_commands_that_no_topic_takes_are_refused_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each refusal leads to the next command: that must not end the process, and the next one."""
    monkeypatch.setattr("coordinator.turn.MAX_BODY_BYTES", 10)
    invite = replace(
        step("invite", on_refused=OnRefused.CONTINUE), each=Each(look_up("input", "guests"), 1)
    )
    definition = saga(invite)
    story, holdings = Story(definition), Holdings()
    holdings.shards[0] = Shard(0, 1, 0, 0, 0)
    turn = Turn(setting_of(story), holdings, Known(), START_US)
    ask(turn, Begin(definition=definition.name, key="k", input={"guests": ["ann"] * 1000}))
    assert outcomes_of(turn) == [(TOPICS.outcomes, "COMMITTED")]


PAID = step("pay", pivot=True)
NEWER = replace(saga(PAID, step("log", "pay")), version=2, hash="sha256:2")


def moved(*published: AnyDefinition) -> tuple[Story, Turn, Setting]:
    """Order that a parked saga, which nobody has in mind, goes by version 2."""
    story = Story.begin(saga(PAID))
    story.park("it was made wrong")
    story.publish()
    setting, holdings = setting_of(story), Holdings()
    for definition in published:
        setting.definitions.add(definition)
    holdings.shards[0] = Shard(0, 1, 0, 0, 0)
    order = Order(gid=GID, id="o-1", action=Action.MOVE, actor="ann", reason="mended", to=2)
    sealed = seal(Envelope(order), topic=TOPICS.replies, source="/test", key=GID)
    turn = Turn(setting, holdings, Known(records={GID: story.entries()}), START_US)
    turn.receive(Received(TOPICS.replies, 0, 0, sealed.key, sealed.value, sealed.headers, 0))
    return story, turn, setting


def test_a_parked_saga_is_moved_to_a_version_that_is_published() -> None:
    """Its row says by which definition it goes, and the next owner finds that one."""
    story, turn, setting = moved(NEWER)

    assert turn.work.changes[GID].definition == NEWER.hash
    written = [entry for _, entry in turn.work.entries]
    again = replay([*story.entries(), *written], setting.definitions)
    assert (again.definition, again.begun.version) == (NEWER, 2)


def test_no_saga_is_moved_to_a_version_that_is_not_published() -> None:
    _, turn, _ = moved()

    [refused] = [entry.record for _, entry in turn.work.entries]
    assert isinstance(refused, Ordered)
    assert refused.refused == "order version 2 is not published"
    assert not turn.work.changes
