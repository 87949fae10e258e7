"""`twofold migrate` and `twofold topics`: what must be there before anything runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from coordinator.cli import reach
from coordinator.cli.errors import Trouble, mask
from coordinator.cli.output import Output, as_json, as_table, note, say
from coordinator.config import Config
from coordinator.log.migrate import BOOTSTRAP, Migration, migrations, pending
from coordinator.log.migrate import migrate as apply
from coordinator.service import definition_topics, load_files
from sagas.loader import load_published
from sagas.model import AnyDefinition
from wire.envelope import MAX_BODY_BYTES
from wire.kafka import create_topics, partition_counts
from wire.topics import Topics

DAY_MS: Final = 24 * 3_600_000
SETTLE_LOOKS: Final = 50
"""How often to look for a topic that was created, until all brokers know it."""

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


class Plan(NamedTuple):
    """A topic as it should be."""

    name: str
    partitions: int
    exactly: bool
    """Whether another number of partitions is wrong."""
    config: Mapping[str, str]
    """Of a new one."""


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
    own = load_files(tuple(definitions) if definitions else config.definitions)
    async with reach.log_connection(config.log.dsn) as connection:
        shards = (await reach.facts(connection)).shards
        published = [
            load_published(stored.source, f"{stored.name} version {stored.version}")
            for stored in await reach.definitions(connection)
        ]
    plans = wanted_topics(config, [*own, *published], shards, partitions or shards)
    with reach.kafka(config):
        found = await partition_counts(config.kafka.bootstrap, [plan.name for plan in plans])
        missing = [plan for plan in plans if not found.get(plan.name)]
        if missing and not only_check:
            await _create(config, missing)
    verdicts = [(plan, *_verdict(plan, found.get(plan.name, 0), only_check)) for plan in plans]
    _report(verdicts, output)
    return all(right for _, right, _ in verdicts)


def wanted_topics(
    config: Config, definitions: Iterable[AnyDefinition], shards: int, partitions: int
) -> list[Plan]:
    """List our own topics, and those that definitions name."""
    names = Topics(config.kafka.prefix)
    safe = {"min.insync.replicas": "2"} if config.kafka.replication > 2 else {}  # noqa: PLR2004
    ours = {"max.message.bytes": str(MAX_BODY_BYTES + 100_000), **safe}
    week = {**ours, "retention.ms": str(7 * DAY_MS)}
    month = {**ours, "retention.ms": str(30 * DAY_MS)}
    plans = [
        Plan(names.requests, shards, exactly=True, config=week),
        Plan(names.replies, shards, exactly=True, config=week),
        Plan(names.outcomes, shards, exactly=False, config=week),
        Plan(names.dead_letters, 1, exactly=False, config=month),
    ]
    starts = {d.start.topic for d in definitions if d.start.topic is not None}
    needed = {name for d in definitions for name in definition_topics(d, partitions)}
    for name in sorted(needed):
        # Topics of starts are somebody else's: how long they keep events is not for us to say.
        kept = safe if name in starts else week
        plans.append(Plan(name, partitions, exactly=False, config=kept))
    return plans


async def _create(config: Config, missing: Sequence[Plan]) -> None:
    kafka = config.kafka
    for settings in {tuple(plan.config.items()) for plan in missing}:
        wanted = {p.name: p.partitions for p in missing if tuple(p.config.items()) == settings}
        await create_topics(
            kafka.bootstrap, wanted, replication=kafka.replication, config=dict(settings)
        )
    for _ in range(SETTLE_LOOKS):
        seen = await partition_counts(kafka.bootstrap, [plan.name for plan in missing])
        if all(seen.values()):
            return
        await asyncio.sleep(0.1)


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
