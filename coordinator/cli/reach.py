"""The settings, and the way to the log, for commands that live a moment. `twofold config`."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import asyncpg
import structlog
from pydantic import ValidationError
from pydantic_settings import SettingsError

from coordinator.cli.errors import Trouble, log_trouble, mask
from coordinator.cli.output import Output, as_json, as_table
from coordinator.config import Config, load_config, origins
from coordinator.log.ask import TROUBLE, ask
from coordinator.log.store import LogUnavailable
from wire import gids
from wire.dsn import servers
from wire.postgres import connect

CONNECT_S = 10.0


class Facts(NamedTuple):
    """What was fixed when the log was created, and its clock."""

    cluster: str
    shards: int
    now_us: int


class Owner(NamedTuple):
    """Who takes care of a shard."""

    replica: str
    alive: bool


FACTS = """
    SELECT name, shards, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
      FROM twofold.cluster
"""

OWNER = "SELECT owner, until > clock_timestamp() FROM twofold.lease WHERE shard = $1"


def settings(file: Path | None, **given: Any) -> Config:
    """Return the settings in force, or say which of them makes no sense."""
    be_quiet()
    try:
        return load_config(file, **given)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
        )
        raise Trouble(f"the settings make no sense: {wrong}.", _where(file)) from error
    except SettingsError as error:
        raise Trouble(f"the settings make no sense: {error}.", _where(file)) from error
    except tomllib.TOMLDecodeError as error:
        raise Trouble(f"{file} is not TOML: {error}.") from error


def _where(file: Path | None) -> str:
    named = f"They come from {file} and from" if file else "They come from"
    return f"{named} the environment: TWOFOLD_<SECTION>__<NAME>."


def be_quiet() -> None:
    """Keep libraries from telling in several lines what is told in one sentence."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
    )


@asynccontextmanager
async def log_connection(dsn: str) -> AsyncGenerator[Any]:
    """Connect to the log's database; whatever goes wrong with it is a Trouble."""
    try:
        connection, _ = await connect(servers(dsn), within_s=CONNECT_S)
    except (*TROUBLE, ValueError) as error:
        raise log_trouble(dsn, error) from error
    try:
        yield connection
    except LogUnavailable as error:
        raise log_trouble(dsn, error.__cause__ or error) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError) as error:
        raise log_trouble(dsn, error) from error
    finally:
        with suppress(*TROUBLE):  # what is so has been said by then, or is well
            await connection.close(timeout=CONNECT_S)


@asynccontextmanager
async def logs(config: Config, *, gid: str | None = None) -> AsyncGenerator[list[Any]]:
    """Connect to all stores of the log, or to the one that has a transaction."""
    name = gids.parse(gid) if gid is not None else None
    wanted = config.log.stores if name is None else (config.log.store_of(name.shard),)
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(log_connection(dsn)) for dsn in wanted]


@contextmanager
def kafka(config: Config) -> Generator[None]:
    """Say where Kafka was looked for, when it does not answer."""
    from wire.kafka import KafkaUnavailable  # noqa: PLC0415  # most commands need no Kafka

    try:
        yield
    except KafkaUnavailable as error:
        reason = str(error).removeprefix("KafkaConnectionError: ")
        raise Trouble(
            f"Kafka at {config.kafka.bootstrap} cannot be used: {reason}.",
            "Is it running? TWOFOLD_KAFKA__BOOTSTRAP says where it is looked for.",
        ) from error


async def facts(connection: Any) -> Facts:
    """Read what the log is."""
    rows = await ask(connection, FACTS)
    if not rows:
        raise Trouble("the log names no cluster yet.", "Run `twofold migrate`.")
    return Facts(*rows[0])


async def owner(connection: Any, shard: int) -> Owner | None:
    """Read who takes care of a shard, or did last."""
    rows = await ask(connection, OWNER, shard)
    return Owner(*rows[0]) if rows else None


# ── config ───────────────────────────────────────────────────────────────────


def show_settings(file: Path | None, output: Output) -> None:
    """Print the settings in force, each with its origin."""
    config = settings(file)
    said = origins(file)
    shown = {
        path: {"value": _shown(path, value), "from": origin}
        for path, value in _leaves(config.model_dump(mode="json"))
        for origin in [said.get(path, "default")]
    }
    if output is Output.JSON:
        as_json({".".join(path): fact for path, fact in shown.items()})
        return
    rows = [(".".join(path), str(fact["value"]), fact["from"]) for path, fact in shown.items()]
    as_table(("SETTING", "VALUE", "FROM"), rows)


def _shown(path: tuple[str, ...], value: Any) -> Any:
    match path:
        case ("log", "dsn"):
            return mask(value)
        case ("log", "more"):
            return [mask(dsn) for dsn in value]
        case _:
            return value


def _leaves(values: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            inner = cast("dict[str, Any]", value)
            yield from (((name, *path), leaf) for path, leaf in _leaves(inner))
        else:
            yield (name,), value
