"""Spans → OpenTelemetry, over OTLP/HTTP, in the background.

Nothing here can hold up the engine: a span that cannot be delivered is
dropped. Where spans go is said by OTEL_EXPORTER_OTLP_ENDPOINT
(https://opentelemetry.io/docs/specs/otel/protocol/exporter/).
"""

from __future__ import annotations

import logging
import os
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from coordinator.telemetry import attributes as a
from coordinator.telemetry.spans import SpanFacts
from coordinator.telemetry.spans import SpanKind as Kind

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_SCOPE: Final = InstrumentationScope("twofold")
_KINDS: Final = {Kind.INTERNAL: SpanKind.INTERNAL, Kind.PRODUCER: SpanKind.PRODUCER}
FLUSH_MS: Final = 2_000


def is_wanted() -> bool:
    """Tell whether anybody has said where spans should go."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(os.environ.get(name) for name in names)


class Exporter:
    """Hands spans to OpenTelemetry's batch processor."""

    def __init__(self, instance: str, exporter: SpanExporter | None = None) -> None:
        # It logs each failed delivery with a traceback; traces are an addition.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._processor = BatchSpanProcessor(
            exporter or OTLPSpanExporter(timeout=5), schedule_delay_millis=200
        )
        self._resource = Resource.create(
            {"service.name": a.SERVICE, "service.instance.id": instance}
        )

    def export(self, facts: SpanFacts) -> None:
        """Queue one span."""
        self._processor.on_end(self._readable(facts))

    def close(self) -> None:
        """Deliver what is queued, in bounded time."""
        self._processor.force_flush(FLUSH_MS)
        self._processor.shutdown()

    def _readable(self, facts: SpanFacts) -> ReadableSpan:
        trace = int(facts.trace, 16)
        parent = None
        if facts.parent:
            parent = SpanContext(trace, int(facts.parent, 16), is_remote=True, trace_flags=_SAMPLED)
        status = Status(StatusCode.ERROR, facts.error) if facts.error else Status()
        said = {**facts.attributes, **({a.ERROR_TYPE: facts.error} if facts.error else {})}
        return ReadableSpan(
            name=facts.name,
            context=SpanContext(trace, int(facts.span, 16), is_remote=False, trace_flags=_SAMPLED),
            parent=parent,
            resource=self._resource,
            attributes=said,
            kind=_KINDS[facts.kind],
            instrumentation_scope=_SCOPE,
            status=status,
            start_time=facts.start_us * 1000,
            end_time=facts.end_us * 1000,
        )
