"""Messages as Kafka records: CloudEvents 1.0 in binary mode.

The body is the message as JSON; everything about the message is a header:

    ce_specversion, ce_type, ce_source, ce_id      required by CloudEvents
    ce_subject                                     the gid, the start key, or the instance
    ce_expirytime                                  when an answer is no longer waited for
    ce_generation                                  which life of the log speaks
    traceparent                                    W3C trace context
    content-type                                   application/json

(https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md)

``ce_id`` is a function of the message, so a record that is sent again is
recognisable as such. A record that cannot be read raises Unreadable; whoever
reads must pass it to the dead-letter topic and go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from wire.messages import (
    AnyMessage,
    Arrived,
    Begin,
    Commit,
    Compensate,
    Compensated,
    Execute,
    Executed,
    Heartbeat,
    Inquired,
    LockAsk,
    LockDenied,
    LockGranted,
    LockMessage,
    LockRelease,
    LockReleased,
    Mark,
    Order,
    Outcome,
    Prepare,
    Rollback,
    Settled,
    Voted,
)

MAX_BODY_BYTES: Final = 1_000_000
"""Kafka's own default limit of a record is 1 MiB; a larger message is refused at the sender."""

_HEADROOM: Final = 400
"""Levels of nesting. Python's limit to them is what calls have left of one for both, so what could
just be read could not be written a few calls further down, by whoever has the log to write."""

MAX_KEY_BYTES: Final = 1_000
MAX_BURIED_HEADER_BYTES: Final = 20_000

REASON: Final = "twofold-reason"
ORIGIN: Final = "twofold-origin"
CUT: Final = "twofold-cut"
GRAVE: Final = frozenset({REASON, ORIGIN, CUT})
"""The headers of a dead letter that were not its own."""

REPLAYED: Final = "twofold-replayed"
"""Stands on a record that was put back, once for each time, and names the dead letter."""

Headers = Sequence[tuple[str, bytes | None]]

TYPES: Final[dict[str, type[AnyMessage]]] = {
    "twofold.begin.v1": Begin,
    "twofold.order.v1": Order,
    "twofold.arrived.v1": Arrived,
    "twofold.prepare.v1": Prepare,
    "twofold.commit.v1": Commit,
    "twofold.rollback.v1": Rollback,
    "twofold.execute.v1": Execute,
    "twofold.compensate.v1": Compensate,
    "twofold.voted.v1": Voted,
    "twofold.settled.v1": Settled,
    "twofold.executed.v1": Executed,
    "twofold.compensated.v1": Compensated,
    "twofold.inquired.v1": Inquired,
    "twofold.outcome.v1": Outcome,
    "twofold.heartbeat.v1": Heartbeat,
    "twofold.mark.v1": Mark,
    "twofold.lock-ask.v1": LockAsk,
    "twofold.lock-granted.v1": LockGranted,
    "twofold.lock-denied.v1": LockDenied,
    "twofold.lock-release.v1": LockRelease,
    "twofold.lock-released.v1": LockReleased,
}


class _Type(NamedTuple):
    """A type of message, as headers name it: its header, and the first part of an id."""

    header: tuple[str, bytes]
    word: str


_TYPE_OF: Final = {
    cls: _Type(("ce_type", name.encode()), name.split(".")[1]) for name, cls in TYPES.items()
}
_NAMED: Final = {name.encode(): cls for name, cls in TYPES.items()}
_DECODERS: Final[dict[bytes | None, msgspec.json.Decoder[Any]]] = {
    name: msgspec.json.Decoder(cls) for name, cls in _NAMED.items()
}
_ENCODE: Final = msgspec.json.Encoder().encode
_CLOUD_EVENT: Final = ("ce_specversion", b"1.0")
_JSON: Final = ("content-type", b"application/json")


class Unreadable(Exception):
    """A record that is no message of ours; its text is the reason, for the dead-letter topic."""


class Envelope(msgspec.Struct, frozen=True):
    """A message with what travels around it."""

    message: AnyMessage
    traceparent: str | None = None
    deadline_us: int | None = None
    generation: int | None = None
    """Which life of its log a coordinator speaks for; None if it does not say."""


