"""`twofold migrate` and `twofold topics`: what must be there before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from coordinator.cli import reach
from coordinator.cli.errors import Trouble, mask
from coordinator.cli.output import Output, as_json, as_table, note, say
from coordinator.config import Config
from coordinator.definitions import understood
from coordinator.log.migrate import BOOTSTRAP, Migration, migrations, pending
from coordinator.log.migrate import migrate as apply
from coordinator.log.views import definitions as published_definitions
from coordinator.service import load_files
from coordinator.topics import Plan, create, definition_topics, own_topics
from wire.kafka import partition_counts
from wire.topics import Topics

# ── the log ──────────────────────────────────────────────────────────────────

APPLIED: Final = "INSERT INTO twofold.migration (number, name) VALUES ({number}, '{name}');"

NAMED: Final = """
INSERT INTO twofold.cluster (name, shards, store, stores)
     VALUES ('{cluster}', {shards}, {store}, {stores}) ON CONFLICT DO NOTHING;
INSERT INTO twofold.shard (id) SELECT generate_series({store}, {shards} - 1, {stores})
    ON CONFLICT DO NOTHING;
"""


async def plan(file: Path | None) -> None:
    """Print what `migrate` would run, as a script that can be run instead."""
    config = reach.settings(file)
    for store, dsn in enumerate(config.log.stores):
        if len(config.log.stores) > 1:
            say(f"-- for {mask(dsn)}")
        try:
            async with reach.log_connection(dsn) as connection:
                steps = await pending(connection)
        except Trouble as trouble:
            note(f"{trouble.what}\n  This is all of it, as for an empty database.")
            steps = migrations()
        say(script(steps, config, store) if steps else "-- nothing to do")


def script(steps: Iterable[Migration], config: Config, store: int = 0) -> str:
    """Write SQL that does what `migrate` does to one store."""
    parts = [f"BEGIN;\n{BOOTSTRAP}"]
    for step in steps:
        done = APPLIED.format(number=step.number, name=step.name)
        parts.append(f"-- {step.number:04} {step.name}\n{step.sql}\n{done}")
    log = config.log
    named = {"cluster": log.cluster, "shards": log.shards}
    parts.append(NAMED.format(**named, store=store, stores=len(log.stores)).strip())
    return "\n".join([*parts, "COMMIT;"])


async def migrate(file: Path | None, output: Output) -> None:
    """Bring the log up to date, and say what was done."""
    config = reach.settings(file)
    log = config.log
    told: list[dict[str, Any]] = []
    for store, dsn in enumerate(log.stores):
        async with reach.log_connection(dsn) as connection:
            steps = await apply(
                connection,
                cluster=log.cluster,
                shards=log.shards,
                store=store,
                stores=len(log.stores),
            )
        told += [{"store": store, "number": step.number, "name": step.name} for step in steps]
        if output is Output.TEXT:
            _say_migrated(config, dsn, steps)
    if output is Output.JSON:
        as_json({"applied": told, "cluster": log.cluster, "shards": log.shards})


def _say_migrated(config: Config, dsn: str, steps: Sequence[Migration]) -> None:
    for step in steps:
        say(f"applied {step.number:04} {step.name}")
    what = "is up to date now" if steps else "was up to date"
    log = config.log
    say(f"the log at {mask(dsn)} {what}: cluster {log.cluster}, {log.shards} shards")


# ── topics ───────────────────────────────────────────────────────────────────


async def topics(
    file: Path | None,
    definitions: Sequence[Path] | None,
    *,
    partitions: int | None,
    only_check: bool,
    output: Output,
) -> bool:
    """Create what is missing, unless told to look only; tell whether all is as it should be."""
    config = reach.settings(file)
    names = Topics(config.kafka.prefix)
    own = load_files(tuple(definitions) if definitions else config.definitions, names)
    async with reach.log_connection(config.log.dsn) as connection:
        shards = (await reach.facts(connection)).shards
        published = [understood(stored) for stored in await published_definitions(connection)]
    plans = own_topics(config, shards)
    plans += definition_topics(config, [*own, *published], partitions or shards)
    with reach.kafka(config):
        found = await partition_counts(config.kafka.bootstrap, [plan.name for plan in plans])
        missing = [plan for plan in plans if not found.get(plan.name)]
        if missing and not only_check:
            await create(config, missing)
    verdicts = [(plan, *_verdict(plan, found.get(plan.name, 0), only_check)) for plan in plans]
    _report(verdicts, output)
    return all(right for _, right, _ in verdicts)


def _verdict(plan: Plan, partitions: int, only_check: bool) -> tuple[bool, str]:  # noqa: FBT001
    if not partitions:
        return not only_check, "missing" if only_check else f"created: {_count(plan.partitions)}"
    if plan.exactly and partitions != plan.partitions:
        said = f"wrong: {_count(partitions)}, and the log has {plan.partitions} shards"
        return False, f"{said}; each shard is one partition, for ever"
    return True, f"there: {_count(partitions)}"


def _count(partitions: int) -> str:
    return f"{partitions} partition{'s' * (partitions != 1)}"


def _report(verdicts: Sequence[tuple[Plan, bool, str]], output: Output) -> None:
    if output is Output.JSON:
        said: list[dict[str, Any]] = [
            {"topic": plan.name, "ok": right, "state": state} for plan, right, state in verdicts
        ]
        as_json(said)
    else:
        as_table(("TOPIC", "STATE"), [(plan.name, state) for plan, _, state in verdicts])
