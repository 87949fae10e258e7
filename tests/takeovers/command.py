"""`make takeovers`: take shards from their owners, and measure for how long nobody has them."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.chaos.command import say
from tests.takeovers.report import write
from tests.takeovers.run import Result, Row, bench
from tests.takeovers.ways import UNPLANNED

UNPLANNED_S: Final = 5.0
PLANNED_S: Final = 0.25
SEEN_S: Final = 3.0
SEEN: Final = {
    "seen: coordinator killed": "SIGKILL",
    "seen: coordinator asleep": "SIGSTOP",
    "seen: participant killed": "SIGKILL",
    "seen: participant asleep": "SIGSTOP",
}
PLANNED: Final = {
    "leaves": "SIGTERM",
    "joins": "a replica is added",
    "rolling": "all three are restarted, one after the other",
}


def main() -> None:
    """Run the command line."""
    names = [*(way.name for way in UNPLANNED), "planned", "nodes"]
    parser = argparse.ArgumentParser(prog="python -m tests.takeovers", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="how often each way is tried")
    parser.add_argument("--only", default="", help=f"ways, with commas: {','.join(names)}")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn")
    parser.add_argument("--report", type=Path, help="write the table to this file")
    parser.add_argument("--keep", action="store_true", help="leave the logs of all processes")
    given = parser.parse_args()
    only = [name for name in given.only.split(",") if name] or names
    if missing := set(only) - set(names):
        parser.error(f"there is no {', '.join(sorted(missing))}")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="twofold-takeovers-"))
    result = asyncio.run(_run(directory, only, given.repeats, random.Random(given.seed)))
    if given.report:
        write(given.report, result, repeats=given.repeats, seed=given.seed, only=given.only)
    broken = [finding for finding in result.findings if not finding.holds]
    for finding in broken:
        say(f"VIOLATED {finding.what}: {finding.found}")
    if broken:
        say(f"logs are in {directory}")
        sys.exit(1)
    if not given.keep:
        shutil.rmtree(directory, ignore_errors=True)


async def _run(directory: Path, only: list[str], repeats: int, dice: random.Random) -> Result:
    say(f"logs are in {directory}")
    async with bench(directory, dice, say, probing="planned" in only) as made:
        await made.calm()
        for way in UNPLANNED:
            if way.name in only:
                await made.take_over(way, repeats, UNPLANNED_S, dice)
        if "planned" in only:
            rows = [Row(name, said, PLANNED_S) for name, said in PLANNED.items()]
            await made.hand_over(rows, repeats, dice)
        await made.calm()
        if "nodes" in only:
            rows = [Row(name, said, SEEN_S) for name, said in SEEN.items()]
            await made.watch_nodes(rows, repeats)
    return made.result
