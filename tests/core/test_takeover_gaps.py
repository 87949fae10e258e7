"""What the measurement of takeovers makes of what was seen of a shard."""

from __future__ import annotations

import math

from tests.takeovers.gaps import Handover, Seen, handovers, ordinary, quantile, taken_at

HISTORY = [
    Seen(1.0, 5, (10, 10)),
    Seen(1.5, 5, (11, 10)),
    Seen(2.0, 5, (11, 12)),
    Seen(5.0, 6, (11, 12)),  # claimed: nothing is written yet
    Seen(5.5, 6, (12, 12)),
    Seen(5.75, 7, (12, 13)),  # claimed and written between two looks
]


def test_a_claim_is_no_work() -> None:
    """The first write under a higher epoch ends the takeover."""
    assert taken_at(HISTORY, 5) == 5.5
    assert taken_at(HISTORY, 6) == 5.75
    assert taken_at(HISTORY, 7) is None


def test_a_handover_lies_between_two_writes() -> None:
    """Before and after the epoch rose."""
    assert handovers(HISTORY, 0.0) == [Handover(2.0, 5.0, 5.5), Handover(5.5, 5.75, 5.75)]
    assert [one.gap for one in handovers(HISTORY, 0.0)] == [3.5, 0.25]
    assert handovers(HISTORY, 5.6) == [Handover(5.5, 5.75, 5.75)]
    assert ordinary(HISTORY) == [0.5]


def test_a_quantile_is_one_of_the_values() -> None:
    """The ninety-ninth of a hundred, and the worst of a few."""
    assert quantile([float(n) for n in range(1, 101)], 0.99) == 99
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2
    assert math.isnan(quantile([], 0.5))
