"""All mutants, one after another: who finds each, and how soon."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.mutants.cores import CORES
from tests.mutants.mutant import Mutant, mutated, plant
from tests.mutants.participants import PARTICIPANTS
from tests.mutants.shell import SHELL

MUTANTS: Final = (*SHELL, *CORES, *PARTICIPANTS)

SEARCHED: Final = (
    "coordinator/core/",
    "coordinator/log/memory.py",
    "participants/branch.py",
    "participants/step.py",
)
"""What the search runs. Elsewhere it cannot find anything."""

PATIENCE_S: Final = 1800.0
"""How long a killer may take. One that stands still has found nothing."""


class Verdict(NamedTuple):
    """What became of a mutant. Without a killer it has survived."""

    killer: str
    needed: str
    violated: str
    took_s: float


def judge(mutant: Mutant, seeds: int) -> Verdict:
    """Plant a bug, and see who finds it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="twofold-mutant-") as folder:
        plant(mutant, Path(folder))
        found = None
        if mutant.file.startswith(SEARCHED):
            found = _ask(folder, ["tests.search"], _SEARCH)
        if found is None:
            found = _ask(folder, ["tests.simulation", str(seeds)], _SIMULATION)
    took_s = time.monotonic() - began
    return Verdict(*found, took_s) if found else Verdict("", "", "", took_s)


class _Killer(NamedTuple):
    name: str
    sign: re.Pattern[str]
    """The lines by which a finding is known: what it needed, and what is violated."""
    unit: str


_SEARCH: Final = _Killer(
    "search", re.compile(r"violated after ([\d,]+) states: ([^\n]*)"), "states"
)
_SIMULATION: Final = _Killer("simulation", re.compile(r"seed (\d+) violates: ([^\n]*)"), "seeds")


def _ask(folder: str, arguments: list[str], killer: _Killer) -> tuple[str, str, str] | None:
    """Run a killer until it has found something, or says that there is nothing."""
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as running:
        late = threading.Timer(PATIENCE_S, _end, (running,))
        late.start()
        try:
            return _read(running, killer)
        finally:
            late.cancel()
            _end(running)


def _read(running: subprocess.Popen[str], killer: _Killer) -> tuple[str, str, str] | None:
    assert running.stdout is not None
    told = ""
    for line in running.stdout:
        told += line
        if (found := killer.sign.search(told)) is not None:
            needed = found[1] if killer is _SEARCH else str(int(found[1]) + 1)
            return killer.name, f"{needed} {killer.unit}", found[2]
    if running.wait() == 0:
        return None
    if running.returncode < 0:
        return None  # it stood still, and was ended
    return killer.name, "at once", f"it cannot go on: {told.strip().splitlines()[-1][:80]}"


def _end(running: subprocess.Popen[str]) -> None:
    """End what we have started, and all that it has started."""
    try:
        os.killpg(running.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge mutants; survivors are the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("mutants", nargs="*", help="parts of names; all without any")
    parser.add_argument("--seeds", type=int, default=10_000, help="for the simulation")
    options = parser.parse_args(arguments)
    wanted: list[str] = options.mutants
    chosen = [m for m in MUTANTS if not wanted or any(w in m.name for w in wanted)]
    for mutant in chosen:
        mutated(mutant)
    say("| Mutant | File | What it breaks | Killer | Needed | Violates | Seconds |")
    say("|---|---|---|---|---|---|---|")
    survivors = 0
    for mutant in chosen:
        verdict = judge(mutant, options.seeds)
        survivors += not verdict.killer
        file = mutant.file.removeprefix("coordinator/").removeprefix("core/")
        say(
            f"| {mutant.name} | {file} | {mutant.breaks} | {verdict.killer or 'SURVIVES'}"
            f" | {verdict.needed} | {verdict.violated} | {verdict.took_s:.0f} |"
        )
    say(f"\n{len(chosen) - survivors} of {len(chosen)} mutants are found.")
    return int(survivors > 0)


def say(line: str) -> None:
    """Write a line to the standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
