"""Who lives: what a silence means, and which sign is the last."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from coordinator.presence import BEAT_US, GONE_US, Life, Signs, judge
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
