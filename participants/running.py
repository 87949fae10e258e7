"""Starting a worker, and stopping it on SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable

import structlog
import uvloop

from participants.app import Participant
from participants.settings import Settings
from participants.worker import Worker


def run(
    *participants: Participant,
    kafka: str | None = None,
    postgres: str | None = None,
    group: str | None = None,
    migrate: bool = True,
) -> None:
    """Serve participants until SIGINT or SIGTERM.

    What is not given is taken from the environment: TWOFOLD_KAFKA__BOOTSTRAP,
    TWOFOLD_PG_DSN. With ``migrate``, tables that are missing are created.

    Raises:
        NotReady: a database lacks something.

    """
    settings = Settings.from_environment(bootstrap=kafka, postgres=postgres, group=group)
    set_up_logging()
    flush_traces = _set_up_traces([participant.name for participant in participants])
    gc.freeze()  # what was imported stays, and each full collection would walk it
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(participants, settings, migrate=migrate))
    finally:
        flush_traces()


async def _serve(
    participants: tuple[Participant, ...], settings: Settings, *, migrate: bool
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await Worker(participants, settings, migrate=migrate).run(stop)


def set_up_logging() -> None:
    """Log JSON lines on stderr, unless the service has set structlog up by itself."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # we say what matters
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _set_up_traces(names: list[str]) -> Callable[[], None]:
    """Export spans where OTEL_EXPORTER_OTLP_ENDPOINT says, if it says anything."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return lambda: None
    from opentelemetry import trace  # noqa: PLC0415  # slow to load, and rarely wanted
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    service = os.environ.get("OTEL_SERVICE_NAME", "+".join(sorted(names)))
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown
