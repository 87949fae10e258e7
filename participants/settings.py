"""Where a worker finds Kafka and Postgres: the environment, or a laptop's defaults.

The names are those of the coordinator where both need the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from participants.resolver import Patience


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one worker."""

    bootstrap: str = "127.0.0.1:9092"
    prefix: str = "twofold"
    postgres: str = "postgresql://postgres@127.0.0.1:5432/twofold"
    cluster: str = "main"
    group: str | None = None
    """The consumer group; by default it is named after the participants."""
    patience: Patience = field(default_factory=Patience)
    probes: str = ""
    """host:port for GET /live and /ready; empty: nowhere."""

    @classmethod
    def from_environment(
        cls,
        *,
        bootstrap: str | None = None,
        postgres: str | None = None,
        group: str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Settings:
        """Take what is given, then the environment, then the defaults."""
        default = Settings()
        return cls(
            bootstrap=bootstrap or environment.get("TWOFOLD_KAFKA__BOOTSTRAP", default.bootstrap),
            prefix=environment.get("TWOFOLD_KAFKA__PREFIX", default.prefix),
            postgres=postgres or environment.get("TWOFOLD_PG_DSN", default.postgres),
            cluster=environment.get("TWOFOLD_LOG__CLUSTER", default.cluster),
            group=group or environment.get("TWOFOLD_GROUP"),
            probes=environment.get("TWOFOLD_PROBES__LISTEN", default.probes),
            patience=Patience(
                every_seconds=_seconds(environment, "TWOFOLD_RESOLVE_EVERY", 5.0),
                after_seconds=_seconds(environment, "TWOFOLD_RESOLVE_AFTER", 30.0),
            ),
        )


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if seconds <= 0:
        raise ValueError(f"{name} is {text!r}: give it as seconds, more than 0")
    return seconds
