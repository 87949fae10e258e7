"""`make chaos`: faults and load for so many seconds, and what was true afterwards."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.run import Result, run

BEGAN = time.monotonic()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long faults go on")
    parser.add_argument("--seed", type=int, default=None, help="what is drawn; new by default")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else secrets.randbelow(10**6)
    directory = Path(tempfile.mkdtemp(prefix="twofold-chaos-"))
    result = asyncio.run(run(directory, seconds=given.seconds, seed=seed, say=say))
    tell(result)
    if not result.holds:
        say(f"something does not hold; logs are in {directory}, the seed is {seed}")
        sys.exit(1)
    shutil.rmtree(directory, ignore_errors=True)


def tell(result: Result) -> None:
    """Print what came of it; the timeline only if something does not hold."""
    for kind, count in sorted(result.timeline.counts.items()):
        say(f"  {count:4}  {kind}")
    say(f"outcomes: {result.transactions}; clients were told: {result.said}")
    for finding in result.findings:
        say(f"  {'✓' if finding.holds else '✗'} {finding.what} ({finding.found})")
    if not result.holds:
        for line in [*result.timeline.lines, *result.stories]:
            say(line)


def say(text: str) -> None:
    """Print a line, with the time since the beginning."""
    sys.stdout.write(f"{time.monotonic() - BEGAN:7.1f}  {text}\n")
    sys.stdout.flush()
