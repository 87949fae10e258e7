"""Records: what is sealed is unsealed, what is not ours is refused in one way only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from wire import envelope
from wire.envelope import MAX_BODY_BYTES, TYPES, Envelope, Record, Unreadable, seal, unseal
from wire.messages import (
    Action,
    Begin,
    Commit,
    Compensated,
    End,
    Execute,
    Executed,
    Heartbeat,
    Inquired,
    Mark,
    Outcome,
    Prepare,
    Result,
    Rollback,
    Settled,
    Vote,
    Voted,
)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | words
    | st.floats(allow_nan=False, allow_infinity=False)
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)
)
_BY_FIELD: dict[str, st.SearchStrategy[Any]] = {
    "data": json_values,
    "result": json_values,
    "output": json_values,
    "input": st.dictionaries(words, json_values, max_size=3),
    "attempt": st.integers(1, 1000),
    "version": st.integers(1, 1000),
    "to": st.integers(0, 1000),
    "one_phase": st.booleans(),
    "undone": st.booleans(),
    "leaving": st.booleans(),
    "started": st.datetimes(timezones=st.just(UTC)),
    **dict.fromkeys(
        (
            "beat",
            "steps_waiting",
            "prepares_waiting",
            "branches_held",
            "held_limit",
            "slots",
            "shard",
            "generation",
            "requests",
            "replies",
        ),
        st.integers(0, 10_000),
    ),
    "waits": st.booleans(),
    "vote": st.sampled_from(Vote),
    "end": st.sampled_from(End),
    "action": st.sampled_from(Action),
}
FAST = settings(max_examples=60, deadline=None)


def built(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Draw a message with every field filled."""
    parts = {name: _BY_FIELD.get(name, words) for name in cls.__struct_fields__}
    if cls in (Executed, Compensated):
        parts["result"] = st.sampled_from(Result)
    return st.builds(cls, **parts)


messages = st.sampled_from(list(TYPES.values())).flatmap(built)
NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
EXECUTED = Executed(gid="g", step="s", attempt=1, result=Result.DONE)
HEADERS = [("ce_type", b"twofold.executed.v1")]
BODY = b'{"gid":"g","step":"s","attempt":1,"result":"done"}'


def sealed(message: Any, **around: Any) -> Record:
    return seal(Envelope(message, **around), topic="t", source="/twofold/test", key="k")


def opened(record: Record) -> Envelope:
    return unseal(record.headers, record.value)


def ce_id(message: Any) -> bytes:
    return dict(sealed(message).headers)["ce_id"]


# ── there and back ───────────────────────────────────────────────────────────


@FAST
@given(
    message=messages,
    traceparent=st.none() | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", fullmatch=True),
    deadline_us=st.none() | st.integers(0, 4_000_000_000_000_000),
)
def test_what_is_sealed_is_unsealed(
    message: Any, traceparent: str | None, deadline_us: int | None
) -> None:
    """Every message, to the microsecond and with its trace."""
    wrapped = Envelope(message, traceparent, deadline_us)

    assert opened(seal(wrapped, topic="t", source="/s", key="k")) == wrapped


def test_every_message_has_a_type() -> None:
    """What cannot be named cannot be sent; a version is in each name."""
    assert set(TYPES.values()) == set(envelope.AnyMessage.__args__)
    assert all(name.endswith(".v1") for name in TYPES)


def test_a_record_keeps_its_place() -> None:
    """Topic, key and partition are the caller's."""
    record = seal(Envelope(EXECUTED), topic="t", source="/s", key="k", partition=3)

    assert (record.topic, record.key, record.partition) == ("t", b"k", 3)


def test_fields_of_a_later_version_are_ignored() -> None:
    """Old readers live with new writers."""
    body = BODY[:-1] + b',"new":{"x":1}}'

    assert unseal([*HEADERS, ("ce_new", b"1")], body).message == EXECUTED


def test_a_deadline_is_written_as_rfc_3339() -> None:
    """Other people's tools read it; UTC is a Z, and no microsecond is lost."""
    moment = int(NOON.timestamp()) * 1_000_000

    assert dict(sealed(EXECUTED, deadline_us=moment).headers)["ce_expirytime"] == (
        b"2026-03-01T12:00:00Z"
    )
    assert dict(sealed(EXECUTED, deadline_us=moment + 1).headers)["ce_expirytime"] == (
        b"2026-03-01T12:00:00.000001Z"
    )


