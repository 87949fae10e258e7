"""The benchmark's arithmetic: what it prints must follow from what it measured."""

from __future__ import annotations

import json

import pytest

from tests.bench.goals import GOALS, Points
from tests.bench.load import InFlight, PerSecond, Sample, median
from tests.bench.measure import Point
from tests.bench.report import line, table
from tests.bench.rounds import Findings
from tests.bench.workload import ACCOUNTS, key, number, transfer


def point(subject: str, per_second: float, load: int = 64) -> Point:
    """Make up a measurement."""
    cpu = {"driver": 100.0, "postgres": 300.0, "coordinator": 200.0}
    return Point(subject, str(load), per_second, 1.0, 2.0, 10, 0, cpu, 10.0, None, 0.0)


def test_percentiles_are_measured_values() -> None:
    """No interpolation."""
    sample = Sample(2.0, latencies=[n / 1000 for n in range(100, 0, -1)])

    assert sample.percentile_ms(50) == pytest.approx(51)
    assert sample.percentile_ms(99) == pytest.approx(100)
    assert sample.per_second == 50
    assert median([3, 1, 2, 10]) == 2.5


def test_an_open_loop_starts_by_the_clock_and_a_closed_one_by_what_has_ended() -> None:
    """In an open loop a transaction that starts late has waited already."""
    pace = PerSecond(100, "open")

    assert pace.due(started=5, in_flight=5, elapsed=0.1) == 6
    assert pace.since(5, elapsed=0.1) == pytest.approx(0.05)
    assert InFlight(16).due(started=100, in_flight=10, elapsed=0.1) == 6


def test_no_two_transfers_of_a_crowd_share_an_account() -> None:
    """Else locks would be measured."""
    crowd = [transfer(n) for n in range(ACCOUNTS)]

    assert len({made.source for made in crowd}) == len({made.target for made in crowd}) == ACCOUNTS
    assert number(key(17).encode()) == 17


def test_a_ratio_is_the_best_of_each_and_a_goal_without_measurement_is_null() -> None:
    """The last line is what programs read."""
    rounds = [
        [point("transfer", 100), point("2pc floor", 400), point("transfer", 150, 256)],
        [point("transfer", 120), point("2pc floor", 400), point("transfer", 170, 256)],
    ]
    points = Points(Findings(rounds=rounds, recoveries=[4.0, 9.0, 5.0]))
    ratios = json.loads(line(points))["ratios"]

    assert list(ratios) == [goal.name for goal in GOALS]
    assert ratios["2pc / grouped floor, best load"]["value"] == 0.4
    assert ratios["coordinator CPU a 2pc / CPU of a direct 2pc, 64 in flight"]["value"] == 0.5
    assert ratios["flushes a 2pc, 32 in flight"]["value"] is None
    assert ratios["seconds after kill -9 of a coordinator until all has ended"]["value"] == 5
    assert any("| transfer | 64 | 110 (100-120) | 0.28 |" in row for row in table(points))


def test_a_verdict_knows_which_way_is_better() -> None:
    """More throughput, fewer flushes."""
    share, flushes = GOALS[0], next(goal for goal in GOALS if goal.name.startswith("flushes"))

    assert [share.verdict(v) for v in (0.7, 0.5, 0.1)] == ["excellent", "met", "missed"]
    assert [flushes.verdict(v) for v in (1.0, 2.0, 3.0)] == ["excellent", "met", "missed"]
