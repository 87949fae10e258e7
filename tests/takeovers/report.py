"""The table, as a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.chaos.surroundings import commit, day, machine
from tests.takeovers.gaps import quantile
from tests.takeovers.load import PER_SHARD_S, PROBE_S, SHARDS
from tests.takeovers.run import Result, Row

INTRODUCTION: Final = """\
# Takeovers

Three coordinators share the shards of one log, and each shard has a steady load of atomic
transactions and sagas; of every five, one is begun by an event that a trigger reads. An outsider
reads the shards' rows in the log a hundred times a second. *Worked on* means that a row's offsets
have moved under a higher epoch: claiming a shard raises the epoch, and moves none. A takeover is
one shard that changes hands. The clock of an unplanned one starts with the harm.

Whoever was cut off, asleep or late comes back after the takeover and does what it was about to
do. The checker of the [chaos runs](chaos.md) reads all databases at the end.
"""

UNPLANNED: Final = """\
## Unplanned: until the shard is worked on elsewhere

*Told* is the time until the first outcome of a transaction of that shard after the takeover.
"""

PLANNED: Final = """\
## Planned: between the last write here and the first one there

Each shard always has something to do, so that its own pauses hardly count: the table of ordinary
times says how long they are. *Longest* is the longest
of all transactions that were open during a handover; it may be longer than ordinary ones (p99) by
the bound.
"""

NODES: Final = """\
## Until `twofold nodes` no longer says alive
"""


def write(path: Path, result: Result, *, repeats: int, seed: int, only: str) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(_page(result, repeats, seed, only)) + "\n", encoding="utf-8")


def _page(result: Result, repeats: int, seed: int, only: str) -> Iterator[str]:
    loads = sorted(result.loads)
    yield INTRODUCTION
    chosen = f" ONLY={only}" if only else ""
    yield f"- command: `make takeovers REPEATS={repeats} SEED={seed}{chosen} REPORT=…`"
    yield f"- commit: {commit()}, {day()}"
    yield f"- machine: {machine()}; its load average was {loads[0]:.1f} to {loads[-1]:.1f},"
    yield f"  {quantile(loads, 0.5):.1f} in the middle"
    yield f"- load: {PER_SHARD_S:g} starts a second on each of {SHARDS} shards; with planned"
    yield f"  handovers, each is asked every {PROBE_S * 1000:g} ms for what it must refuse as well"
    yield ""
    yield from _ordinary(result)
    usual = quantile(result.usual, 0.99)
    groups: dict[str, list[Row]] = {UNPLANNED: [], PLANNED: [], NODES: []}
    for row in result.rows:
        kind = UNPLANNED if row.told else PLANNED if row.lives else NODES
        groups[kind].append(row)
    for heading, rows in groups.items():
        if rows:
            yield heading
            yield from _table(rows, usual)
    yield "## What was true at the end"
    yield ""
    for finding in result.findings:
        yield f"- {'✓' if finding.holds else '✗'} {finding.what} ({finding.found})"


def _ordinary(result: Result) -> Iterator[str]:
    yield "| While nothing happens | p50 | p99 | max |"
    yield "|---|---|---|---|"
    for name, values in (
        ("between two writes for a shard", result.usual_gaps),
        ("a transaction", result.usual),
        ("a transaction that an event began", result.usual_events),
    ):
        yield f"| {name} | {_three(values)} |"
    yield ""


def _table(rows: list[Row], usual: float) -> Iterator[str]:
    extra = ["Told p99"] if rows[0].told else ["Longest", "by event"] if rows[0].lives else []
    titles = ["Way", "Times", "p50", "p99", "max", *extra, "Bound", ""]
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        cells = [f"{row.name}: {row.said}", str(len(row.gaps)), _three(row.gaps)]
        if row.told:
            cells.append(_seconds(quantile(row.told, 0.99)))
        if row.lives:
            cells += [_seconds(max(row.lives)), _seconds(max(row.events, default=0.0))]
        met = "met" if row.met(usual) else "not met"
        yield f"| {' | '.join([*cells, _seconds(row.bound), met])} |"
    yield ""


def _three(values: list[float]) -> str:
    return " | ".join(_seconds(quantile(values, share)) for share in (0.5, 0.99, 1.0))


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
