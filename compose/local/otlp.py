"""An OTLP/HTTP receiver in this process: for tests, and where there is no Jaeger.

It takes what exporters send (https://opentelemetry.io/docs/specs/otlp/#otlphttp),
keeps the spans in memory, and listens on the loopback address only.
"""

import gzip
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from compose.local.ports import LOOPBACK


class Seen(NamedTuple):
    """A span as it arrived. Ids are hexadecimal; a span without parent has none."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    is_error: bool


class Receiver:
    """A running receiver; `spans` grows while it runs."""

    def __init__(self, server: ThreadingHTTPServer, spans: list[Seen]) -> None:
        self._server, self._spans = server, spans
        self._arrived = threading.Condition()

    @classmethod
    def start(cls) -> Self:
        """Listen on a free port."""
        spans: list[Seen] = []
        receiver: list[Self] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the library's name
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver[0].take(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Say nothing."""
                del code, size

        receiver.append(cls(ThreadingHTTPServer((LOOPBACK, 0), Handler), spans))
        threading.Thread(target=receiver[0].serve, daemon=True).start()
        return receiver[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_port}"

    def serve(self) -> None:
        """Answer requests until stopped."""
        self._server.serve_forever(poll_interval=0.1)

    def take(self, body: bytes) -> None:
        """Keep the spans of one request."""
        request: Any = ExportTraceServiceRequest.FromString(body)
        with self._arrived:
            for group in request.resource_spans:
                resource = _plain(group.resource.attributes)
                for scope in group.scope_spans:
                    self._spans.extend(_seen(span, resource) for span in scope.spans)
            self._arrived.notify_all()

    def trace(self, trace: str) -> list[Seen]:
        """Return what has arrived of a trace."""
        with self._arrived:
            return [span for span in self._spans if span.trace == trace]

    def wait_for(self, enough: Callable[[list[Seen]], bool], *, seconds: float) -> bool:
        """Wait until what has arrived is enough."""
        with self._arrived:
            return self._arrived.wait_for(lambda: enough(self._spans), seconds)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def tree(spans: list[Seen]) -> list[str]:
    """Draw a trace: children under their parents, in order of time, each with its duration."""
    known = {span.span for span in spans}
    children: dict[str, list[Seen]] = {}
    for span in sorted(spans, key=lambda one: one.start_ns):
        children.setdefault(span.parent if span.parent in known else "", []).append(span)
    began = min((span.start_ns for span in spans), default=0)
    lines: list[str] = []

    def draw(parent: str, depth: int) -> None:
        for span in children.get(parent, ()):
            start_ms = (span.start_ns - began) / 1e6
            took_ms = (span.end_ns - span.start_ns) / 1e6
            mark = " ✗" if span.is_error else ""
            name = f"{'  ' * depth}{span.name}{mark}"
            lines.append(f"{name:<40} +{start_ms:8.1f} ms {took_ms:8.1f} ms  {span.service}")
            draw(span.span, depth + 1)

    draw("", 0)
    return lines


def from_jaeger(answer: Any) -> list[Seen]:
    """Read what Jaeger's query API answers for one trace."""
    found = answer["data"][0]
    services = {name: one["serviceName"] for name, one in found["processes"].items()}
    return [_from_jaeger(span, services[span["processID"]]) for span in found["spans"]]


def _from_jaeger(span: Any, service: str) -> Seen:
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    parents = [one["spanID"] for one in span["references"] if one["refType"] == "CHILD_OF"]
    start_ns = span["startTime"] * 1000
    return Seen(
        service,
        span["operationName"],
        span["traceID"],
        span["spanID"],
        parents[0] if parents else "",
        0,
        start_ns,
        start_ns + span["duration"] * 1000,
        tags,
        {},
        bool(tags.get("error")),
    )


def _seen(span: Any, resource: dict[str, Any]) -> Seen:
    return Seen(
        str(resource.get("service.name", "")),
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _plain(span.attributes),
        resource,
        span.status.code == 2,  # noqa: PLR2004  # STATUS_CODE_ERROR
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
