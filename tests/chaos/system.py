"""Everything that is under test: servers, processes, and the proxies between them.

The log and the participants have a Postgres each, so that either may die
alone. Each process reaches its Postgres through a proxy of its own. Each broker
of Kafka has a second listener behind a proxy, and some processes use that one:
so it can be cut off from these, and not from the others. Where we may mount,
the log and one broker have a disk of their own, so that it can be full.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from compose.local.brokers import LocalBrokers
from compose.local.child import Child
from compose.local.cluster import Cluster
from compose.local.errors import StackError
from compose.local.guard import state_and_parent
from compose.local.kafka import LocalKafka
from compose.local.postgres import LocalPostgres
from compose.local.proxy import FaultProxy
from compose.local.small_disk import SmallDisk
from compose.local.stack import LocalStack
from tests.chaos.services import DATABASES

HERE: Final = Path(__file__).parent
DEFINITIONS: Final = (HERE / "definitions",)
SERVICES: Final = "tests.chaos.services"
SUPERVISE_S: Final = 0.5
RESTARTS: Final = 3

# Two thirds of these are used at most by each participant, so they are scarce.
PREPARED_SLOTS: Final = 16
RESOLVE: Final = {"TWOFOLD_RESOLVE_EVERY": "1", "TWOFOLD_RESOLVE_AFTER": "3"}


class Shape(NamedTuple):
    """How many processes there are, and of what."""

    coordinators: int = 3
    participants: Sequence[tuple[str, ...]] = (
        ("node_a",),
        ("node_a",),
        ("node_b",),
        ("node_c",),
    )
    source: Path | None = None
    """The tree whose code runs; by default, this one."""
    brokers: int = 1
    disks: bool = False
    """Whether the log and a broker have disks of their own, which are in memory."""


class Link(NamedTuple):
    """A way to a server, through a proxy. Whoever troubles it holds its lock."""

    name: str
    proxy: FaultProxy
    lock: asyncio.Lock


class Process:
    """A process that is started again whenever it dies. Whoever troubles it holds its lock."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        launch: Callable[[str, Mapping[str, str]], Child],
        database: Link,
        *,
        proxied: bool,
    ) -> None:
        self.name, self.database, self.proxied = name, database, proxied
        self.lock = asyncio.Lock()
        self.environment: dict[str, str] = {}
        self._cluster, self._launch = cluster, launch
        self._child: Child | None = None

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.alive

    @property
    def pid(self) -> int:
        """Its process, as long as it has one."""
        return self._child.pid if self._child is not None and self._child.alive else 0

    @property
    def asleep(self) -> bool:
        """Whether it has been stopped, by whomever."""
        return self._child is not None and state_and_parent(self._child.pid)[0] == "T"

    async def died(self) -> int | None:
        """Tell with which code it has ended; None while it runs."""
        return None if self._child is None else await asyncio.to_thread(self._child.wait, 0)

    async def start(self, failpoint: str = "", extra: Mapping[str, str] | None = None) -> None:
        """Start it, and do not wait for it."""
        if self._child is not None and not self.alive:
            await asyncio.to_thread(self._child.stop)
        environment = {**self.environment, **(extra or {})}
        self._child = await asyncio.to_thread(self._launch, failpoint, environment)

    async def kill(self) -> None:
        """SIGKILL."""
        await asyncio.to_thread(self._cluster.kill, self.name)

    async def stop(self) -> None:
        """SIGTERM, and wait until it has ended."""
        await asyncio.to_thread(self._cluster.stop_one, self.name)

    def pause(self) -> None:
        """SIGSTOP."""
        self._cluster.pause(self.name)

    def resume(self) -> None:
        """SIGCONT."""
        self._cluster.resume(self.name)


class Server:
    """Kafka or a Postgres."""

    def __init__(self, name: str, server: LocalKafka | LocalPostgres) -> None:
        self.name, self.lock = name, asyncio.Lock()
        self._server = server
        self.disk: SmallDisk | None = None

    @property
    def alive(self) -> bool:
        return self._server.alive

    async def kill(self) -> None:
        """SIGKILL, with all of its children."""
        await asyncio.to_thread(self._server.kill)

    async def restart(self) -> None:
        """Start it again on the same data, and wait until it is ready.

        On a machine that is busy with something else it may need another try.
        """
        for _ in range(RESTARTS - 1):
            with suppress(StackError):
                return await asyncio.to_thread(self._server.restart)
        return await asyncio.to_thread(self._server.restart)


