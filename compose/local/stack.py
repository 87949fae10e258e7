"""One place decides which Kafka and which Postgres the demo and the tests use.

First what the user names by KAFKA_BOOTSTRAP and PG_DSN; then containers, if
TWOFOLD_STACK=containers asks for them; else processes on this machine. All of
them are the real thing. What cannot be had is an error, never a substitute.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, Self

from compose.local.errors import StackError
from compose.local.external import ExternalKafka, ExternalPostgres
from compose.local.kafka import LocalKafka
from compose.local.postgres import LocalPostgres

Progress = Callable[[str], None]


class Kafka(Protocol):
    """What every Kafka of the stack can do."""

    @property
    def bootstrap(self) -> str: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...
    def stop(self) -> None: ...
    def describe(self) -> str: ...


class Postgres(Protocol):
    """What every Postgres of the stack can do."""

    def dsn(self, database: str) -> str: ...
    def create_database(self, name: str) -> None: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...
    def stop(self) -> None: ...
    def describe(self) -> str: ...


class LocalStack:
    """A running Kafka and a running Postgres."""

    def __init__(self, kafka: Kafka, postgres: Postgres) -> None:
        self.kafka, self.postgres = kafka, postgres

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        databases: Sequence[str],
        progress: Progress,
        environment: Mapping[str, str] = os.environ,
    ) -> Self:
        """Start both at once; on any failure or interrupt, leave nothing running."""
        directory.mkdir(parents=True, exist_ok=True)
        start_kafka, start_postgres = _choose(directory, databases, progress, environment)
        with ThreadPoolExecutor(max_workers=2) as pool:
            kafka, postgres = pool.submit(start_kafka), pool.submit(start_postgres)
            try:
                stack = cls(kafka.result(), postgres.result())
            except BaseException:
                _stop_when_started(kafka)
                _stop_when_started(postgres)
                raise
        progress(stack.describe())
        return stack

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def describe(self) -> str:
        return f"{self.kafka.describe()}; {self.postgres.describe()}"

    def stop(self) -> None:
        """Stop both, even if the first one cannot be."""
        with ThreadPoolExecutor(max_workers=2) as pool:
            ends = [pool.submit(self.kafka.stop), pool.submit(self.postgres.stop)]
        for end in ends:
            end.result()


def _choose(
    directory: Path, databases: Sequence[str], progress: Progress, environment: Mapping[str, str]
) -> tuple[Callable[[], Kafka], Callable[[], Postgres]]:
    contained = _wants_containers(environment)

    def start_kafka() -> Kafka:
        if bootstrap := environment.get("KAFKA_BOOTSTRAP"):
            return ExternalKafka(bootstrap)
        if contained:
            from compose.local.containers import ContainerKafka  # noqa: PLC0415  # tests only

            return ContainerKafka.start(progress=progress)
        return LocalKafka.start(directory / "kafka", progress=progress)

    def start_postgres() -> Postgres:
        if dsn := environment.get("PG_DSN"):
            return ExternalPostgres(dsn, databases)
        if contained:
            from compose.local.containers import ContainerPostgres  # noqa: PLC0415  # tests only

            return ContainerPostgres.start(databases=databases, progress=progress)
        return LocalPostgres.start(directory / "postgres", databases=databases, progress=progress)

    return start_kafka, start_postgres


def _wants_containers(environment: Mapping[str, str]) -> bool:
    chosen = environment.get("TWOFOLD_STACK", "local")
    if chosen not in {"local", "containers"}:
        raise StackError(f"TWOFOLD_STACK is {chosen!r}", "set it to `local` or `containers`")
    return chosen == "containers"


def _stop_when_started(started: "Future[Kafka] | Future[Postgres]") -> None:
    started.add_done_callback(_stop_result)


def _stop_result(started: "Future[Kafka] | Future[Postgres]") -> None:
    if not started.cancelled() and started.exception() is None:
        started.result().stop()
