"""Who lives: what a silence means, and which sign is the last."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from coordinator.presence import BEAT_US, GONE_US, Life, Presence, Signs, judge
from wire.envelope import Envelope, seal
from wire.kafka import Received
from wire.messages import Commit, Heartbeat

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def beat(number: int, **told: Any) -> Heartbeat:
    """Make a sign of life."""
    given: dict[str, Any] = {
        "participant": "stock",
        "instance": "a",
        "started": NOON,
        "group": "g",
        **told,
    }
    return Heartbeat(beat=number, **given)


def received(message: Heartbeat | Commit, at_ms: int) -> Received:
    """Read it from its topic."""
    record = seal(Envelope(message), topic="t", source="/s", key="k")
    return Received("t", 0, 0, record.key, record.value, record.headers, at_ms)


@pytest.mark.parametrize(
    ("silent_us", "life"),
    [
        (-1, Life.ALIVE),
        (0, Life.ALIVE),
        (2 * BEAT_US, Life.ALIVE),
        (5 * BEAT_US // 2 + 1, Life.SUSPECTED),
        (GONE_US - 1, Life.SUSPECTED),
        (GONE_US, Life.GONE),
    ],
)
def test_a_silence_is_judged_by_its_length(silent_us: int, life: Life) -> None:
    """Two beats missed are a suspicion; three seconds are enough."""
    assert judge(silent_us, BEAT_US) is life


def test_the_last_sign_of_each_instance_counts() -> None:
    """Records can come twice and late, and strangers may write whatever they like."""
    signs = Signs()
    signs.hear(
        [
            received(beat(2, steps_waiting=7), 2_000),
            received(beat(1, steps_waiting=3), 1_000),
            received(beat(1, instance="b", started=NOON.replace(hour=11)), 5_000),
            received(Commit(gid="g", branch="b"), 9_000),
            Received("t", 0, 0, None, b"{", [("ce_type", b"twofold.heartbeat.v1")], 9_000),
        ]
    )

    assert [(s.beat.instance, s.beat.steps_waiting, s.at_us) for s in signs.of("stock")] == [
        ("b", 0, 5_000_000),
        ("a", 7, 2_000_000),
    ]
    assert signs.participants == {"stock"}
    assert signs.newest_us == 5_000_000
    assert signs.of("nobody") == []


# ── listening ────────────────────────────────────────────────────────────────


class Ear:
    """A presence, and its time in tenths of a second."""

    def __init__(self) -> None:
        self.now_us = 7_000_000
        self.presence = Presence(lambda: self.now_us)

    def listen(self, tenths: int, *beating: str) -> None:
        """Listen for a while in which these participants beat."""
        for n in range(tenths):
            self.now_us += 100_000
            self.presence.hear([beat(1, participant=p) for p in beating] if n % 10 == 0 else [])

    @property
    def absent(self) -> list[str]:
        """Who is absent for certain, of two."""
        return self.presence.absent(["stock", "bank"])


def test_nobody_is_absent_before_a_whole_period_was_listened() -> None:
    """And not known to live either: a start can wait, but must not be refused."""
    ear = Ear()
    ear.listen(30, "bank")
    assert (ear.absent, ear.presence.unheard(["stock", "bank"])) == ([], ["stock"])

    ear.listen(1)
    assert ear.absent == ["stock"]


def test_who_falls_silent_is_absent_and_who_comes_back_is_not() -> None:
    """Three seconds after the last beat, and at the first."""
    ear = Ear()
    ear.listen(40, "stock", "bank")
    assert ear.absent == []

    ear.listen(35, "stock")
    assert ear.absent == ["bank"]
    ear.listen(1, "bank")
    assert ear.absent == []


def test_one_instance_is_enough_and_a_goodbye_counts_at_once() -> None:
    """Whoever says that it stops reads no more commands."""
    ear = Ear()
    ear.listen(40, "stock", "bank")
    other = beat(9, participant="bank", instance="other")
    ear.presence.hear([other, beat(2, participant="bank", leaving=True)])
    assert ear.absent == []

    ear.presence.hear([beat(10, participant="bank", instance="other", leaving=True)])
    assert ear.absent == ["bank"]


def test_silence_proves_nothing_while_nobody_listens() -> None:
    """After a pause of our own, or of the reader, a whole period must be listened again."""
    ear = Ear()
    ear.listen(40)
    assert ear.absent == ["bank", "stock"]
    ear.now_us += BEAT_US
    assert ear.absent == []
    ear.listen(30)
    assert ear.absent == []
    ear.listen(1)
    assert ear.absent == ["bank", "stock"]

    ear.presence.be_deaf()
    ear.listen(29)
    assert ear.absent == []
    ear.listen(1)
    assert ear.absent == ["bank", "stock"]
