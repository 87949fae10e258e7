"""`twofold serve`: a coordinator, its signals and its logs."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import structlog
import uvloop

from coordinator.cli.reach import settings
from coordinator.config import Config
from coordinator.service import new_replica
from coordinator.service import serve as coordinate
from coordinator.telemetry.watcher import make_watcher


def serve(file: Path | None, definitions: Sequence[Path] | None) -> None:
    """Coordinate until a signal says stop."""
    given = {"definitions": tuple(definitions)} if definitions else {}
    config = settings(file, **given)
    set_up_logs(sys.stderr)
    gc.freeze()  # what was imported stays, and each full collection would walk it
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config))


async def _serve(config: Config) -> None:
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)  # asked twice: at once, as a crash would
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    replica = new_replica()
    watcher = make_watcher(config.traces.per_second, replica)
    try:
        await coordinate(config, stop, watcher, replica)
    finally:
        watcher.close()


def set_up_logs(stream: TextIO) -> None:
    """Write one line an event: JSON, or readable where a person is watching.

    What libraries log by the standard module takes the same way.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        # A traceback with local variables would show what is in a transaction.
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if stream.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # It logs as errors what it mends by itself, such as a group that has no
    # coordinator yet; what it cannot mend comes to us as an exception.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
