"""What a dead letter says of itself, and how it is put back. Pure."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from coordinator.cli import plain
from sagas.document import duration_us
from wire.envelope import CUT, GRAVE, MAX_BODY_BYTES, ORIGIN, REASON, REPLAYED, Record
from wire.kafka import Received

ROW: Final = 16
"""Bytes in one line of a body that is no text."""

SHOWN: Final = 4096
"""How much of a body is shown to a person."""


class Address(NamedTuple):
    """Where a record is, or was."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def address(text: str) -> Address | None:
    """Read TOPIC/PARTITION/OFFSET."""
    topic, _, rest = text.partition("/")
    partition, _, offset = rest.partition("/")
    numbers = (partition, offset)
    if not topic or not all(n.isascii() and n.isdigit() and len(n) < 19 for n in numbers):  # noqa: PLR2004  # Kafka's numbers have 64 bits
        return None
    return Address(topic, int(partition), int(offset))


class Letter(NamedTuple):
    """A dead letter."""

    place: Address
    at_us: int
    origin: Address | None
    reason: str
    cut: str
    """What of it was cut when it was buried."""
    key: bytes | None
    value: bytes | None
    size: int | None
    """Of its value; None if that was null."""
    headers: Sequence[tuple[str, bytes]]
    """Its own, from before it was buried."""

    @property
    def address(self) -> Address:
        """The name by which people know it."""
        return self.origin or self.place

    @property
    def replays(self) -> list[str]:
        """The dead letters that were put back as this one, the first one first."""
        return [_text(value) for name, value in self.headers if name == REPLAYED]


def letter(received: Received) -> Letter:
    """Read a record of the dead-letter topic. Anybody may have written it."""
    said = {name: _text(value) for name, value in received.headers if name in GRAVE}
    return Letter(
        Address(received.topic, received.partition, received.offset),
        received.timestamp_ms * 1000,
        address(said.get(ORIGIN, "")),
        said.get(REASON, ""),
        said.get(CUT, ""),
        received.key,
        received.value,
        len(received.value) if received.value is not None else None,
        [(name, value or b"") for name, value in received.headers if name not in GRAVE],
    )


# ── which ────────────────────────────────────────────────────────────────────


class Query(NamedTuple):
    """What is looked for."""

    reason: str | None = None
    topic: str | None = None
    since_us: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether it would match everything."""
        return self == Query()

    def matches(self, one: Letter) -> bool:
        """Tell whether a letter is meant."""
        return (
            (self.reason is None or self.reason.casefold() in one.reason.casefold())
            and (self.topic is None or (one.origin is not None and one.origin.topic == self.topic))
            and (self.since_us is None or one.at_us >= self.since_us)
        )


def moment_us(text: str, now_us: int) -> int:
    """Read a time: RFC 3339, or how long ago.

    Raises:
        ValueError: it is neither.

    """
    try:
        return now_us - duration_us(text)
    except ValueError:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError("it has no time zone") from None
        return round(at.timestamp() * 1_000_000)


class Choice:
    """Chooses what is to be put back: each record once, and none that has been put back since.

    A record can be buried twice. One that was put back in vain is a letter of
    its own, which names those before it.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._before: set[str] = set()
        self._chosen: dict[Address, Letter] = {}

    def see(self, one: Letter) -> None:
        """Look at one letter. They come the newest first."""
        self._before |= set(one.replays)
        if self._query.matches(one) and str(one.place) not in self._before:
            self._chosen.setdefault(one.address, one)

    @property
    def letters(self) -> list[Letter]:
        """Return those that were chosen, the newest first."""
        return list(self._chosen.values())


# ── put back ─────────────────────────────────────────────────────────────────


def obstacle(one: Letter, partitions: int) -> str:
    """Tell why a letter cannot be put back; nothing if it can. ``partitions``: of its topic."""
    if one.origin is None:
        return "it does not say where it comes from"
    if one.cut:
        return f"it was too large to be buried whole: {one.cut} cut"
    if one.origin.partition >= partitions:
        return f"there is no {one.origin.topic}/{one.origin.partition} any more"
    return ""


def back(one: Letter) -> Record:
    """Write the original record, to where it was, with a mark that says so."""
    assert one.origin is not None
    headers = [*one.headers, (REPLAYED, str(one.place).encode())]
    return Record(one.origin.topic, one.key, one.value, headers, one.origin.partition)


# ── how it looks ─────────────────────────────────────────────────────────────


def body_lines(value: bytes | None) -> list[str]:
    """Write a body for a person: JSON, text, or bytes."""
    if value is None:
        return ["(null)"]
    parsed, text = as_json_value(value), _strict_text(value)
    if parsed is not None:
        said = msgspec.json.format(msgspec.json.encode(parsed), indent=2).decode().splitlines()
    elif text is not None and all(c.isprintable() or c in "\n\t" for c in text):
        said = text.splitlines() or ["(empty)"]
    else:
        return [*_hex(value[:SHOWN]), *_rest(len(value) - SHOWN, "bytes")]
    lines: list[str] = []
    room = SHOWN
    for line in said:
        if room <= 0:
            break
        lines.append(line[:room])
        room -= len(line) + 1
    return [*lines, *_rest(-room, "characters, at least")]


def _rest(length: int, unit: str) -> list[str]:
    return [f"… {length} {unit} more: `-o json` shows all"] if length > 0 else []


def _hex(value: bytes) -> list[str]:
    lines: list[str] = []
    for start in range(0, len(value), ROW):
        row = value[start : start + ROW]
        seen = "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in row)  # noqa: PLR2004  # ASCII
        lines.append(f"{start:06x}  {row.hex(' '):{3 * ROW}} {seen}")
    return lines


def as_json_value(value: bytes | None) -> Any:
    """Read a body as JSON; None if it is none."""
    if value is None or len(value) > MAX_BODY_BYTES:
        return None
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def as_json(one: Letter, *, whole: bool) -> dict[str, Any]:
    """Write a letter for a program; ``whole`` is with its headers and body."""
    said: dict[str, Any] = {
        "address": str(one.place),
        "origin": str(one.origin) if one.origin is not None else None,
        "at": plain.moment(one.at_us),
        "reason": one.reason,
        "cut": one.cut.split(",") if one.cut else [],
        "key": _text(one.key) if one.key is not None else None,
        "size": one.size,
        "replays": one.replays,
    }
    if whole:
        said["headers"] = [{"name": name, "value": _text(value)} for name, value in one.headers]
        said["body"] = as_json_value(one.value)
        said["body_base64"] = base64.b64encode(one.value).decode() if one.value else None
    return said


def row(one: Letter) -> tuple[str, ...]:
    """Write a letter as a line of a table."""
    size = f"{one.size} B" if one.size is not None else "null"
    key = _text(one.key)[:40] if one.key is not None else ""
    again = str(len(one.replays)) if one.replays else ""
    return (plain.moment(one.at_us), str(one.address), size, again, key, one.reason)


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _strict_text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
