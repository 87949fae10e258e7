"""Forgetting what has ended, little by little, beside the work.

The newest version of a definition says how long a transaction is kept, once
it has ended. Whatever goes wrong here goes wrong for nobody else: it is said,
and tried again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from coordinator.clock import Clock
from coordinator.definitions import Definitions
from coordinator.log.store import DecisionLog, LogUnavailable

logger = structlog.get_logger(__name__)

BATCH: Final = 500
"""Transactions at once: some milliseconds of one connection."""

PAUSE_S: Final = 0.05
"""Between two batches: faster than anybody ends transactions, and hardly felt."""

REST_S: Final = 5.0


async def purge(
    log: DecisionLog, definitions: Definitions, clock: Clock, stop: asyncio.Event
) -> None:
    """Forget what may be forgotten, until told to stop."""
    while not stop.is_set():
        gone = 0
        try:
            await definitions.refresh(log)
            gone = await log.purge(definitions.kept_us(), clock.now_us(), BATCH)
        except LogUnavailable as error:
            logger.warning("purge_failed", reason=str(error))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PAUSE_S if gone == BATCH else REST_S)
