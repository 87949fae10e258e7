"""Clients of Kafka that are being closed, which may take longer than anybody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import structlog

logger = structlog.get_logger(__name__)

CLOSE_S: Final = 5.0

CLOSING: Final[set[asyncio.Future[None]]] = set()
"""Clients that are being closed; the event loop alone would let go of them."""


async def close(closing: Coroutine[Any, Any, None]) -> None:
    """Close a client of aiokafka.

    One that is closed while it backs off raises its own cancellation, which
    would look like ours; one whose broker is gone takes its time. It is not
    waited for any longer then, but neither is it cancelled: half closed, it
    would keep its connections, and go on reading, for as long as we live.
    """
    task = asyncio.ensure_future(closing)
    CLOSING.add(task)
    task.add_done_callback(_closed)
    await asyncio.wait({task}, timeout=CLOSE_S)


def _closed(task: asyncio.Future[None]) -> None:
    CLOSING.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("kafka_client_not_closed", reason=repr(error))
