"""`twofold serve`, `migrate`, `topics`, `config`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from coordinator.cli.output import NO, Output, OutputOption, as_json, fail

if TYPE_CHECKING:
    from coordinator.config import Config

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="A TOML file of settings.", envvar="TWOFOLD_CONFIG")
]
Definitions = Annotated[
    list[Path] | None,
    typer.Option("--definitions", help="A definition file or folder; may be repeated."),
]


def load_config(file: Path | None, definitions: list[Path] | None = None) -> Config:
    """Read the settings, or end with what is wrong with them."""
    from pydantic import ValidationError  # noqa: PLC0415

    from coordinator.config import Config  # noqa: PLC0415

    if file is not None and not file.is_file():
        fail(f"there is no file {file}")
    Config.file = file
    try:
        given: dict[str, Any] = {"definitions": tuple(definitions)} if definitions else {}
        return Config(**given)
    except ValidationError as error:
        first = error.errors()[0]
        fail(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}")
    except ValueError as error:
        fail(f"{file}: {error}")


def set_up_logs() -> None:
    """One line an event on stderr: JSON, or for a person at a terminal."""
    import structlog  # noqa: PLC0415

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    # It reports as errors what it mends by itself, e.g. while a broker starts.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    person = sys.stderr.isatty()
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if person else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


def serve(config: ConfigFile = None, definitions: Definitions = None) -> None:
    """Coordinate transactions until told to stop.

    Example: twofold serve --definitions sagas/examples
    """
    import uvloop  # noqa: PLC0415

    settings = load_config(config, definitions)
    set_up_logs()
    uvloop.run(_serve(settings))


async def _serve(settings: Config) -> None:
    from coordinator.service import new_replica  # noqa: PLC0415
    from coordinator.service import serve as coordinate  # noqa: PLC0415
    from coordinator.telemetry.watcher import make_watcher  # noqa: PLC0415

    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(130)  # asked twice: at once
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    replica = new_replica()
    watcher = make_watcher(settings.traces.per_second, replica)
    try:
        await coordinate(settings, stop, watcher, replica)
    finally:
        watcher.close()


def migrate(
    config: ConfigFile = None,
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the SQL, and change nothing.")
    ] = False,
) -> None:
    """Create the decision log's schema, or bring it up to date.

    Example: twofold migrate --plan
    """
    settings = load_config(config)
    asyncio.run(_plan(settings) if plan else _migrate(settings))


async def _plan(settings: Config) -> None:
    from coordinator.log.migrate import BOOTSTRAP, migrations, pending  # noqa: PLC0415

    try:
        connection = await _connect(settings.log.dsn)
    except (OSError, ValueError):
        steps = migrations()  # without a database, all of it
    else:
        steps = await pending(connection)
        await connection.close()
    if not steps:
        typer.echo("-- nothing to do")
        return
    for sql in (BOOTSTRAP, *(f"-- {s.number:04d} {s.name}\n{s.sql}" for s in steps)):
        typer.echo(sql)


async def _migrate(settings: Config) -> None:
    import asyncpg  # noqa: PLC0415

    from coordinator.log.migrate import ClusterMismatch  # noqa: PLC0415
    from coordinator.log.migrate import migrate as apply  # noqa: PLC0415

    log = settings.log
    try:
        connection = await _connect(log.dsn)
        steps = await apply(connection, cluster=log.cluster, shards=log.shards)
    except asyncpg.InvalidCatalogNameError:
        name = urlsplit(log.dsn).path.lstrip("/")
        fail(f"there is no database {name!r}: create it first, e.g. createdb {name}")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ClusterMismatch) as error:
        fail(f"the log at {masked(log.dsn)}: {error}")
    await connection.close()
    for step in steps:
        typer.echo(f"applied {step.number:04d} {step.name}")
    typer.echo(f"the log is up to date: cluster {log.cluster}, {log.shards} shards")


async def _connect(dsn: str) -> Any:
    import asyncpg  # noqa: PLC0415

    return await asyncpg.connect(dsn, timeout=10)


def topics(
    config: ConfigFile = None,
    definitions: Definitions = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="Only say what is missing.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create the topics that are not there: our own, and those of definitions.

    Example: twofold topics --definitions sagas/examples
    """
    from sagas.loader import DefinitionInvalid  # noqa: PLC0415
    from wire.kafka import KafkaUnavailable  # noqa: PLC0415

    settings = load_config(config, definitions)
    try:
        asyncio.run(_topics(settings, check=check, output=output))
    except DefinitionInvalid as error:
        fail(str(error), code=NO)
    except KafkaUnavailable as error:
        fail(f"Kafka at {settings.kafka.bootstrap}: {error}")


async def _topics(settings: Config, *, check: bool, output: Output) -> None:
    from coordinator.service import (  # noqa: PLC0415
        definition_topics,
        ensure_topics,
        load_files,
        own_topics,
    )
    from wire.kafka import partition_counts  # noqa: PLC0415

    shards = settings.log.shards
    wanted = own_topics(settings)
    for definition in load_files(settings.definitions):
        wanted |= definition_topics(definition, shards)
    before = await partition_counts(settings.kafka.bootstrap, wanted)
    if not check:
        await ensure_topics(settings, wanted)
    wrong = 0
    report: list[dict[str, Any]] = []
    for name, count in wanted.items():
        has = before.get(name, 0)
        state = "is there" if has else "missing" if check else "created"
        if has and has != count and name in own_topics(settings):
            state = f"has {has} partitions, and needs {count}"
        wrong += state.startswith(("missing", "has"))
        report.append({"topic": name, "partitions": has or count, "state": state})
    if output is Output.JSON:
        as_json(report)
    else:
        for line in report:
            typer.echo(f"{line['topic']}: {line['state']}")
    if wrong:
        raise typer.Exit(NO)


def show_config(config: ConfigFile = None) -> None:
    """Show the settings in force; passwords are masked.

    Example: TWOFOLD_LOG__SHARDS=4 twofold config
    """
    settings = load_config(config)
    shown = settings.model_dump(mode="json")
    shown["log"]["dsn"] = masked(settings.log.dsn)
    as_json(shown)


def masked(dsn: str) -> str:
    """Hide the password of a DSN."""
    password = urlsplit(dsn).password
    return dsn.replace(f":{password}@", ":***@", 1) if password else dsn
