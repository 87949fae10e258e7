"""Spans of commands: in the coordinator's trace, and only if it is sampled."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from participants import telemetry
from wire.kafka import Received
from wire.messages import Commit, Execute

GID = "tf1.test.1.0.00000000000000000000000000000001"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STEP = Execute(gid=GID, step="reserve", attempt=2, command="reserve", data=None)
RECORD = Received("stock.commands", 3, 17, None, b"", [("ce_id", b"execute/1")], 0)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("test"))
    return exporter


def test_a_sampled_command_has_a_span_under_its_coordinator_s(
    spans: InMemorySpanExporter,
) -> None:
    processing = telemetry.begin(RECORD, STEP, f"00-{TRACE}-{SPAN}-01", group="g")
    assert processing is not None
    with telemetry.active(processing):
        inside = trace.get_current_span().get_span_context()
    processing.end("failed", "why")

    (span,) = spans.get_finished_spans()
    assert span.name == "process stock.commands"
    assert span.kind is SpanKind.CONSUMER
    assert span.context is not None
    assert inside.span_id == span.context.span_id, "the handler's spans are its children"
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "stock.commands",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 17,
        "messaging.consumer.group.name": "g",
        "messaging.message.id": "execute/1",
        "messaging.message.conversation_id": GID,
        "twofold.txn.id": GID,
        "twofold.command": "execute",
        "twofold.step.id": "reserve",
        "twofold.attempt": 2,
        "twofold.result": "failed",
        "error.type": "failed",
    }


def test_a_refusal_is_no_error(spans: InMemorySpanExporter) -> None:
    processing = telemetry.begin(
        RECORD, Commit(gid=GID, branch="b"), f"00-{TRACE}-{SPAN}-01", group="g"
    )
    assert processing is not None
    processing.end("refused", "sold out")

    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})["twofold.branch.id"] == "b"


@pytest.mark.parametrize(
    "traceparent",
    [None, "", "nonsense", f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-02", f"00-{TRACE}-01"],
)
def test_what_is_not_sampled_has_none(spans: InMemorySpanExporter, traceparent: str | None) -> None:
    assert telemetry.begin(RECORD, STEP, traceparent, group="g") is None
    assert spans.get_finished_spans() == ()
