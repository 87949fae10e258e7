"""Settings: defaults, then a TOML file, then the environment.

    TWOFOLD_KAFKA__BOOTSTRAP=kafka:9092
    TWOFOLD_LOG__DSN=postgresql://twofold@db/twofold

Two underscores step into a section. The file is named by --config, or by
TWOFOLD_CONFIG. Every setting has a default that suits a laptop; `twofold
config` shows what is in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kafka(_Section):
    """Where messages travel."""

    bootstrap: str = Field("127.0.0.1:9092", description="host:port, several with commas")
    prefix: str = Field("twofold", description="first part of the names of our own topics")
    replication: int = Field(1, ge=1, le=10, description="copies of each topic that we create")


class Log(_Section):
    """Where decisions are kept."""

    dsn: str = Field(
        "postgresql://postgres@127.0.0.1:5432/twofold", description="a Postgres database"
    )
    more: tuple[str, ...] = Field(
        (),
        description="further databases; shard i is in the (i mod n)-th of all n, the first being"
        " dsn. Fixed when the log is created",
    )
    cluster: str = Field(
        "main", pattern=r"^[a-z0-9-]{1,24}$", description="name of this log, in every gid"
    )
    shards: int = Field(8, ge=1, le=10_000, description="fixed when the log is created")

    active: int = Field(
        10_000, ge=1, description="transactions of a shard at once; the rest waits in its topic"
    )

    @property
    def stores(self) -> tuple[str, ...]:
        """The databases, in the order in which shards are dealt out to them."""
        return (self.dsn, *self.more)

    def store_of(self, shard: int) -> str:
        """Return the database that has a shard."""
        return self.stores[shard % len(self.stores)]


class Starts(_Section):
    """What is done with a start that needs a participant of which no instance lives."""

    absent_participants: Literal["ignore", "hold", "refuse"] = Field(
        "ignore",
        description="ignore: start anyway; hold: leave its event unread; refuse: answer REFUSED",
    )


class Traces(_Section):
    """What is seen of it. Where spans go is said by OTEL_EXPORTER_OTLP_ENDPOINT."""

    per_second: float = Field(
        20.0, ge=0, description="traces a second that are begun here and kept; bad ends always are"
    )


class Probes(_Section):
    """Who may ask whether this process lives and works."""

    listen: str = Field("", description="host:port for GET /live and /ready; empty: nowhere")


class Config(BaseSettings):
    """All settings of a coordinator."""

    model_config = SettingsConfigDict(
        env_prefix="TWOFOLD_", env_nested_delimiter="__", extra="forbid", frozen=True
    )
    file: ClassVar[Path | None] = None

    kafka: Kafka = Kafka()  # pyright: ignore[reportCallIssue]  # all fields have defaults
    log: Log = Log()  # pyright: ignore[reportCallIssue]
    starts: Starts = Starts()  # pyright: ignore[reportCallIssue]
    traces: Traces = Traces()  # pyright: ignore[reportCallIssue]
    probes: Probes = Probes()  # pyright: ignore[reportCallIssue]
    definitions: tuple[Path, ...] = Field(
        (), description="files and folders whose definitions are published at the start"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let a call beat the environment, and the environment beat the file."""
        del dotenv_settings, file_secret_settings
        toml = TomlConfigSettingsSource(settings_cls, cls.file) if cls.file else None
        return (init_settings, env_settings, *([toml] if toml else []))


def load_config(file: Path | None = None, **given: Any) -> Config:
    """Return the settings in force: what is given, the environment, the file, the defaults.

    Raises:
        ValidationError, SettingsError, TOMLDecodeError, OSError: one of them makes no sense.

    """
    if file is None:
        return Config(**given)
    file.read_bytes()  # a file that is missing would count as an empty one

    class Filed(Config):
        pass

    Filed.file = file
    return Filed(**given)


def origins(file: Path | None = None) -> dict[tuple[str, ...], str]:
    """Tell, for each setting that is no default, where it is said."""
    environment = EnvSettingsSource(Config)()
    toml = TomlConfigSettingsSource(Config, file)() if file else {}
    return {
        **dict.fromkeys(_leaves(toml), str(file)),
        **{path: _variable(path) for path in _leaves(environment)},
    }


def _leaves(said: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, value in said.items():
        if isinstance(value, Mapping):
            found.extend(_leaves(cast("Mapping[str, Any]", value), (*above, name)))
        else:
            found.append((*above, name))
    return found


def _variable(path: tuple[str, ...]) -> str:
    return f"TWOFOLD_{'__'.join(path)}".upper()