def test_a_deadline_in_another_zone_is_the_same_moment() -> None:
    """Whoever writes an offset means it."""
    east = unseal([*HEADERS, ("ce_expirytime", b"2026-03-01T14:00:00.5+02:00")], BODY)
    zulu = unseal([*HEADERS, ("ce_expirytime", b"2026-03-01T12:00:00.5Z")], BODY)

    assert east == zulu
    assert zulu.deadline_us is not None
    assert zulu.deadline_us % 1_000_000 == 500_000


# ── what cannot be read ──────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("headers", "body", "why"),
    [
        ([], BODY, "no ce_type"),
        ([("ce_type", b"forged.v1")], BODY, "'forged.v1' is unknown"),
        ([("ce_type", b"\xff\xfe")], BODY, "unknown"),
        ([("ce_type", b"twofold.executed.v2")], BODY, "unknown"),
        (HEADERS, None, "the body is null"),
        (HEADERS, b"", "executed"),
        (HEADERS, b"{", "executed"),
        (HEADERS, b"\xff", "executed"),
        (HEADERS, b"[]", "executed"),
        (HEADERS, BODY.replace(b"done", b"perhaps"), "perhaps"),
        (HEADERS, BODY.replace(b"1", b'"1"'), "attempt"),
        (HEADERS, b'{"gid":"g"}', "step"),
        (HEADERS, b" " * (MAX_BODY_BYTES + 1), "bytes, over"),
        ([*HEADERS, ("ce_expirytime", b"soon")], BODY, "not a time"),
        ([*HEADERS, ("ce_expirytime", b"\xff")], BODY, "not a time"),
        ([*HEADERS, ("ce_expirytime", b"2026-03-01T12:00:00")], BODY, "no time zone"),
    ],
)
def test_what_is_not_ours_says_why(headers: Any, body: bytes | None, why: str) -> None:
    """The reason is for whoever looks into the dead-letter topic."""
    with pytest.raises(Unreadable, match=why):
        unseal(headers, body)


def test_the_largest_body_is_read() -> None:
    """The limit itself is allowed."""
    assert unseal(HEADERS, BODY.ljust(MAX_BODY_BYTES)).message == EXECUTED


def further_down(calls: int, what: Callable[[], object]) -> None:
    if calls:
        further_down(calls - 1, what)
    else:
        what()


def write_and_read(message: Any) -> None:
    value = sealed(message).value
    assert value is not None
    assert msgspec.json.decode(value)["data"] == message.data


@pytest.mark.parametrize("nested", [("[", "]"), ('{"a":', "}")])
def test_what_is_read_can_be_written_further_down(nested: tuple[str, str]) -> None:
    """Else the log's writer would fail over it, and whoever comes next, for ever."""
    read: list[int] = []
    for depth in range(300, 1100, 7):
        deep = (nested[0] * depth + "1" + nested[1] * depth).encode()
        with contextlib.suppress(Unreadable):
            opened = unseal(HEADERS, BODY[:-1] + b',"data":' + deep + b"}")
            further_down(100, partial(write_and_read, opened.message))
            read.append(depth)
    assert 300 < max(read) < 700


def test_a_body_nested_too_deeply_is_unreadable() -> None:
    """Ten kilobytes of brackets must not stop a reader."""
    deep = b"[" * 5000 + b"]" * 5000
    with pytest.raises(Unreadable):
        unseal(HEADERS, BODY[:-1] + b',"data":' + deep + b"}")


@pytest.mark.parametrize("name", ["ce_type", "ce_expirytime", "traceparent"])
def test_a_null_header_stops_nobody(name: str) -> None:
    """Kafka allows a header without value, and aiokafka hands it out as None."""
    headers: Any = [*HEADERS, (name, None)]
    try:
        assert unseal(headers, BODY).message == EXECUTED
    except Unreadable:
        assert name == "ce_type"


_names = st.sampled_from([*TYPES, "twofold.x.v1", ""]).map(str.encode)
_bodies = (
    st.binary(max_size=60)
    | json_values.map(msgspec.json.encode)
    | st.dictionaries(
        st.sampled_from(["gid", "branch", "step", "attempt", "result", "vote", "input", "end"]),
        json_values,
    ).map(msgspec.json.encode)
)


