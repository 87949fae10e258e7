"""Spans of commands: the participant's part of a transaction's trace.

Only the OpenTelemetry API is used here, so without an SDK nothing happens;
and what the coordinator did not sample costs one comparison. The names are
those of the semantic conventions for messaging, all in this module, since
they may still change
(https://opentelemetry.io/docs/specs/semconv/messaging/kafka/).
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from wire.kafka import Received
from wire.messages import Command, Compensate, Execute

_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED: Final = 0x01
_ERRORS: Final = frozenset({"failed", "hazard"})

_tracer = trace.get_tracer("twofold.participants")


class Processing:
    """The span of one command, from when it is taken up to when it is answered."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def active(self) -> AbstractContextManager[Any]:
        """Make spans of the handler children of this one."""
        return trace.use_span(self._span, end_on_exit=False)

    def end(self, result: str, reason: str = "") -> None:
        """Close it with what was answered."""
        self._span.set_attribute("twofold.result", result)
        if result in _ERRORS:
            self._span.set_attribute("error.type", result)
            self._span.set_status(Status(StatusCode.ERROR, reason))
        self._span.end()


def begin(
    record: Received, message: Command, traceparent: str | None, *, group: str
) -> Processing | None:
    """Open the span of a command, if its trace is sampled."""
    if traceparent is None or traceparent.endswith("-00"):
        return None
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None or not int(match[3], 16) & _SAMPLED:
        return None
    parent = SpanContext(
        int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(_SAMPLED)
    )
    span = _tracer.start_span(
        f"process {record.topic}",
        context=trace.set_span_in_context(NonRecordingSpan(parent)),
        kind=SpanKind.CONSUMER,
        attributes=_attributes(record, message, group),
    )
    return Processing(span)


def active(processing: Processing | None) -> AbstractContextManager[Any]:
    """Make a command's span the current one, if it has one."""
    return nullcontext() if processing is None else processing.active()


def _attributes(record: Received, message: Command, group: str) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
        "messaging.consumer.group.name": group,
        "messaging.message.conversation_id": message.gid,
        "twofold.txn.id": message.gid,
        "twofold.command": type(message).__name__.lower(),
    }
    for name, value in record.headers:
        if name == "ce_id":
            found["messaging.message.id"] = value.decode("utf-8", "replace")
    if isinstance(message, Execute | Compensate):
        found["twofold.step.id"] = message.step
        found["twofold.attempt"] = message.attempt
    else:
        found["twofold.branch.id"] = message.branch
    return found
