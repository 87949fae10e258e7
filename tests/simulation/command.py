"""Many seeds on two cores, until one fails; then that one, made small and told."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.simulation.faults import Fault, Plan
from tests.simulation.shrink import shrink
from tests.simulation.world import Result, simulate

WORKERS: Final = 2
CHUNK: Final = 50


@dataclass(slots=True)
class Sum:
    """What many runs came to."""

    seeds: int = 0
    transactions: int = 0
    virtual_s: float = 0.0
    struck: Counter[Fault] = field(default_factory=Counter[Fault])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    failed: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])

    def add(self, result: Result) -> None:
        """Count one run."""
        self.seeds += 1
        self.transactions += result.transactions
        self.virtual_s += result.virtual_s
        self.struck += result.struck
        self.outcomes += result.outcomes
        if result.violation is not None:
            self.failed.append((result.seed, *result.violation))

    def join(self, other: Sum) -> None:
        """Count what another process has run."""
        self.seeds += other.seeds
        self.transactions += other.transactions
        self.virtual_s += other.virtual_s
        self.struck += other.struck
        self.outcomes += other.outcomes
        self.failed += other.failed


def run_many(seeds: Sequence[int]) -> Iterator[Sum]:
    """Run seeds in worker processes; yield the sum so far, now and then."""
    chunks = [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]
    so_far = Sum()
    with multiprocessing.get_context("spawn").Pool(WORKERS, os.nice, (10,)) as pool:
        for some in pool.imap_unordered(run_chunk, chunks):
            so_far.join(some)
            yield so_far


def run_chunk(seeds: Sequence[int]) -> Sum:
    """Run some seeds in this process. Garbage is collected in between only."""
    gc.disable()
    try:
        found = Sum()
        for seed in seeds:
            found.add(simulate(Plan(seed)))
        return found
    finally:
        gc.enable()
        gc.collect()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", type=int, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first one")
    parser.add_argument("--trace", action="store_true", help="tell the first seed, and stop")
    options = parser.parse_args(arguments)
    if options.trace:
        return tell(simulate(Plan(options.first), telling=True))
    began, total = time.monotonic(), Sum()
    for total in run_many(range(options.first, options.first + options.seeds)):
        took = time.monotonic() - began
        sys.stderr.write(
            f"\r{total.seeds} of {options.seeds} seeds, {total.seeds / took:.0f} a second"
        )
        if total.failed:
            break
    sys.stderr.write("\n")
    summary(total, time.monotonic() - began)
    if not total.failed:
        return 0
    seed, invariant, text = min(total.failed)
    say(f"\nseed {seed} violates: {invariant}\n{text[:2000]}\n\nmaking it smaller …")
    return tell(shrink(Plan(seed)))


def summary(total: Sum, took_s: float) -> None:
    """Say what was run, and that each fault struck."""
    say(
        f"{total.seeds} seeds, {total.transactions} transactions,"
        f" {total.virtual_s / 3600:.1f} hours of virtual time in {took_s:.0f} s,"
        f" {len(total.failed)} violations\n"
    )
    for outcome, count in sorted(total.outcomes.items()):
        say(f"{count:>10}  {outcome}")
    say("")
    for fault in Fault:
        say(f"{total.struck[fault]:>10}  {fault}")


def tell(result: Result) -> int:
    """Say what happened in one run."""
    for line in result.lines:
        say(line)
    if result.violation is None:
        return 0
    invariant, text = result.violation
    say(f"\nseed {result.seed} violates: {invariant}\n{text[:2000]}")
    strikes = ", ".join(f"{fault} x{count}" for fault, count in result.struck.items())
    say(f"with {strikes or 'no fault'}, and {result.transactions} transactions")
    return 1


def say(line: str) -> None:
    """Write a line to the standard output."""
    sys.stdout.write(f"{line}\n")
