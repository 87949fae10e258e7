"""All worlds, searched one after another or side by side, and what came of it."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from sagas.model import Busy, Saga, Step
from tests.core.coordinator.builders import constant, saga, step, undo
from tests.search.atomic import Atomic
from tests.search.explore import Found, Search, World
from tests.search.locks import LockWorld, Wants
from tests.search.sagas import SagaWorld
from tests.search.shard import Faults

BLANK: Final = constant(None)


def part(name: str, *needs: str, attempts: int = 1, undos: int = 1, pivot: bool = False) -> Step:
    """Make a step with an undo; the pivot, and what comes after one, has none."""
    back = undo(name, attempts=undos) if undos else False
    return step(name, *needs, back=back, pivot=pivot, attempts=attempts, data=BLANK)


CHAIN: Final = saga(part("a"), part("b", "a", attempts=2, undos=2), part("c", "b", pivot=True))
PAST_THE_PIVOT: Final = saga(
    part("a"), part("b", "a", attempts=2, pivot=True), part("c", "b", attempts=2, undos=0)
)
FORK: Final = saga(part("a"), part("b", "a"), part("c", "a"))
JOIN: Final = saga(part("a"), part("b"), part("c", "a", "b", pivot=True))

ALL: Final = Faults(takeovers=1, crashes=1, unknown=1, moods=1)
NO_CRASH: Final = ALL._replace(crashes=0)
NO_MOODS: Final = NO_CRASH._replace(moods=0)


def of_saga(name: str, definition: Saga, faults: Faults) -> tuple[str, Callable[[], World]]:
    """Name a saga's world, and how to make it."""
    return name, lambda: SagaWorld(name, definition, faults)


def of_atomic(name: str, count: int) -> tuple[str, Callable[[], World]]:
    """Name an atomic transaction's world, and how to make it."""
    return name, lambda: Atomic(name, count, ALL)


def of_locks(name: str, *wants: Wants) -> tuple[str, Callable[[], World]]:
    """Name a world of locks, and how to make it."""
    return name, lambda: LockWorld(name, *wants)


REJECTED: Final = Wants(("x",), Busy.REJECT)
ALLOWED: Final = Wants(("x",), Busy.ALLOW)

WORLDS: Final[dict[str, Callable[[], World]]] = dict(
    (
        of_atomic("atomic, three branches", 3),
        of_atomic("atomic, a lone branch", 1),
        of_saga("saga, a chain to its pivot", CHAIN, NO_CRASH),
        of_saga("saga, past its pivot", PAST_THE_PIVOT, NO_CRASH),
        of_saga("saga, a fork", FORK, NO_MOODS),
        of_saga("saga, a join at its pivot", JOIN, NO_MOODS),
        of_locks("lock, two that wait", Wants(("x",), parks=True), Wants(("x",))),
        of_locks("lock, one that is rejected", Wants(("x",), parks=True), REJECTED),
        of_locks("lock, one beside another", Wants(("x",), parks=True), ALLOWED),
        of_locks("locks, crossing", Wants(("x", "y")), Wants(("y", "x"))),
    )
)


def search(name: str) -> Found:
    """Search one world."""
    return Search(WORLDS[name]()).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Search all worlds, and say what there is in each."""
    parser = argparse.ArgumentParser(prog="python -m tests.search", description=__doc__)
    parser.add_argument("worlds", nargs="*", help="parts of names; all worlds without any")
    wanted: list[str] = parser.parse_args(arguments).worlds
    names = [n for n in WORLDS if not wanted or any(w in n for w in wanted)]
    began = time.monotonic()
    say(f"{'world':<28}{'states':>10}{'transitions':>14}{'depth':>8}{'seconds':>10}")
    violated = False
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for found in pool.imap_unordered(search, names):
            say(
                f"{found.name:<28}{found.states:>10,}{found.transitions:>14,}"
                f"{found.depth:>8}{found.took_s:>10.1f}"
            )
            if found.violated:
                violated = True
                say(f"\nviolated after {found.states:,} states: {found.violated}")
                for number, line in enumerate(found.trace, 1):
                    say(f"{number:>4}. {line}")
                break
    end = "a violation" if violated else "no violation"
    say(f"\n{time.monotonic() - began:.1f} s in all, {end}")
    return int(violated)


def say(line: str) -> None:
    """Write a line to the standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
