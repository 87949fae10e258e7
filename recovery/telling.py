"""What `twofold recover` does with each store, and what it tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit import looking
from coordinator.cli import reach, who
from coordinator.cli.errors import Trouble, log_trouble
from coordinator.cli.nodes import lookout
from coordinator.cli.output import Output, as_json, as_table, note, say
from coordinator.config import Config
from coordinator.log.store import LogUnavailable
from recovery.quiet import quiet
from recovery.recover import Done, Recovery
from sagas.problems import DefinitionInvalid
from wire.kafka import ShardReader

GRACE: str = "30s"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for on the command line."""

    participants: Sequence[str]
    postgres: str | None
    reason: str | None
    """None if nothing is to be written."""
    actor: str | None
    patience_s: float
    anyway: bool


async def recover(file: Path | None, wanted: Wanted, output: Output) -> bool:
    """Recover each store that has forgotten something; True if nothing is left unexplained."""
    config = reach.settings(file)
    places = looking.Wanted(wanted.participants, wanted.postgres, GRACE)
    async with looking.opened(config, places) as (source, unseen):
        if unseen:
            raise Trouble(
                f"the databases of {', '.join(unseen)} are not given, and may hold what proves"
                " a decision.",
                "Write --participant NAME=DSN for each.",
            )
        async with lookout(config) as out, ShardReader(config.kafka.bootstrap) as reader:
            await quiet(out, wanted.patience_s)
            actor = who.actor(wanted.actor)
            done = [
                await _recovered(Recovery(config, source, reader, n, actor, wanted.reason), wanted)
                for n in range(len(config.log.stores))
            ]
    recovered = [one for one in done if one is not None]
    _tell(recovered, config, output, planned=wanted.reason is None)
    return not any(one.unexplained for one in recovered)


async def _recovered(recovery: Recovery, wanted: Wanted) -> Done | None:
    try:
        return await recovery.run(anyway=wanted.anyway)
    except LogUnavailable as error:
        dsn = recovery.config.log.stores[recovery.number]
        raise log_trouble(dsn, error.__cause__ or error) from error
    except DefinitionInvalid as error:
        raise Trouble(f"a definition cannot be read: {error}") from error


def _tell(done: Sequence[Done], config: Config, output: Output, *, planned: bool) -> None:
    if output is Output.JSON:
        as_json([_as_json(one, planned=planned) for one in done])
        return
    if not done:
        say("no store of the log has forgotten anything that its marks know of")
        return
    for one in done:
        _print(one, len(config.log.stores), planned=planned)


def _print(done: Done, stores: int, *, planned: bool) -> None:
    would = "would be " if planned else ""
    shards = ", ".join(map(str, done.forgotten)) or "none, by their marks"
    say(f"store {done.store} of {stores}: shards that have forgotten: {shards}")
    rows = [
        (one.gid, one.name, one.key, "lost" if one.lost else "behind", one.outcome or one.status)
        for one in done.rebuilt
    ]
    as_table(("GID", "NAME", "KEY", "WAS", "IS"), rows)
    note(f"{len(rows)} transactions {would}brought up to date; generation {done.generation}")
    for gid in done.unexplained:
        note(f"{gid} is prepared, and nothing says who has asked for it: `twofold indoubt list`")


def _as_json(done: Done, *, planned: bool) -> dict[str, Any]:
    return {
        "store": done.store,
        "planned": planned,
        "forgotten": done.forgotten,
        "generation": done.generation,
        "rebuilt": [one._asdict() for one in done.rebuilt],
        "unexplained": done.unexplained,
    }
