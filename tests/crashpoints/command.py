"""`make crashpoints`: each crash point so many times, and what was true at rest."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.command import say
from tests.crashpoints.points import NOT_INJECTED, all_points
from tests.crashpoints.report import write
from tests.crashpoints.run import Row, run


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashpoints", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="crashes at each point")
    parser.add_argument("--only", default="", help="points, with commas: C7,P3")
    parser.add_argument("--seed", type=int, default=None, help="what is drawn; new by default")
    parser.add_argument("--report", type=Path, help="write the table to this file")
    given = parser.parse_args()
    only = [name for name in given.only.upper().split(",") if name]
    points = [point for point in all_points() if not only or point.name in only]
    if missing := set(only) - {point.name for point in points}:
        parser.error(f"there is no {', '.join(sorted(missing))}; {' '.join(NOT_INJECTED)} are not")
    seed = given.seed if given.seed is not None else secrets.randbelow(10**6)
    directory = Path(tempfile.mkdtemp(prefix="twofold-crashpoints-"))

    def keep(rows: list[Row]) -> None:
        if given.report:
            write(given.report, rows, repeats=given.repeats, seed=seed)

    rows = asyncio.run(run(directory, points, repeats=given.repeats, seed=seed, say=say, keep=keep))
    if all(row.holds for row in rows):
        shutil.rmtree(directory, ignore_errors=True)
        return
    for row in rows:
        for story in row.stories:
            say(f"{row.point.name}: {story}")
    say(f"something does not hold; logs are in {directory}")
    sys.exit(1)
