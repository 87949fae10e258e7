"""A secret is planted in an input and in a result, and looked for in all that people can see."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import structlog

from coordinator.cli import transactions
from coordinator.cli.running import set_up_logs
from coordinator.cli.story import Story as Told
from coordinator.core import machine
from coordinator.core.records import Begun, Entry, encode
from coordinator.core.transition import Transition
from coordinator.definitions import Definitions
from coordinator.holdings import Holdings, Shard
from coordinator.log.store import ClusterFacts
from coordinator.setting import Setting
from coordinator.telemetry.spans import spans_of_log
from coordinator.triggers import Triggers
from coordinator.turn import Known, Turn
from coordinator.work import Telling
from sagas.loader import load
from wire import gids
from wire.envelope import Envelope, seal
from wire.kafka import Received
from wire.messages import Begin, Executed, Result
from wire.topics import Topics

CARD, TOKEN = "4111222233334444", "tok-93af77"
GID = f"tf1.main.1.0.{7:032x}"
DEFINITION = load(
    """
saga: pay
version: 1
start: {topic: pays, key: "event.id + string(1 / (event.n - 1))"}
input:
  properties: {id: {}, n: {}, card: {type: string, sensitive: true}}
steps:
  open: {call: money.open, with: {card: "${ input.card }"}, undo: money.close, sensitive: true}
  name: {call: money.name, undo: money.unname}
  take: {call: money.take, with: {n: "${ int(input.card + 'x') }"}, undo: money.give}
""",
    "test",
)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that is logged."""
    stream = io.StringIO()
    set_up_logs(stream)
    yield stream
    structlog.reset_defaults()


def lived() -> list[Entry]:
    """Let one live: a result, an echo of it, a step that cannot be asked for, a person's word."""
    begun = Begun(
        definition="h",
        name="pay",
        version=1,
        key="k",
        input={"id": "k", "card": CARD},
        traceparent=f"00-{7:032x}-{7:016x}-01",
    )
    log: list[Entry] = []

    def note(step: Transition[machine.State]) -> machine.State:
        log.extend(Entry(GID, len(log) + i, 1_000, r) for i, r in enumerate(step.records))
        return step.state

    def executed(step: str, result: Result, **more: object) -> Executed:
        said = {"gid": GID, "step": step, "attempt": 1, "result": result, **more}
        return msgspec.convert(said, Executed)

    state = note(machine.begin(GID, DEFINITION, begun, 1_000))
    state = note(machine.react(state, executed("open", Result.DONE, data={"t": TOKEN}), 1_000))
    echo = {"of": CARD, "also": f"{TOKEN}!"}
    state = note(machine.react(state, executed("name", Result.DONE, data=echo), 1_000))
    note(machine.park(state, f"somebody says {TOKEN} for {CARD}", 1_000))
    return log


def test_what_people_see_of_a_transaction(capsys: pytest.CaptureFixture[str]) -> None:
    """`twofold show`, in both ways, and its trace."""
    log = lived()
    story = Told.of(GID, DEFINITION, log, 2_000)
    transactions._print_parts(story.parts, story)  # pyright: ignore[reportPrivateUsage]
    transactions._print_history(story)  # pyright: ignore[reportPrivateUsage]
    seen = capsys.readouterr().out + msgspec.json.encode(story.as_json()).decode()
    seen += str(spans_of_log(GID, DEFINITION, log))
    assert "[hidden]" in seen
    assert "somebody says" in seen
    for secret in (CARD, TOKEN):
        assert secret not in seen


def test_reasons_in_the_log_hold_no_secret() -> None:
    """They are shown in lists, traces and outcomes. Only what happened itself holds it."""
    log = lived()
    whole = [encode(entry.record) for entry in log]
    holding = {type(e.record).__name__ for e, text in zip(log, whole, strict=True) if CARD in text}
    assert holding == {"Begun", "StepDone"}
    assert any("cannot" in text or "int" in text for text in whole)


def received(
    topic: str, value: bytes, headers: list[tuple[str, bytes]], shard: int = 0
) -> Received:
    return Received(topic, shard, 0, b"k", value, headers, 0)


def known() -> Definitions:
    definitions = Definitions()
    definitions.add(DEFINITION)
    return definitions


def test_an_event_is_buried_without_its_body(logged: io.StringIO) -> None:
    """Its key has no value; or it is no JSON, with a secret in it all the same."""
    anything: Any = None
    triggers = Triggers(
        bootstrap="",
        topics=Topics(),
        shards=1,
        log=anything,
        definitions=known(),
        producer=anything,
    )
    for body in (b'{"id": "' + CARD.encode() + b'", "n": 1}', b"{" + CARD.encode()):
        [grave] = triggers.starts(received("pays", body, []))
        assert CARD not in str(grave)
        assert ("twofold-cut", b"body") in grave.headers
    assert "event_buried" in logged.getvalue()
    assert CARD not in logged.getvalue()


def turned(begin: Begin, shards: int = 1) -> Turn:
    """Let one start come in, on partition 0."""
    facts = ClusterFacts("main", shards, 1)
    holdings = Holdings()
    holdings.shards[0] = Shard(0, 1, 0, 0, 0)
    turn = Turn(Setting(facts, Topics(), known(), lambda: False), holdings, Known(), 0)
    record = seal(Envelope(begin), topic=Topics().requests, source="/test", key=begin.key)
    turn.receive(received(record.topic, record.value or b"", record.headers))
    return turn


def test_a_start_is_refused_or_buried_without_its_input() -> None:
    """The first for its input, the second for coming to the wrong place."""
    refused = turned(Begin(definition="pay", key="k", input={"card": int(CARD)}))
    key = next(k for k in map(str, range(99)) if gids.shard_of_start("pay", k, 2) == 1)
    buried = turned(Begin(definition="pay", key=key, input={"card": CARD}), shards=2)

    assert [type(one).__name__ for one in refused.work.outgoing] == ["Outgoing"]
    assert "REFUSED" in str(refused.work.outgoing)
    assert CARD not in str(refused.work.outgoing)
    assert len(buried.work.buried) == 1
    assert CARD not in str(buried.work.buried)


def test_a_bug_is_logged_without_what_it_was_about(
    logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place is enough to find it."""
    turn = turned(Begin(definition="pay", key="k", input={"card": CARD}))
    [live] = turn._holdings.live.values()  # pyright: ignore[reportPrivateUsage]

    def broken(*_: object) -> None:
        raise ValueError(CARD)

    monkeypatch.setattr(machine, "react", broken)
    turn.told(Telling(live.gid, live.state.tell_at_us))

    assert "transaction_parked_by_a_bug" in logged.getvalue()
    assert "test_secrets.py" in logged.getvalue()
    assert CARD not in logged.getvalue()
    parked = encode(turn.work.entries[-1][1].record)
    assert "a bug of the coordinator" in parked
    assert CARD not in parked