class Record(msgspec.Struct, frozen=True):
    """A Kafka record to be sent. Without a partition, Kafka's partitioner uses the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None = None


def identity(message: AnyMessage) -> str:
    """Name what is said, equal for every repetition of it."""
    match message:  # the most frequent first
        case Execute() | Compensate():
            return f"{message.gid}/{message.step}/{message.attempt}"
        case Executed() | Compensated():
            return f"{message.gid}/{message.step}/{message.attempt}/{message.result}"
        case Prepare() | Commit() | Rollback() | Inquired():
            return f"{message.gid}/{message.branch}"
        case Voted():
            return f"{message.gid}/{message.branch}/{message.vote}"
        case Settled():
            return f"{message.gid}/{message.branch}/{message.end}"
        case Outcome():
            return f"{message.gid}/{message.outcome}"
        case Begin():
            return f"{message.definition}/{message.key}"
        case Order():
            return f"{message.gid}/{message.id}"
        case _:
            return f"{subject(message)}/{_which(message)}"


def _which(message: Heartbeat | Mark | Arrived | LockMessage) -> str:
    match message:
        case Heartbeat():
            return str(message.beat)
        case Arrived():
            return f"{message.step}/{message.place}"
        case Mark():
            return f"{message.generation}/{message.requests}/{message.replies}"
        case _:
            return message.lock


def subject(message: AnyMessage) -> str:
    """Name what is spoken of: the transaction, the key of one to be, or who lives."""
    match message:
        case Begin():
            return message.key
        case Heartbeat():
            return f"{message.participant}/{message.instance}"
        case Mark():
            return str(message.shard)
        case _:
            return message.gid


def seal(
    envelope: Envelope, *, topic: str, source: str, key: str, partition: int | None = None
) -> Record:
    """Write a message as a record. ``source`` is a URI reference, e.g. /twofold/coordinator."""
    message = envelope.message
    header, word = _TYPE_OF[type(message)]
    headers = [
        _CLOUD_EVENT,
        header,
        ("ce_source", source.encode()),
        ("ce_id", f"{word}/{identity(message)}".encode()),
        ("ce_subject", subject(message).encode()),
        _JSON,
    ]
    if envelope.deadline_us is not None:
        headers.append(("ce_expirytime", _to_rfc3339(envelope.deadline_us)))
    if envelope.traceparent is not None:
        headers.append(("traceparent", envelope.traceparent.encode()))
    if envelope.generation is not None:
        headers.append(("ce_generation", str(envelope.generation).encode()))
    return Record(topic, key.encode(), _ENCODE(message), headers, partition)


def unseal(headers: Iterable[tuple[str, bytes | None]], body: bytes | None) -> Envelope:
    """Read a record.

    Raises:
        Unreadable: no type, an unknown type, no body, too large, or a body
            that does not fit its type.

    """
    found = dict(headers)
    decoder = _DECODERS.get(found.get("ce_type"))
    if decoder is None:
        name = _name(found)
        known = "it has no ce_type header" if not name else f"its ce_type {name!r} is unknown"
        raise Unreadable(f"not a message of ours: {known}")
    if body is None:
        raise Unreadable(f"{_name(found)}: the body is null")
    if len(body) > MAX_BODY_BYTES:
        raise Unreadable(f"{_name(found)}: the body has {len(body)} bytes, over {MAX_BODY_BYTES}")
    if is_too_deep(body):
        raise Unreadable(f"{_name(found)}: the body is nested too deeply")
    try:
        message = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # a ValidationError is one
        raise Unreadable(f"{_name(found)}: {error}") from error
    traceparent, expires = found.get("traceparent"), found.get("ce_expirytime")
    return Envelope(
        message,
        traceparent.decode("ascii", "replace") if traceparent else None,
        None if expires is None else _from_rfc3339(expires),
        _to_generation(found.get("ce_generation")),
    )


def is_too_deep(body: bytes) -> bool:
    """Tell whether a JSON text is nested more deeply than is safe to take in."""
    if body.count(b"[") + body.count(b"{") < _HEADROOM:
        return False
    try:
        msgspec.json.decode(b"[" * _HEADROOM + body + b"]" * _HEADROOM)
    except RecursionError:
        return True
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False  # whoever reads it says why
    return False


def type_of(headers: Iterable[tuple[str, bytes | None]]) -> type[AnyMessage] | None:
    """Tell what message a record says that it is, without reading it."""
    return _NAMED.get(dict(headers).get("ce_type") or b"")


def subject_of(headers: Iterable[tuple[str, bytes | None]]) -> str:
    """Tell of whom a record says that it speaks, without reading it; empty if it does not say."""
    return (dict(headers).get("ce_subject") or b"").decode("utf-8", "replace")


def _name(headers: dict[str, bytes | None]) -> str:
    return (headers.get("ce_type") or b"").decode("utf-8", "replace")


# What is sent in one burst mostly expires at one time.
@lru_cache(maxsize=256)
def _to_rfc3339(at_us: int) -> bytes:
    at = datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)
    return at.isoformat().replace("+00:00", "Z").encode()


@lru_cache(maxsize=256)
def _from_rfc3339(text: bytes) -> int:
    try:
        at = datetime.fromisoformat(text.decode("ascii"))
    except ValueError as error:
        raise Unreadable(f"ce_expirytime is not a time: {text!r}") from error
    if at.tzinfo is None:
        raise Unreadable(f"ce_expirytime has no time zone: {text!r}")
    whole = at.replace(microsecond=0)
    return int(whole.timestamp()) * 1_000_000 + at.microsecond


def _to_generation(text: bytes | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(rb"[1-9][0-9]{0,5}", text):
        raise Unreadable(f"ce_generation is no generation: {text[:20]!r}")
    return int(text)


def bury(
    *,
    grave: str,
    origin: str,
    reason: str,
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
    private: bool = False,
) -> Record:
    """Write a record that cannot be read to the dead-letter topic: as it came, and why.

    ``origin`` is topic/partition/offset, and leads to the whole of what is cut
    here: a body or headers so large that the topic would refuse them, and a
    body that is not for everyone. What was cut is named, since what is left
    must not be taken for the whole.
    """
    kept = [(name, text or b"") for name, text in headers if name not in GRAVE]
    cut: list[str] = []
    if sum(len(name) + len(text) for name, text in kept) > MAX_BURIED_HEADER_BYTES:
        kept, cut = [], ["headers"]
    if len(key or b"") > MAX_KEY_BYTES:
        cut.append("key")
    most = 0 if private else MAX_BODY_BYTES
    if len(value or b"") > most:
        cut.append("body")
    return Record(
        grave,
        key[:MAX_KEY_BYTES] if key is not None else None,
        value[:most] if value is not None else None,
        [
            *kept,
            (REASON, reason.encode("utf-8", "replace")[:2000]),
            (ORIGIN, origin.encode()),
            *([(CUT, ",".join(cut).encode())] if cut else []),
        ],
    )
