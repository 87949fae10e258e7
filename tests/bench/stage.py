"""The processes: Kafka, Postgres, coordinators and participants."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from compose.local.cluster import Cluster
from compose.local.kafka import LocalKafka
from compose.local.postgres import LocalPostgres
from compose.local.stack import LocalStack
from tests.bench import floors
from tests.bench.truth import execute
from tests.bench.workload import ACCOUNT_TABLE, BANKS, BOOKING_TABLE, SERVICES

DEFINITIONS: Final = Path(__file__).parent / "definitions"
MODULE: Final = "tests.bench.services"
STORES: Final = ("twofold", "twofold_more")
"""The log's databases; but for the curve of stores it has the first only."""
SHARDS: Final = 4
"""Twice the cores: what one needs who will have no more coordinators than cores."""
BANK_PARTICIPANTS: Final = tuple(f"{MODULE}:{bank}" for bank in BANKS)
SERVICE_PARTICIPANTS: Final = tuple(f"{MODULE}:{service}" for service in SERVICES)


class Servers:
    """Kafka and Postgres, with the databases of both sides; all reach it by its Unix socket."""

    def __init__(self, kafka: LocalKafka, postgres: LocalPostgres) -> None:
        self.kafka, self.postgres = kafka, postgres
        self.stack = LocalStack(kafka, postgres)
        self.dsn = postgres.socket_dsn

    @classmethod
    @contextmanager
    def start(cls, directory: Path) -> Generator[Self]:
        """Start both; stop them at the end."""
        ours = (*STORES, *BANKS, *SERVICES)
        theirs = [floors.PREFIX + name for name in (*BANKS, *SERVICES)]
        with ExitStack() as running:
            postgres = LocalPostgres.start(
                directory / "postgres", databases=[*ours, *theirs, floors.LOG]
            )
            running.callback(postgres.stop)
            kafka = LocalKafka.start(directory / "kafka", progress=lambda _: None, for_speed=True)
            running.callback(kafka.stop)
            yield cls(kafka, postgres)

    async def prepare_floors(self) -> None:
        """Create the floors' tables."""
        for bank in BANKS:
            await execute(self.dsn(floors.PREFIX + bank), ACCOUNT_TABLE)
        for service in SERVICES:
            await execute(self.dsn(floors.PREFIX + service), BOOKING_TABLE + floors.TABLES)
        await execute(self.dsn(floors.LOG), floors.LOG_TABLES)


class Company:
    """A cluster at work: coordinators, banks and services in processes of their own."""

    def __init__(
        self,
        servers: Servers,
        directory: Path,
        environment: Mapping[str, str],
        definitions: Path = DEFINITIONS,
    ) -> None:
        self.servers = servers
        self.cluster = Cluster(
            servers.stack,
            directory,
            definitions=[definitions],
            participants=[MODULE],
            environment={
                "TWOFOLD_LOG__SHARDS": str(SHARDS),
                "TWOFOLD_LOG__DSN": servers.dsn("twofold"),
                "TWOFOLD_PG_DSN": servers.dsn("twofold"),
                **environment,
            },
        )
        self.pids: dict[str, list[int]] = {}

    @contextmanager
    def at_work(self, coordinators: int) -> Generator[Self]:
        """Start all processes, and stop them at the end."""
        with self.cluster:
            started = [
                self.cluster.launch_participants("banks", modules=BANK_PARTICIPANTS),
                self.cluster.launch_participants("services", modules=SERVICE_PARTICIPANTS),
            ]
            self.pids = {"coordinator": [], "participants": [child.pid for child in started]}
            for n in range(coordinators):
                child = self.cluster.launch_coordinator(f"coordinator-{n + 1}")
                self.pids["coordinator"].append(child.pid)
            self.cluster.await_ready()
            yield self
            self.cluster.check_alive()