class System:
    """The servers, the processes, and who stands between them."""

    def __init__(
        self,
        kafka: LocalBrokers,
        kafka_links: Sequence[Link],
        log: LocalPostgres,
        data: LocalPostgres,
        cluster: Cluster,
    ) -> None:
        self.kafka, self.kafka_links = kafka, kafka_links
        self.log, self.data, self.cluster = log, data, cluster
        self.brokers = [
            Server(link.name, b) for link, b in zip(kafka_links, kafka.nodes, strict=True)
        ]
        self.servers = {
            "log": Server("the log's Postgres", log),
            "data": Server("the participants' Postgres", data),
        }
        self.coordinators: list[Process] = []
        self.participants: list[Process] = []
        self.deaths: list[str] = []
        """Processes that ended though nobody had asked them to."""
        self.poisons: set[bytes] = set()
        """The keys of records that must be found among the dead letters."""
        self.slots = asyncio.Lock()

    @property
    def processes(self) -> list[Process]:
        return [*self.coordinators, *self.participants]

    async def supervise(self) -> None:
        """Start again what has died by itself, and note it."""
        while True:
            for process in self.processes:
                if not process.lock.locked() and not process.alive:
                    self.deaths.append(process.name)
                    await process.start()
            await asyncio.sleep(SUPERVISE_S)

    async def add(self, shape: Shape, proxies: AsyncExitStack) -> None:
        """Make the processes and their proxies; start nothing."""
        for n in range(shape.coordinators):
            name = f"coordinator-{n}"
            link = await _link(name, self.log.port, proxies)
            launch = self._coordinator(name)
            process = Process(name, self.cluster, launch, link, proxied=n % 3 == 1)
            process.environment["TWOFOLD_LOG__DSN"] = _dsn(link, "twofold")
            self.coordinators.append(process)
        for n, nodes in enumerate(shape.participants):
            name = f"participants-{n}"
            link = await _link(name, self.data.port, proxies)
            launch = self._participants(name, nodes)
            process = Process(name, self.cluster, launch, link, proxied=n % 3 == 1)
            process.environment["TWOFOLD_PG_DSN"] = _dsn(link, "postgres")
            self.participants.append(process)
        for process in self.processes:
            if process.proxied:
                process.environment["TWOFOLD_KAFKA__BOOTSTRAP"] = self.kafka.proxied_bootstrap

    def _coordinator(self, name: str) -> Callable[[str, Mapping[str, str]], Child]:
        return lambda failpoint, environment: self.cluster.launch_coordinator(
            name, failpoint=failpoint, environment=environment
        )

    def _participants(
        self, name: str, nodes: Sequence[str]
    ) -> Callable[[str, Mapping[str, str]], Child]:
        modules = [f"{SERVICES}:{node}" for node in nodes]
        return lambda failpoint, environment: self.cluster.launch_participants(
            name, modules=modules, failpoint=failpoint, environment=environment
        )


@asynccontextmanager
async def running(directory: Path, shape: Shape) -> AsyncGenerator[System]:
    """Start the servers, and create all that is needed; processes are made, not started."""
    async with AsyncExitStack() as open_:
        kafka = LocalBrokers(directory / "kafka", shape.brokers)
        disks = _disks(directory, kafka, open_) if shape.disks else (None, None)
        open_.push_async_callback(asyncio.to_thread, kafka.stop)
        # Their proxies take their ports before anything else can.
        links = [
            await _link(_broker(n, shape), node.ports.proxied, open_, port=node.ports.proxy)
            for n, node in enumerate(kafka.nodes, 1)
        ]
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(kafka.launch, lambda _: None))
            log = group.create_task(_started(partial(_start_log, directory), open_))
            data = group.create_task(_started(partial(_start_data, directory), open_))
        cluster = Cluster(
            LocalStack(kafka, log.result()),
            directory / "processes",
            definitions=DEFINITIONS,
            participants=[SERVICES],
            environment={
                **RESOLVE,
                "TWOFOLD_PG_DSN": data.result().dsn("postgres"),
                "TWOFOLD_KAFKA__REPLICATION": str(min(shape.brokers, 3)),
            },
            source=shape.source,
        )
        system = System(kafka, links, log.result(), data.result(), cluster)
        system.servers["log"].disk, system.brokers[0].disk = disks
        await system.add(shape, open_)
        await asyncio.to_thread(cluster.prepare)
        open_.push_async_callback(asyncio.to_thread, cluster.stop)
        yield system


def _broker(number: int, shape: Shape) -> str:
    return "Kafka" if shape.brokers == 1 else f"broker {number}"


def _disks(
    directory: Path, kafka: LocalBrokers, open_: AsyncExitStack
) -> tuple[SmallDisk | None, SmallDisk | None]:
    """Mount what the log's and the first broker's data will be on; it outlives both servers."""
    log = SmallDisk.mount(LocalPostgres(directory / "log").place())
    broker = SmallDisk.mount(kafka.nodes[0].data)
    for disk in (log, broker):
        if disk is not None:
            open_.callback(disk.unmount)
    return log, broker


async def _started(start: Callable[[], LocalPostgres], open_: AsyncExitStack) -> LocalPostgres:
    """Start a server without keeping the others waiting, and see that it is stopped."""
    server = await asyncio.to_thread(start)
    open_.push_async_callback(asyncio.to_thread, server.stop)
    return server


def _start_log(directory: Path) -> LocalPostgres:
    return LocalPostgres.start(directory / "log", databases=["twofold"])


def _start_data(directory: Path) -> LocalPostgres:
    settings = {"max_prepared_transactions": str(PREPARED_SLOTS)}
    return LocalPostgres.start(directory / "data", databases=DATABASES, settings=settings)


async def _link(name: str, target: int, open_: AsyncExitStack, *, port: int = 0) -> Link:
    proxy = await open_.enter_async_context(await FaultProxy.start(target, port=port))
    return Link(name, proxy, asyncio.Lock())


def _dsn(link: Link, database: str) -> str:
    return f"postgresql://postgres@127.0.0.1:{link.proxy.port}/{database}"
