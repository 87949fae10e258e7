"""What leaves a turn, as records: messages to where they belong, and what could not be read."""

from __future__ import annotations

from coordinator.core.transition import Send
from coordinator.locks import shard_of
from coordinator.setting import Setting
from coordinator.telemetry import identity
from wire.envelope import Envelope, Record, bury, seal
from wire.kafka import Received
from wire.messages import Begin


def sealed(setting: Setting, send: Send, root: str | None) -> Record:
    """Seal a message for whom it is for. ``root`` is the traceparent of its transaction."""
    message, topics = send.message, setting.topics
    trace = identity.child(root, message.gid, message) if root else None
    shard = shard_of(message, setting.facts)
    if shard is not None:
        topic = topics.replies
    else:
        told = send.participant is None
        topic = topics.outcomes if told else topics.commands(send.participant or "")
    return seal(
        Envelope(message, trace, send.deadline_us, setting.facts.generation),
        topic=topic,
        source=f"/twofold/{setting.facts.name}",
        key=send.key,
        partition=shard,
    )


def buried(setting: Setting, received: Received, envelope: Envelope | None, reason: str) -> Record:
    """Seal what made no sense as a dead letter; without its value, if not everyone may see it."""
    begin = envelope.message if envelope is not None else None
    definition = setting.definitions.newest(begin.definition) if isinstance(begin, Begin) else None
    return bury(
        grave=setting.topics.dead_letters,
        origin=f"{received.topic}/{received.partition}/{received.offset}",
        reason=reason,
        key=received.key,
        value=received.value,
        headers=received.headers,
        private=definition is not None and definition.private is not None,
    )
