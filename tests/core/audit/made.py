"""Facts by hand: a log from a story, and databases from a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from audit.facts import Barrier, Database, LogFacts, Marker, Prepared, Row, Transaction, Unowned
from coordinator.core import machine
from coordinator.core.records import Entry
from coordinator.core.transition import Summary
from tests.core.coordinator.builders import GID, START_US, Story
from wire import gids

YEARS_US: Final = 10**15
"""A grace in which nothing is ever late."""


def transaction(story: Story, entries: Sequence[Entry], summary: Summary) -> Transaction:
    """Make a transaction as it is read: its row, its records, and their replay."""
    status, outcome, active, _ = summary
    state = machine.recover(story.gid, story.definition, entries, story.versions)
    times = entries[0].at_us, entries[-1].at_us
    row = Row(0, state.begun.definition, status, outcome, active, *times)
    return Transaction(story.gid, row, [entry.seq for entry in entries], entries, state)


def log_of(
    story: Story,
    entries: Sequence[Entry] | None = None,
    summary: Summary | None = None,
    now_us: int | None = None,
    unowned: Sequence[Unowned] = (),
) -> LogFacts:
    """Make a log with one transaction in it, by default as the story has it now."""
    read = transaction(story, entries or story.entries(), summary or machine.summary(story.state))
    return log_with(read, story.now_us if now_us is None else now_us, unowned)


def log_with(
    read: Transaction | None, now_us: int = START_US, unowned: Sequence[Unowned] = ()
) -> LogFacts:
    """Make a log that knows this transaction, or none."""
    name = gids.parse(GID)
    assert name is not None
    known = {read.gid: read} if read is not None else {}
    return LogFacts(name.cluster, [name.generation], now_us, [name.began_us], known, unowned)


def database(
    participant: str,
    *,
    prepared: Sequence[str] = (),
    markers: Mapping[str, str] | None = None,
    barriers: Mapping[str, str] | None = None,
    gid: str = GID,
    since_us: int = START_US,
) -> Database:
    """Make a participant's database: branches and steps by name, with what their rows say."""
    return Database(
        (participant,),
        [Prepared(f"{gid}.{name}", "owner", since_us) for name in prepared],
        {(gid, n): Barrier(gid, n, says, since_us) for n, says in (barriers or {}).items()},
        {(gid, n): Marker(gid, n, says, since_us) for n, says in (markers or {}).items()},
    )
