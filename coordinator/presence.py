"""Who lives, as far as can be heard. A hint: nothing that has begun depends on it.

Participants beat on a topic, once a second; coordinators beat in the log's
database. Both are judged by how long they have been silent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from wire.envelope import Unreadable, unseal
from wire.kafka import Received, ShardReader, partition_counts
from wire.messages import Heartbeat

BEAT_US: Final = 1_000_000
"""How often a participant beats."""

SUSPECT_AFTER_BEATS: Final = 2.5
"""Two are missed, and not merely late."""

GONE_US: Final = 3_000_000
"""As long as a lease: who is gone here has lost its shards there."""

LISTEN_MS: Final = 200
LISTEN_LIMIT: Final = 1000


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


def beats(records: Iterable[Received]) -> Iterator[Heartbeat]:
    """Read signs of life. What cannot be read is skipped: it would be out of date soon."""
    for record in records:
        try:
            message = unseal(record.headers, record.value).message
        except Unreadable:
            continue
        if isinstance(message, Heartbeat):
            yield message


class Sign(NamedTuple):
    """The last that was heard of one instance of a participant."""

    beat: Heartbeat
    at_us: int


class Signs:
    """The last sign of each instance, whatever the order in which they come."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], Sign] = {}

    def hear(self, records: Iterable[Received]) -> None:
        """Take in records of the topic of heartbeats."""
        for record in records:
            for beat in beats([record]):
                place = (beat.participant, beat.instance)
                last = self._last.get(place)
                if last is None or last.beat.beat < beat.beat:
                    self._last[place] = Sign(beat, record.timestamp_ms * 1000)

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


class Presence:
    """Which participants live, as heard by one process that listens all the time.

    It goes by when signs come in, and by no server's clock. Silence counts only
    while it listens: after a pause of its own it has to listen for a whole
    period again before it calls anybody absent.
    """

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self._clock_us = clock_us
        self._heard_us: dict[tuple[str, str], int] = {}
        self._since_us = clock_us()
        self._until_us = self._since_us - BEAT_US  # it has not listened yet

    def hear(self, beats: Iterable[Heartbeat]) -> None:
        """Take in all that has come up to now, which may be nothing."""
        now_us = self._clock_us()
        if now_us - self._until_us >= BEAT_US:
            self._since_us = now_us
        self._until_us = now_us
        for beat in beats:
            place = (beat.participant, beat.instance)
            if beat.leaving:
                self._heard_us.pop(place, None)
            else:
                self._heard_us[place] = now_us
        self._heard_us = {
            place: at_us for place, at_us in self._heard_us.items() if now_us - at_us < GONE_US
        }

    def be_deaf(self) -> None:
        """Note that signs have not come though they are there: silence means nothing."""
        self._since_us = self._until_us = self._clock_us()

    def unheard(self, participants: Iterable[str]) -> list[str]:
        """Name those of whom no instance is known to live, be it that nobody listened."""
        return sorted(set(participants) - {name for name, _ in self._heard_us})

    def absent(self, participants: Iterable[str]) -> list[str]:
        """Name those of whom no instance lives, if it was listened for long enough to know."""
        listened_us = self._until_us - self._since_us
        if listened_us < GONE_US or self._clock_us() - self._until_us >= BEAT_US:
            return []
        return self.unheard(participants)


async def listen(
    bootstrap: str,
    topic: str,
    presence: Presence,
    stop: asyncio.Event,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Hear who lives, until told to stop; ``begun`` is called once there is something to hear.

    Raises:
        KafkaUnavailable: Kafka was lost.

    """
    async with ShardReader(bootstrap) as reader:
        count = (await partition_counts(bootstrap, [topic])).get(topic, 0)
        reader.assign(await reader.ends([(topic, n) for n in range(count)]))
        begun()
        heard_at = time.monotonic()
        while not stop.is_set():
            found = await reader.poll(wait_ms=LISTEN_MS, limit=LISTEN_LIMIT)
            if found:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > BEAT_US / 1_000_000:
                heard_at = time.monotonic()
                if await reader.is_behind():
                    presence.be_deaf()
            presence.hear(beats(found))
