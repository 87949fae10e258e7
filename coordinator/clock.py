"""Time, as the log's database tells it.

Deadlines of one transaction are judged by several processes in turn, so all
take their time from the one clock that they share. Between two readings the
monotonic clock carries on: a jump of this machine's own clock changes nothing.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Anything that tells the time."""

    def now_us(self) -> int:
        """Microseconds since 1970."""
        ...


class LogClock:
    """The log's clock, as of the last reading."""

    def __init__(self) -> None:
        self._ahead_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000

    def now_us(self) -> int:
        return time.monotonic_ns() // 1000 + self._ahead_us

    def set(self, log_now_us: int) -> None:
        """Take a reading. It is late by the way it travelled; nobody's deadline is that close."""
        self._ahead_us = log_now_us - time.monotonic_ns() // 1000
