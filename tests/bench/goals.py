"""Ratios to what was measured in the same run, and what they should be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.bench.load import median
from tests.bench.measure import Point
from tests.bench.rounds import DISK_LOAD, PAIRS, TRACED_LOAD, Findings
from tests.bench.workload import Kind


class Points:
    """All points of a run, by subject and load, one for each round."""

    def __init__(self, found: Findings) -> None:
        self.recoveries = found.recoveries
        self._points: defaultdict[tuple[str, str], list[Point]] = defaultdict(list)
        for point in (*(p for one in found.rounds for p in one), *found.extra):
            self._points[point.subject, point.load].append(point)

    def __iter__(self) -> Iterator[tuple[tuple[str, str], list[Point]]]:
        return iter(self._points.items())

    def loads(self, subject: str) -> list[str]:
        """Return the loads of a closed loop that a subject was put under."""
        return [load for name, load in self._points if name == subject and load.isdigit()]

    def values(self, subject: str, load: int | str, what: Callable[[Point], float]) -> list[float]:
        """Return one figure for each round."""
        return [what(point) for point in self._points.get((subject, str(load)), ())]

    def median(self, subject: str, load: int | str, what: Callable[[Point], float]) -> float:
        """Return the median of the rounds, or nan."""
        return median(self.values(subject, load, what))

    def ratio(
        self,
        a: tuple[str, int | str],
        b: tuple[str, int | str],
        what_of_a: Callable[[Point], float],
        what_of_b: Callable[[Point], float] | None = None,
    ) -> float:
        """Return the median over the rounds of a figure of a to one of b."""
        above, below = self.values(*a, what_of_a), self.values(*b, what_of_b or what_of_a)
        return median([x / y for x, y in zip(above, below, strict=False) if y])

    def best(self, subject: str) -> float:
        """Return the throughput under whichever load it is highest."""
        return max(
            (self.median(subject, load, throughput) for load in self.loads(subject)), default=NONE
        )


NONE: Final = float("nan")


def throughput(point: Point) -> float:
    return point.per_second


def p50(point: Point) -> float:
    return point.p50_ms


def flushes(point: Point) -> float:
    return NONE if point.flushes is None else point.flushes


def coordinator(point: Point) -> float:
    return point.cpu_us.get("coordinator", NONE)


def direct_cpu(point: Point) -> float:
    """Return what a floor costs: its client and Postgres."""
    return point.cpu_us["driver"] + point.cpu_us["postgres"]


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio, what it must be, and what would be excellent."""

    name: str
    value: Callable[[Points], float]
    must: float
    stretch: float
    higher: bool = True
    """Whether more is better."""

    def verdict(self, value: float) -> str:
        """Say how a value compares."""
        if value != value:  # noqa: PLR0124  # nan
            return "not measured"
        for limit, word in ((self.stretch, "excellent"), (self.must, "met")):
            if value >= limit if self.higher else value <= limit:
                return word
        return "missed"


def _share(kind: Kind) -> Callable[[Points], float]:
    return lambda points: points.best(kind) / points.best(PAIRS[kind])


def _coordinator(kind: Kind) -> Callable[[Points], float]:
    floor = PAIRS[Kind.TRANSFER]
    return lambda points: points.ratio((kind, 64), (floor, 64), coordinator, direct_cpu)


def _traced(name: str) -> Callable[[Points], float]:
    plain, traced = (f"{Kind.TRANSFER}, {n}" for n in ("no traces", name))
    return lambda points: 1 - points.ratio((traced, TRACED_LOAD), (plain, TRACED_LOAD), throughput)


def _disk(points: Points) -> float:
    slow, fast = (f"{Kind.TRANSFER}, {n}" for n in ("slow disk", "fast disk"))
    return points.ratio((slow, DISK_LOAD), (fast, DISK_LOAD), throughput)


HOPS: Final = 8
"""Start, three commands and three replies, outcome."""

GOALS: Final = (
    Goal("2pc / grouped floor, best load", _share(Kind.TRANSFER), 0.40, 0.65),
    Goal("saga, a statement a message / floor, best load", _share(Kind.TRIP), 0.50, 0.90),
    Goal("saga, bulk handler / bulk floor with log, best load", _share(Kind.TRIP_BULK), 0.35, 0.60),
    Goal(
        "flushes a 2pc, 32 in flight",
        lambda points: points.median(f"{Kind.TRANSFER}, flushes", 32, flushes),
        2,
        1.2,
        higher=False,
    ),
    Goal(
        "flushes a saga, 64 in flight",
        lambda points: points.median(f"{Kind.TRIP}, flushes", 64, flushes),
        0.5,
        0.1,
        higher=False,
    ),
    Goal(
        "coordinator CPU a 2pc / CPU of a direct 2pc, 64 in flight",
        _coordinator(Kind.TRANSFER),
        0.8,
        0.5,
        higher=False,
    ),
    Goal(
        "coordinator CPU a saga / CPU of a direct 2pc, 64 in flight",
        _coordinator(Kind.TRIP),
        0.5,
        0.3,
        higher=False,
    ),
    Goal(
        "throughput lost to default sampling", _traced("default sampling"), 0.05, 0.02, higher=False
    ),
    Goal("throughput lost to full tracing", _traced("full tracing"), 0.35, 0.25, higher=False),
    Goal(
        "2pc p50 / direct 2pc p50, one in flight",
        lambda points: points.ratio((Kind.TRANSFER, 1), (PAIRS[Kind.TRANSFER], 1), p50),
        5,
        3,
        higher=False,
    ),
    Goal(
        "saga p50 / 8 hops through Kafka, one in flight",
        lambda points: points.ratio((Kind.TRIP, 1), ("hop", 1), p50) / HOPS,
        2,
        1.3,
        higher=False,
    ),
    Goal("slow disk (2 ms a flush) / fast disk, 64 in flight", _disk, 0.6, 0.8),
    Goal(
        "seconds after kill -9 of a coordinator until all has ended",
        lambda points: median(points.recoveries),
        8,
        5,
        higher=False,
    ),
)
