"""What came of a run: for a terminal, and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.chaos.run import Result
from tests.chaos.surroundings import commit, day, machine

INTRODUCTION: Final = """\
# Chaos

Real processes under faults that overlap, and a checker that knows only what users know: the
participants' tables, `pg_prepared_xacts`, the topic of outcomes, what clients wrote down, and
what a query says afterwards. Clients move money between two and three databases by two-phase
commit, pay by sagas of which some are refused and undone, and ten of them add to one counter
in three databases.
"""

CONTROLS: Final = """\
`make chaos-controls` shows that the checker sees what it must: a build without the fence in
the log's statement, and one that sends before it persists, are both caught."""

NOT_INJECTED: Final = (
    "a standby of Postgres that takes over: the log's server and the participants' are killed",
    "a lost disk, and a power cut that loses what was not flushed",
    "loss of single packets: a proxy breaks, silences and delays connections",
    "a wrong clock of the machine: what is wrong by an hour is the clock that Python code reads",
    "a topic that is recreated, a database that is restored: they have tests of their own",
)


def told(result: Result) -> list[str]:
    """Tell what came of it; the timeline only if something does not hold."""
    lines = [result.wanted.command]
    lines += [f"  {count:5}  {kind}" for kind, count in sorted(result.timeline.counts.items())]
    lines += [
        f"outcomes: {dict(result.outcomes)}",
        f"clients were told in time: {dict(result.said)}",
    ]
    lines += [f"  {'✓' if f.holds else '✗'} {f.what} ({f.found})" for f in result.findings]
    if not result.holds:
        lines += [*result.timeline.lines, *result.stories]
    return lines


def write(path: Path, result: Result) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(_page(result)) + "\n", encoding="utf-8")


def _page(result: Result) -> list[str]:
    counts, ended = result.timeline.counts, sum(result.outcomes.values())
    return [
        INTRODUCTION,
        f"- command: `{result.wanted.command}`",
        f"- commit: {commit()}, {day()}",
        f"- machine: {machine()}",
        f"- {ended} transactions, {sum(counts.values())} faults of {len(counts)} kinds",
        f"- at rest {result.drained_s:.1f} s after the last fault was undone",
        "",
        *_table("Fault", counts),
        *_table("Outcome", result.outcomes),
        *_table("What the client was told within five seconds", result.said),
        "| What must be true | Found | |",
        "|---|---|---|",
        *(f"| {f.what} | {f.found} | {'✓' if f.holds else '✗'} |" for f in result.findings),
        "",
        CONTROLS,
        "",
        "## Not injected",
        "",
        *(f"- {what}" for what in NOT_INJECTED),
    ]


def _table(heading: str, counts: dict[str, int]) -> list[str]:
    rows = [f"| {name} | {count} |" for name, count in sorted(counts.items())]
    return [f"| {heading} | |", "|---|---|", *rows, ""]
