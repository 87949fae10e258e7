"""What the commands do: look, look again, mend what may be mended, and tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from audit.compare import compare
from audit.doubt import Doubt, doubts
from audit.findings import MEANINGS, Finding
from audit.reading import PAGE, Source, connected
from audit.repair import repair
from coordinator.cli import plain, reach
from coordinator.cli.errors import Trouble
from coordinator.cli.letters import moment_us
from coordinator.cli.output import Output, as_json, as_table, note, say
from coordinator.config import Config
from coordinator.definitions import participants as called
from participants.connections import with_database
from participants.settings import Settings
from sagas.document import duration_us
from sagas.problems import did_you_mean

_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AN_OPTION: Final = "Write --participant NAME=DSN, or NAME=DATABASE with TWOFOLD_PG_DSN."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for on the command line."""

    participants: Sequence[str]
    postgres: str | None
    grace: str
    since: str | None = None
    repair: bool = False

    @property
    def grace_us(self) -> int:
        try:
            return duration_us(self.grace)
        except ValueError as error:
            raise Trouble(f"--grace is {self.grace!r}: {error}.") from error

    def dsns(self) -> dict[str, str]:
        """Return each participant's DSN."""
        base = Settings.from_environment(postgres=self.postgres).postgres
        found: dict[str, str] = {}
        for text in self.participants:
            name, equals, place = text.partition("=")
            if not (name and equals and place):
                raise Trouble(f"--participant {text!r} names no database.", _AN_OPTION)
            try:
                found[name] = place if "://" in place else with_database(base, place)
            except ValueError as error:
                raise Trouble(f"--postgres is no DSN: {error}.", _AN_OPTION) from error
        return found

    def began(self, now: datetime) -> datetime:
        """Return from when on transactions are looked at."""
        if self.since is None:
            return _EVER
        try:
            return _EVER + timedelta(
                microseconds=moment_us(self.since, round(now.timestamp() * 1e6))
            )
        except (ValueError, OverflowError) as error:
            what = f"--since is {self.since!r}: neither a length of time nor a time with its zone."
            raise Trouble(what, "Write 2h, 7d, or 2026-01-31T12:00Z.") from error


@asynccontextmanager
async def opened(config: Config, wanted: Wanted) -> AsyncGenerator[tuple[Source, list[str]]]:
    """Connect; yield also the participants that are called and were not given."""
    dsns = wanted.dsns()
    async with connected(config, dsns, wanted.grace_us) as source:
        await source.read(())
        known = {name for definition in source.library.all for name in called(definition)}
        for name in dsns.keys() - known:
            hint = did_you_mean(name, known) or "none is published yet"
            raise Trouble(f"no published definition calls {name}: {hint}", _AN_OPTION)
        yield source, sorted(known - dsns.keys())


# ── audit ────────────────────────────────────────────────────────────────────


async def audit(file: Path | None, wanted: Wanted, output: Output) -> bool:
    """Look, look again, and tell; True if nothing is left to tell."""
    config = reach.settings(file)
    async with opened(config, wanted) as (source, unseen):
        found, compared = await _look(source, wanted.began(datetime.now(UTC)))
        if found:
            note(f"{len(found)} to be looked at again in {wanted.grace}")
            await asyncio.sleep(wanted.grace_us / 1e6)
            found = await _again(source, found)
        mended: frozenset[Finding] = frozenset()
        if wanted.repair and found:
            mended = await repair(found, source, config, wanted.grace_us / 1e6)
    findings = sorted(found, key=lambda f: (list(MEANINGS).index(f.kind), f.since_us, f.identity))
    if output is Output.JSON:
        as_json(
            {
                "findings": [_as_json(one, mended=one in mended) for one in findings],
                "compared": compared,
                "not_looked_at": unseen,
            }
        )
    else:
        _print(findings, mended)
    for name in unseen:
        note(f"{name} was not looked at: --participant {name}=DSN")
    note(f"{compared} transactions compared, {len(findings)} findings, {len(mended)} mended")
    return not set(findings) - mended


async def _look(source: Source, since: datetime) -> tuple[list[Finding], int]:
    """Compare everything, a page at a time."""
    found: dict[Any, Finding] = {}
    compared: set[str] = set()
    async for page in source.pages(since):
        facts = await source.read(page)
        found |= {finding.identity: finding for finding in compare(facts)}
        compared |= facts.log.transactions.keys()
    return list(found.values()), len(compared)


async def _again(source: Source, before: Sequence[Finding]) -> list[Finding]:
    """Return what is still so."""
    same = {finding.identity for finding in before}
    subjects = sorted({finding.gid for finding in before})
    found: dict[Any, Finding] = {}
    for start in range(0, len(subjects), PAGE):
        facts = await source.read(subjects[start : start + PAGE])
        found |= {f.identity: f for f in compare(facts) if f.identity in same}
    return list(found.values())


def _as_json(finding: Finding, *, mended: bool) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "gid": finding.gid,
        "participant": finding.participant,
        "part": finding.part,
        "since": plain.moment(finding.since_us),
        "detail": finding.detail,
        "means": finding.meaning.means,
        "todo": finding.meaning.todo,
        "repairable": finding.meaning.repairable,
        "mended": mended,
    }


def _print(findings: Sequence[Finding], mended: Collection[Finding]) -> None:
    if not findings:
        say("the log and the databases agree")
        return
    rows = [
        (
            one.kind,
            one.gid,
            one.participant,
            one.part,
            plain.moment(one.since_us),
            "mended" if one in mended else one.detail,
        )
        for one in findings
    ]
    as_table(("FINDING", "GID", "PARTICIPANT", "PART", "SINCE", ""), rows)
    for kind, meaning in MEANINGS.items():
        if kind in {finding.kind for finding in findings}:
            say()
            say(kind)
            say(f"  means  {meaning.means}")
            say(f"  do     {meaning.todo}")


# ── indoubt list ─────────────────────────────────────────────────────────────


async def list_in_doubt(file: Path | None, wanted: Wanted, output: Output) -> None:
    """Print what is prepared, ours first."""
    config = reach.settings(file)
    async with opened(config, wanted) as (source, unseen):
        facts = await source.read(await source.in_doubt())
    now_us, found = facts.log.now_us, doubts(facts)
    if output is Output.JSON:
        as_json([_doubt_as_json(doubt, now_us) for doubt in found])
    else:
        _print_doubts([doubt for doubt in found if doubt.gid], now_us)
        strangers = [doubt for doubt in found if not doubt.gid]
        if strangers:
            say()
            rows = [(d.name, d.participant, d.owner, _age(d, now_us)) for d in strangers]
            as_table(("STRANGER", "IN THE DATABASE OF", "OWNER", "AGE"), rows)
    for name in unseen:
        note(f"{name} was not looked at: --participant {name}=DSN")


def _print_doubts(found: Sequence[Doubt], now_us: int) -> None:
    rows = [(d.gid, d.branch, d.participant, _age(d, now_us), d.decided, d.waits) for d in found]
    as_table(("GID", "BRANCH", "HELD BY", "AGE", "DECIDED", "WAITS"), rows)


def _age(doubt: Doubt, now_us: int) -> str:
    return plain.span(max(0, now_us - doubt.since_us))


def _doubt_as_json(doubt: Doubt, now_us: int) -> Mapping[str, Any]:
    said = doubt._asdict()
    since_us = said.pop("since_us")
    return {**said, "since": plain.moment(since_us), "age_ms": max(0, now_us - since_us) // 1000}
