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

from tests.chaos.controls import run_all
from tests.chaos.faults import REST_S
from tests.chaos.load import MOVERS
from tests.chaos.report import told, write
from tests.chaos.run import Wanted, run

BEGAN = time.monotonic()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long faults go on")
    parser.add_argument("--seed", type=int, default=None, help="what is drawn; new by default")
    parser.add_argument(
        "--controls", action="store_true", help="see that two broken builds are caught"
    )
    parser.add_argument("--report", type=Path, help="write a page about the run to this file")
    parser.add_argument("--movers", type=int, default=MOVERS, help="clients that move money")
    parser.add_argument("--rest", type=float, default=REST_S[1], help="seconds between faults")
    parser.add_argument("--brokers", type=int, default=1, help="of Kafka: 1, or 3 that copy")
    given = parser.parse_args()
    if given.controls:
        controls()
        return
    seed = given.seed if given.seed is not None else secrets.randbelow(10**6)
    directory = Path(tempfile.mkdtemp(prefix="twofold-chaos-"))
    wanted = Wanted(given.seconds, seed, given.movers, given.rest, given.brokers)
    result = asyncio.run(run(directory, wanted, say))
    for line in told(result):
        say(line)
    if given.report:
        write(given.report, result)
    if not result.holds:
        say(f"something does not hold; logs are in {directory}, the seed is {seed}")
        sys.exit(1)
    shutil.rmtree(directory, ignore_errors=True)


def controls() -> None:
    """Drive two broken builds, and the code as it is, into the corners where it matters."""
    with tempfile.TemporaryDirectory(prefix="twofold-controls-") as directory:
        verdicts = asyncio.run(run_all(Path(directory), say))
    if not all(verdict.holds for verdict in verdicts):
        sys.exit(1)


def say(text: str) -> None:
    """Print a line, with the time since the beginning."""
    sys.stdout.write(f"{time.monotonic() - BEGAN:7.1f}  {text}\n")
    sys.stdout.flush()