@settings(max_examples=300, deadline=None)
@given(
    name=_names | st.binary(max_size=8),
    body=st.none() | _bodies,
    expiry=st.none() | st.binary(max_size=30) | st.datetimes().map(lambda d: f"{d}Z".encode()),
    trace=st.none() | st.binary(max_size=60),
)
def test_a_record_is_read_or_unreadable(
    name: bytes, body: bytes | None, expiry: bytes | None, trace: bytes | None
) -> None:
    """Nothing that a stranger can write raises anything else."""
    headers = [("ce_type", name)]
    headers += [("ce_expirytime", expiry)] if expiry is not None else []
    headers += [("traceparent", trace)] if trace is not None else []
    with contextlib.suppress(Unreadable):
        assert isinstance(unseal(headers, body), Envelope)


# ── identity ─────────────────────────────────────────────────────────────────

DISTINCT: list[Any] = [
    Begin(definition="d", key="g", input={}),
    Begin(definition="d", key="h", input={}),
    *[Prepare(gid="g", branch=b, command="c", data=1) for b in "ab"],
    *[kind(gid="g", branch=b) for kind in (Commit, Rollback) for b in "ab"],
    Inquired(gid="g", branch="a", participant="p"),
    *[Voted(gid="g", branch=b, vote=vote) for b in "ab" for vote in Vote],
    *[Settled(gid="g", branch="a", end=end) for end in End],
    *[Execute(gid="g", step="a", attempt=n, command="c", data=1) for n in (1, 2)],
    *[Executed(gid="g", step="a", attempt=n, result=r) for n in (1, 2) for r in Result],
    *[Compensated(gid="g", step="a", attempt=n, result=r) for n in (1, 2) for r in Result],
    Outcome(gid="g", definition="d", version=1, key="k", outcome="COMMITTED"),
    Outcome(gid="h", definition="d", version=1, key="k", outcome="COMMITTED"),
    *[
        Heartbeat(participant=p, instance=i, beat=n, started=NOON, group="g")
        for p in "pq"
        for i in "ij"
        for n in (1, 2)
    ],
    *[
        Mark(shard=s, generation=g, requests=r, replies=1)
        for s in (0, 1)
        for g in (0, 1)
        for r in (0, 1)
    ],
]


def test_different_sayings_have_different_ids() -> None:
    """Whoever drops what it has seen drops nothing new."""
    assert len({ce_id(message) for message in DISTINCT}) == len(DISTINCT)


def test_a_second_outcome_is_another_saying() -> None:
    """A parked transaction that is resolved, or a broken promise, is no repeat."""
    outcomes = [
        Outcome(gid="g", definition="d", version=1, key="k", outcome=outcome)
        for outcome in ("COMMITTED", "HEURISTIC_MIXED", "PARKED")
    ]

    assert len({ce_id(message) for message in outcomes}) == 3


@FAST
@given(message=messages)
def test_a_repetition_has_the_same_id(message: Any) -> None:
    """It is a function of the message, whatever travels around it."""
    assert sealed(message).headers == sealed(message).headers
    assert ce_id(message) == dict(sealed(message, deadline_us=1).headers)["ce_id"]


# ── other people's eyes ──────────────────────────────────────────────────────


@FAST
@given(message=messages.filter(lambda m: bool(envelope.subject(m))))
def test_a_record_is_a_cloud_event_to_others(message: Any) -> None:
    """The official library finds type, source, subject, id and data where they belong."""
    record = sealed(message, deadline_us=1_000_000)
    assert record.value is not None
    found = dict(record.headers)
    event: Any = from_binary_event(
        KafkaMessage(headers=found, key=record.key, value=record.value), JSONFormat()
    )

    assert event.get_specversion() == "1.0"
    assert TYPES[event.get_type()] is type(message)
    assert event.get_source() == "/twofold/test"
    assert event.get_subject() == envelope.subject(message)
    assert event.get_id() == ce_id(message).decode()
    assert event.get_datacontenttype() == "application/json"
    assert event.get_extension("expirytime") == "1970-01-01T00:00:01Z"
    assert event.get_data() == msgspec.json.decode(record.value)


@pytest.mark.parametrize("name", sorted(TYPES.keys() - {"twofold.begin.v1"}))
def test_the_page_for_other_languages_has_every_field(name: str) -> None:
    """docs/wire-protocol.md is all they have; a start is made by our own tools."""
    page = (Path(__file__).parents[3] / "docs" / "wire-protocol.md").read_text()
    said = " ".join(line for line in page.splitlines() if f"`{name}`" in line)

    missing = [field for field in TYPES[name].__struct_fields__ if f"`{field}`" not in said]
    assert not missing
