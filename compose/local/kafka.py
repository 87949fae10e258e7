"""A real Apache Kafka on this machine: one process, broker and controller.

What was acknowledged survives `kill` and `restart`: data is under the given
directory and the port stays. It is not forced to the platter for each record,
so a power failure may lose what only the page cache held.
"""

import base64
import signal
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from compose.local.child import Child, Command, run_to_end
from compose.local.disk import require_space
from compose.local.errors import StackError
from compose.local.jars import KAFKA_VERSION, kafka_jars
from compose.local.java import Java, find_java
from compose.local.ports import LOOPBACK, free_port, require_free

START_SECONDS = 60.0
STOP_SECONDS = 10.0
STARTED = "Kafka Server started"
HEAP_MB = 512
JVM_FLAGS = ("-Xms64m", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8")
# The best compiler of a JVM takes more CPU at first than a demo or a test lets it give back.
QUICK_FLAGS = ("-XX:TieredStopAtLevel=1",)

# One replica of everything, and no waiting for more consumers to join a group.
FIXED_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    # After a SIGKILL the controller waits this long before it lets the broker back in.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # The default, 128 MB, does not fit a small heap.
    "log.cleaner.dedupe.buffer.size": "8388608",
}


@dataclass(frozen=True)
class Ports:
    """Kafka's ports. Clients of `proxied` are sent on to `proxy`.

    A client learns a broker's address from the broker itself. So whoever wants
    a fault proxy between the two uses the proxied listener, which advertises
    the proxy's port: bootstrap from 127.0.0.1:`proxy`, and let the proxy there
    connect to 127.0.0.1:`proxied`.
    """

    client: int
    controller: int
    proxied: int
    proxy: int

    @classmethod
    def choose(cls) -> Self:
        return cls(free_port(), free_port(), free_port(), free_port())


def server_properties(ports: Ports, data: Path, extra: Mapping[str, str]) -> str:
    listeners = {
        "PLAINTEXT": ports.client,
        "PROXIED": ports.proxied,
        "CONTROLLER": ports.controller,
    }
    advertised = {"PLAINTEXT": ports.client, "PROXIED": ports.proxy}
    settings = FIXED_SETTINGS | {
        "controller.quorum.voters": f"1@{LOOPBACK}:{ports.controller}",
        "listeners": _listener_list(listeners),
        "advertised.listeners": _listener_list(advertised),
        "log.dirs": str(data),
    }
    return "".join(f"{key}={value}\n" for key, value in {**settings, **extra}.items())


def _listener_list(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in ports.items())


class LocalKafka:
    """Kafka's own jars, run by this machine's Java."""

    def __init__(
        self,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        for_speed: bool = False,
    ) -> None:
        """Describe a Kafka; one that is there for speed takes longer until it is at its best."""
        self.directory = directory.resolve()
        self.ports = Ports.choose()
        self._flags = JVM_FLAGS if for_speed else (*JVM_FLAGS, *QUICK_FLAGS)
        self._settings = dict(settings or {})
        self._cluster, self._heap_mb, self._start_s = cluster_id(), HEAP_MB, START_SECONDS
        self._java: Java | None = None
        self._class_path = ""
        self._child: Child | None = None
        self._closed = False

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        progress: Callable[[str], None],
        settings: Mapping[str, str] | None = None,
        for_speed: bool = False,
    ) -> Self:
        """A running Kafka whose data and log are in this directory."""
        kafka = cls(directory, settings=settings, for_speed=for_speed)
        try:
            kafka.launch(progress)
        except BaseException:
            kafka.stop()
            raise
        return kafka

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.ports.client}"

    @property
    def proxied_bootstrap(self) -> str:
        """For clients behind a fault proxy, which must listen here (see Ports)."""
        return f"{LOOPBACK}:{self.ports.proxy}"

    @property
    def log(self) -> Path:
        return self.directory / "kafka.log"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int:
        if self._child is None:
            raise StackError("Kafka is not running", "call restart() first")
        return self._child.pid

    def join(self, cluster: str, settings: Mapping[str, str], heap_mb: int, start_s: float) -> None:
        """Be one of several, before it is launched."""
        self._settings |= settings
        self._cluster, self._heap_mb, self._start_s = cluster, heap_mb, start_s

    def launch(self, progress: Callable[[str], None]) -> None:
        self._java = find_java()
        self._class_path = ":".join(map(str, kafka_jars(progress)))
        self.directory.mkdir(parents=True, exist_ok=True)
        require_space(self.directory)
        self._properties.write_text(
            server_properties(self.ports, self.data, self._settings), encoding="utf-8"
        )
        if not (self.data / "meta.properties").exists():
            self._format()
        self.restart()

    def kill(self) -> None:
        """SIGKILL, as if the machine had lost this process."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def restart(self) -> None:
        """Start again on the same port and data; stops it first if it runs."""
        self._end()
        for port in (self.ports.client, self.ports.controller, self.ports.proxied):
            require_free(port, "Kafka")
        self._check_open()
        child = Child.start(self._command("kafka", "kafka.Kafka", str(self._properties)))
        self._child = child
        child.await_ready(lambda: STARTED in child.log_text(), seconds=self._start_s)

    def stop(self) -> None:
        """End it in good order; it cannot be started again."""
        self._closed = True
        self._end()

    def describe(self) -> str:
        java = f"Java {self._java.version}" if self._java else "no Java yet"
        return f"Kafka {KAFKA_VERSION} on {java} at {self.bootstrap} (local process)"

    def _end(self) -> None:
        if self._child is not None:
            self._child.stop(signal.SIGTERM, seconds=STOP_SECONDS)
            self._child = None

    def _check_open(self) -> None:
        if self._closed:
            raise StackError("Kafka was stopped while it started", "start a new stack")

    def _format(self) -> None:
        self._check_open()
        options = ["format", "--ignore-formatted", "-t", self._cluster]
        options += ["-c", str(self._properties)]
        run_to_end(
            self._command("kafka format", "kafka.tools.StorageTool", *options),
            seconds=START_SECONDS,
        )

    def _command(self, name: str, main_class: str, *arguments: str) -> Command:
        assert self._java is not None
        heap = f"-Xmx{self._heap_mb}m"
        java = [str(self._java.path), heap, *self._flags, "-cp", self._class_path, main_class]
        return Command(
            name=name,
            argv=[*java, *arguments],
            log=self.log,
            cwd=self.directory,
            farewell=signal.SIGKILL,
        )

    @property
    def _properties(self) -> Path:
        return self.directory / "server.properties"


def cluster_id() -> str:
    """16 random bytes in base64; a first character `-` would look like an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
