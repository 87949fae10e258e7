"""Topics of yours, read as definitions want them: what triggers and letter box have in common.

An ordinary consumer group reads what is wanted now, and joins anew when that
changes. Its offset moves on once a turn is done: an event may be taken twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
import structlog

from wire.envelope import MAX_BODY_BYTES, Record, bury, is_too_deep
from wire.kafka import GroupReader, Place, Received

logger = structlog.get_logger(__name__)

LIMIT: Final = 500
WAIT_MS: Final = 500
STRUCTURED: Final = b"application/cloudevents+json"


class NotAnEvent(Exception):
    """A record that no definition can make anything of; the text says why."""


async def listen(
    bootstrap: str,
    group: str,
    wanted: Callable[[], Awaitable[frozenset[str]]],
    turn: Callable[[GroupReader], Awaitable[None]],
    stop: asyncio.Event,
) -> None:
    """Take turns with a reader of the topics that are wanted, until told to stop.

    Raises:
        KafkaUnavailable: it cannot be read. What `wanted` and `turn` raise passes.

    """
    reader: GroupReader | None = None
    read: frozenset[str] = frozenset()
    try:
        while not stop.is_set():
            topics = await wanted()
            if topics != read:
                if reader is not None:
                    await reader.stop()
                reader, read = await _join(bootstrap, group, topics), topics
            if reader is None:
                await _pause(stop)
                continue
            await turn(reader)
    finally:
        if reader is not None:
            await reader.stop()


async def _join(bootstrap: str, group: str, topics: frozenset[str]) -> GroupReader | None:
    if not topics:
        return None
    reader = GroupReader(bootstrap, topics, group=group)
    await reader.start()
    logger.info("listening", group=group, topics=sorted(topics))
    return reader


async def _pause(stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), WAIT_MS / 1000)
    except TimeoutError:
        return


async def move_past(reader: GroupReader, received: Iterable[Received]) -> None:
    """Let the group's offsets stand behind these records."""
    offsets: dict[Place, int] = {}
    for event in received:
        place = (event.topic, event.partition)
        offsets[place] = max(offsets.get(place, 0), event.offset + 1)
    await reader.commit(offsets)


def bury_event(event: Received, reason: str, *, grave: str, private: bool) -> Record:
    """Make a dead letter of an event; without its body, if that is not for everyone."""
    logger.warning("event_buried", topic=event.topic, offset=event.offset, reason=reason)
    return bury(
        grave=grave,
        origin=f"{event.topic}/{event.partition}/{event.offset}",
        reason=reason,
        key=event.key,
        value=event.value,
        headers=event.headers,
        private=private,
    )


def event_body(event: Received) -> dict[str, Any]:
    """Read an event: JSON, or a CloudEvent in binary or structured mode.

    Raises:
        NotAnEvent: it is none of these, or no JSON object, or too large.

    """
    if event.value is None:
        raise NotAnEvent("the body is null")
    if len(event.value) > MAX_BODY_BYTES:
        raise NotAnEvent(f"the body has {len(event.value)} bytes, over {MAX_BODY_BYTES}")
    if is_too_deep(event.value):
        raise NotAnEvent("the body is nested too deeply")
    try:
        body: Any = msgspec.json.decode(event.value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotAnEvent(f"the body is not JSON: {error}") from error
    if _content_type(event.headers).startswith(STRUCTURED) and isinstance(body, dict):
        body = body.get("data")  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if not isinstance(body, dict):
        raise NotAnEvent("the body is not a JSON object")
    return body  # pyright: ignore[reportUnknownVariableType]


def _content_type(headers: Sequence[tuple[str, bytes]]) -> bytes:
    return next((value for name, value in headers if name.lower() == "content-type"), b"")
