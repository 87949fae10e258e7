"""Who lives, as far as can be heard. A hint: nothing that has begun depends on it.

Participants beat on a topic, once a second; coordinators beat in the log's
database. Both are judged by how long they have been silent.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from wire.envelope import Unreadable, unseal
from wire.kafka import Received
from wire.messages import Heartbeat

BEAT_US: Final = 1_000_000
"""How often a participant beats."""

SUSPECT_AFTER_BEATS: Final = 2.5
"""Two are missed, and not merely late."""

GONE_US: Final = 3_000_000
"""As long as a lease: who is gone here has lost its shards there."""


class Life(StrEnum):
    """What a silence means."""

    ALIVE = "alive"
    SUSPECTED = "suspected"
    GONE = "gone"


def judge(silent_us: int, beat_us: int) -> Life:
    """Tell what it means to have been silent for so long."""
    if silent_us >= GONE_US:
        return Life.GONE
    return Life.SUSPECTED if silent_us > SUSPECT_AFTER_BEATS * beat_us else Life.ALIVE


class Sign(NamedTuple):
    """The last that was heard of one instance of a participant."""

    beat: Heartbeat
    at_us: int


class Signs:
    """The last sign of each instance, whatever the order in which they come."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], Sign] = {}

    def hear(self, records: Iterable[Received]) -> None:
        """Take in records of the topic of heartbeats. What cannot be read is skipped."""
        for record in records:
            try:
                beat = unseal(record.headers, record.value).message
            except Unreadable:
                continue
            if isinstance(beat, Heartbeat):
                self.note(beat, record.timestamp_ms * 1000)

    def note(self, beat: Heartbeat, at_us: int) -> None:
        """Take in one sign."""
        place = (beat.participant, beat.instance)
        last = self._last.get(place)
        if last is None or last.beat.beat < beat.beat:
            self._last[place] = Sign(beat, at_us)

    def of(self, participant: str) -> list[Sign]:
        """Return what was last heard of a participant's instances, the oldest instance first."""
        found = [sign for (name, _), sign in self._last.items() if name == participant]
        return sorted(found, key=lambda sign: (sign.beat.started, sign.beat.instance))

    @property
    def participants(self) -> set[str]:
        """Whoever was heard of."""
        return {name for name, _ in self._last}

    @property
    def newest_us(self) -> int:
        """When the last sign came, whoever's it was."""
        return max((sign.at_us for sign in self._last.values()), default=0)
