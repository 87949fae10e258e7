"""`twofold publish` and `twofold versions`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coordinator.cli import plain, reach
from coordinator.cli.output import Output, as_json, as_table, note, say
from coordinator.config import Config
from coordinator.definitions import publish as store
from coordinator.log.ask import ask
from coordinator.log.postgres import PostgresLog
from coordinator.log.store import LogUnavailable, VersionTaken
from coordinator.service import load_files
from sagas.composition import misplaced, sub_sagas
from sagas.files import files_of
from sagas.loader import DefinitionInvalid
from sagas.model import AnyDefinition
from wire.topics import Topics

# What has not ended is few, whatever has. A part of a definition follows the whole.
VERSIONS = """
    WITH t AS MATERIALIZED (
         SELECT split_part(definition, '#', 1) AS definition, status
           FROM twofold.transaction WHERE status <> 'ended')
    SELECT d.name, d.version, d.hash,
           (extract(epoch FROM d.published_at) * 1000000)::bigint,
           count(*) FILTER (WHERE t.status = 'open'),
           count(*) FILTER (WHERE t.status = 'parked')
      FROM twofold.definition d LEFT JOIN t ON t.definition = d.hash
     WHERE $1::text IS NULL OR d.name = $1
     GROUP BY d.name, d.version, d.hash, d.published_at
"""

PUBLISHED = "SELECT DISTINCT name FROM twofold.definition WHERE name = ANY($1::text[])"


class Version(NamedTuple):
    """One version of a definition, and who follows it."""

    name: str
    version: int
    hash: str
    published_us: int
    open: int
    parked: int


async def publish(file: Path | None, paths: Sequence[Path], output: Output) -> bool:
    """Publish definitions in every store; False if one is wrong, or its version is taken.

    All are read before any is published. Those that were published stay so.
    """
    config = reach.settings(file)
    try:
        definitions = load_files(paths, Topics(config.kafka.prefix))
        await _have_their_parts(config, paths, definitions)
    except DefinitionInvalid as error:
        say(str(error))
        return False
    done: list[dict[str, Any]] = []
    for definition in definitions:
        fresh: list[bool] = []
        for dsn in config.log.stores:
            try:
                log = await PostgresLog.open(dsn)
            except LogUnavailable as error:
                raise reach.log_trouble(dsn, error.__cause__ or error) from error
            try:
                fresh.append(await store(log, definition))
            except VersionTaken as error:
                note(str(error))
                return False
            finally:
                await log.close()
        named = {"name": definition.name, "version": definition.version}
        done.append({**named, "hash": definition.hash, "published": any(fresh)})
        if output is Output.TEXT:
            was = "published" if any(fresh) else "was published before"
            say(f"{definition.name} version {definition.version}: {was}")
    if output is Output.JSON:
        as_json(done)
    return True


async def _have_their_parts(
    config: Config, paths: Sequence[Path], definitions: Sequence[AnyDefinition]
) -> None:
    """See that each saga that is a step of these comes with them, or is published.

    Raises:
        DefinitionInvalid: its step would be refused whenever it begins.

    """
    parts = {part for one in definitions for part in sub_sagas(one).values()}
    if not parts:
        return
    async with reach.logs(config) as logs:
        known = {row[0] for row in await ask(logs[0], PUBLISHED, sorted(parts))}
    files = zip(files_of(paths), definitions, strict=True)
    problems = [p for file, one in files for p in misplaced(one, str(file), definitions, known)]
    if problems:
        raise DefinitionInvalid(problems)


async def versions(file: Path | None, name: str | None, output: Output) -> bool:
    """Print what is published, the newest version of each name first; False if nothing is."""
    config = reach.settings(file)
    async with reach.logs(config) as logs:
        now_us = (await reach.facts(logs[0])).now_us
        rows = [Version(*row) for log in logs for row in await ask(log, VERSIONS, name)]
    found = _together(rows)
    if output is Output.JSON:
        as_json([{**v._asdict(), "published_at": plain.moment(v.published_us)} for v in found])
    else:
        newest = {v.name: v.version for v in reversed(found)}
        as_table(
            ("NAME", "VERSION", "OPEN", "PARKED", "PUBLISHED", ""),
            [_row(v, now_us, new=newest[v.name] == v.version) for v in found],
        )
    return bool(found)


def _together(rows: Sequence[Version]) -> list[Version]:
    """Add up what the stores say of one version."""
    open_: Counter[str] = Counter()
    parked: Counter[str] = Counter()
    first: dict[str, Version] = {}
    for row in rows:
        open_[row.hash] += row.open
        parked[row.hash] += row.parked
        seen = first.setdefault(row.hash, row)
        first[row.hash] = min(seen, row, key=lambda one: one.published_us)
    both = [v._replace(open=open_[h], parked=parked[h]) for h, v in first.items()]
    return sorted(both, key=lambda v: (v.name, -v.version))


def _row(version: Version, now_us: int, *, new: bool) -> tuple[str, ...]:
    ago = f"{plain.span(max(0, now_us - version.published_us))} ago"
    counts = (str(version.version), str(version.open), str(version.parked))
    return (version.name, *counts, ago, "new starts follow it" if new else "")
