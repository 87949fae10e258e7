"""Kafka and Postgres in containers, by testcontainers: for tests about containers.

The images are those of compose/compose.yaml. Each listens on a port of this
machine that is chosen beforehand, so that it keeps it over a restart.
"""

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from compose.local.databases import create_databases, show, with_database
from compose.local.errors import StackError
from compose.local.kafka import FIXED_SETTINGS, KAFKA_VERSION
from compose.local.ports import LOOPBACK, free_port
from compose.local.postgres import SETTINGS, SUPERUSER

KAFKA_IMAGE = f"apache/kafka:{KAFKA_VERSION}"
POSTGRES_IMAGE = "postgres:18"
PING_SECONDS = 2
START_SECONDS = 120.0
KAFKA_PORT, CONTROLLER_PORT, POSTGRES_PORT = 9092, 9093, 5432

Progress = Callable[[str], None]


class Container:
    """A container with one port, which it keeps."""

    def __init__(self, image: str, inner_port: int) -> None:
        docker_container = require_docker()
        self.image, self.port = image, free_port()
        self._container = docker_container(image).with_bind_ports(inner_port, self.port)

    def configure(self, environment: Mapping[str, str], command: str = "") -> None:
        for name, value in environment.items():
            self._container.with_env(name, value)
        if command:
            self._container.with_command(command)

    def start(self, progress: Progress) -> None:
        progress(f"starting a container of {self.image}")
        try:
            self._container.start()
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise StackError(
                f"a container of {self.image} could not be started ({reason})",
                "check `docker info` and that the image can be pulled",
            ) from error

    def await_log(self, text: str, times: int = 1) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self._log().count(text) < times:
            if time.monotonic() > deadline:
                raise StackError(
                    f"the container of {self.image} did not come up in {START_SECONDS:g} seconds",
                    f"its log ends with: {self._log()[-500:]}",
                )
            time.sleep(0.1)

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def restart(self, text: str) -> None:
        before = self._log().count(text)
        self._container.get_wrapped_container().restart()
        self.await_log(text, before + 1)

    def stop(self) -> None:
        self._container.stop()

    def _log(self) -> str:
        standard, errors = self._container.get_logs()
        return (standard + errors).decode("utf-8", errors="replace")


class ContainerKafka:
    """The image of Apache Kafka, configured as the local process is."""

    STARTED = "Kafka Server started"

    def __init__(self, container: Container) -> None:
        self._container = container
        self.bootstrap = f"{LOOPBACK}:{container.port}"

    @classmethod
    def start(cls, *, progress: Progress) -> Self:
        container = Container(KAFKA_IMAGE, KAFKA_PORT)
        container.configure(kafka_environment(container.port))
        container.start(progress)
        kafka = cls(container)
        try:
            container.await_log(cls.STARTED)
        except BaseException:
            kafka.stop()
            raise
        return kafka

    def kill(self) -> None:
        self._container.kill()

    def restart(self) -> None:
        self._container.restart(self.STARTED)

    def stop(self) -> None:
        self._container.stop()

    def describe(self) -> str:
        return f"Kafka {KAFKA_VERSION} at {self.bootstrap} (container {KAFKA_IMAGE})"


class ContainerPostgres:
    """The official image of Postgres, with prepared transactions switched on."""

    READY = "database system is ready to accept connections"

    def __init__(self, container: Container) -> None:
        self._container = container
        self._version = ""

    @classmethod
    def start(cls, *, databases: Sequence[str], progress: Progress) -> Self:
        container = Container(POSTGRES_IMAGE, POSTGRES_PORT)
        options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        container.configure({"POSTGRES_HOST_AUTH_METHOD": "trust"}, f"postgres {options}")
        container.start(progress)
        postgres = cls(container)
        try:
            # The image starts the server once to create its files, then for good.
            container.await_log(cls.READY, times=2)
            create_databases(postgres.dsn("postgres"), databases)
            (postgres._version,) = show(postgres.dsn("postgres"), "server_version")
        except BaseException:
            postgres.stop()
            raise
        return postgres

    def dsn(self, database: str) -> str:
        base = f"postgresql://{SUPERUSER}@{LOOPBACK}:{self._container.port}/"
        return with_database(base, database)

    def create_database(self, name: str) -> None:
        create_databases(self.dsn("postgres"), [name])

    def kill(self) -> None:
        self._container.kill()

    def restart(self) -> None:
        self._container.restart(self.READY)

    def stop(self) -> None:
        self._container.stop()

    def describe(self) -> str:
        where = f"{LOOPBACK}:{self._container.port}"
        return f"Postgres {self._version} at {where} (container {POSTGRES_IMAGE})"


def kafka_environment(port: int) -> dict[str, str]:
    """The image reads a setting `a.b` from the variable KAFKA_A_B."""
    protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
    settings = FIXED_SETTINGS | {
        "listener.security.protocol.map": protocols,
        "controller.quorum.voters": f"1@localhost:{CONTROLLER_PORT}",
        "listeners": f"PLAINTEXT://:{KAFKA_PORT},CONTROLLER://:{CONTROLLER_PORT}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
    }
    return {f"KAFKA_{key.upper().replace('.', '_')}": value for key, value in settings.items()}


def require_docker() -> Any:
    """The testcontainers library's container class, once an engine has answered."""
    try:
        docker = importlib.import_module("docker")
        core = importlib.import_module("testcontainers.core.container")
    except ImportError as error:
        raise StackError(
            "TWOFOLD_STACK=containers needs testcontainers, which is not installed",
            "install it with: pip install testcontainers, or unset TWOFOLD_STACK",
        ) from error
    try:
        client = docker.from_env(timeout=PING_SECONDS)
        client.ping()
        client.close()
    except Exception as error:
        raise StackError(
            "TWOFOLD_STACK=containers needs a Docker engine and none answers",
            "start it, or unset TWOFOLD_STACK to use processes on this machine",
        ) from error
    return core.DockerContainer
