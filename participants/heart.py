"""A participant's heartbeat: that it lives, and how much waits for it.

The beats of an instance are numbered through all its sessions with Kafka, so
that a record that is sent again is recognisable as such.
"""

from __future__ import annotations

import itertools
import os
import secrets
import socket
from datetime import UTC, datetime
from typing import Final, NamedTuple

from wire.messages import Heartbeat

BEAT_S: Final = 1.0

STALLED_BEATS: Final = 30
"""Beats in which the reader has not turned once, before the session is given up."""


class Load(NamedTuple):
    """What a participant has before it, and how much it can bear."""

    steps_waiting: int
    prepares_waiting: int
    branches_held: int
    held_limit: int
    slots: int


class Heart:
    """Beats for one process."""

    def __init__(self, group: str) -> None:
        self.instance = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self.group = group
        self._started = datetime.now(UTC)
        self._beats = itertools.count(1)

    def beat(self, participant: str, load: Load, *, leaving: bool) -> Heartbeat:
        """Say that a participant lives here, or that it leaves."""
        return Heartbeat(
            participant=participant,
            instance=self.instance,
            beat=next(self._beats),
            started=self._started,
            group=self.group,
            leaving=leaving,
            **load._asdict(),
        )
