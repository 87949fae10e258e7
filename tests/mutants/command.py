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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tests.chaos.surroundings import commit, day, machine
from tests.mutants.cores import CORES
from tests.mutants.letters import LETTERS
from tests.mutants.locks import LOCKS
from tests.mutants.moves import MOVES
from tests.mutants.mutant import Mutant, mutated, plant
from tests.mutants.participants import PARTICIPANTS
from tests.mutants.parts import PARTS
from tests.mutants.recoveries import RECOVERIES
from tests.mutants.shell import SHELL
from tests.mutants.waiting import WAITING

MUTANTS: Final = (
    *(*SHELL, *CORES, *PARTICIPANTS, *RECOVERIES),
    *(*WAITING, *LETTERS, *LOCKS, *PARTS, *MOVES),
)

SEARCHED: Final = (
    "coordinator/core/",
    "coordinator/log/memory.py",
    "participants/branch.py",
    "participants/step.py",
)
"""What the search runs. Elsewhere it cannot find anything."""

HEAD: Final = (
    "| Mutant | File | What it breaks | Killer | Needed | Violates |",
    "|---|---|---|---|---|---|",
)

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
        if found is None:
            found = _ask(folder, ["pytest", "-x", "-q", *tests_of(mutant)], _TESTS)
    took_s = time.monotonic() - began
    return Verdict(*found, took_s) if found else Verdict("", "", "", took_s)


def tests_of(mutant: Mutant) -> list[str]:
    """Name the tests that need no server: asked last, since each knows what it looks for."""
    page = "--ignore=tests/core/coordinator/test_state_tables.py"  # it compares with a page
    package = mutant.file.partition("/")[0]
    # What a definition means is seen where it is carried out.
    meant = ("coordinator", "test_definitions_expressions.py") if package == "sagas" else ()
    return [*(f"tests/core/{name}" for name in (package, *meant)), page]


class _Killer(NamedTuple):
    name: str
    sign: re.Pattern[str]
    """The lines by which a finding is known: what it needed, and what is violated."""
    needed: Callable[[str], str]


_SEARCH: Final = _Killer(
    "search", re.compile(r"violated after ([\d,]+) states: ([^\n]*)"), "{} states".format
)
_SIMULATION: Final = _Killer(
    "simulation",
    re.compile(r"seed (\d+) violates: ([^\n]*)"),
    "seed {}".format,
)
_TESTS: Final = _Killer("tests", re.compile(r"FAILED tests/core/([^:]*)::(.*?)(?: - .*)?\n"), str)


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
            return killer.name, killer.needed(found[1]), found[2]
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
    parser.add_argument("--seeds", type=int, default=1000, help="for the simulation")
    parser.add_argument("--jobs", type=int, default=2, help="how many are judged at once")
    parser.add_argument("--report", type=Path, help="write the table to this file as well")
    options = parser.parse_args(arguments)
    wanted: list[str] = options.mutants
    chosen = [m for m in MUTANTS if not wanted or any(w in m.name for w in wanted)]
    for mutant in chosen:
        mutated(mutant)
    began = time.monotonic()
    lines: list[str] = [*HEAD]
    say("\n".join(HEAD))
    survivors = 0
    judging = partial(judge, seeds=options.seeds)
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, verdict in zip(chosen, pool.map(judging, chosen), strict=True):
            survivors += not verdict.killer
            lines.append(_line(mutant, verdict))
            say(lines[-1])
    lines += ["", f"{len(chosen) - survivors} of {len(chosen)} mutants are found."]
    say("\n".join(lines[-2:]))
    if options.report is not None:
        _write(options.report, lines, options.seeds, time.monotonic() - began)
    return int(survivors > 0)


def _line(mutant: Mutant, verdict: Verdict) -> str:
    file = mutant.file.removeprefix("coordinator/").removeprefix("core/")
    cells = (
        mutant.name,
        file,
        mutant.breaks,
        verdict.killer or "SURVIVES",
        verdict.needed,
        verdict.violated[:120].replace("|", "/"),
    )
    return f"| {' | '.join(cells)} |"


def _write(path: Path, lines: Sequence[str], seeds: int, took_s: float) -> None:
    page = [
        "# Mutants",
        "",
        "Bugs planted on purpose, one at a time, in a copy of the source: does anybody notice?",
        "Asked are first `make search`, where it runs the code in question, then `make simulate`,",
        "then the tests of its package that need no server. The first to find it ends the search.",
        "",
        f"- command: `make mutants SEEDS={seeds} REPORT={path}`, in {took_s / 60:.0f} minutes",
        f"- commit: {commit()}, {day()}",
        f"- machine: {machine()}",
        "",
        *lines,
    ]
    path.write_text("\n".join(page) + "\n", encoding="utf-8")


def say(line: str) -> None:
    """Write a line to the standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
