"""Several brokers of Kafka on this machine, each of which may die alone.

They are broker and controller each, as one process is, and what one has
acknowledged two of them have: so any one may be lost.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from compose.local.kafka import LocalKafka, cluster_id
from compose.local.ports import LOOPBACK

HEAP_MB = 256
START_SECONDS = 180.0
"""Each waits for a majority of them."""


class LocalBrokers:
    """So many brokers that know each other; with one, a plain LocalKafka."""

    def __init__(self, directory: Path, count: int) -> None:
        self.nodes = [LocalKafka(directory / f"broker-{n + 1}") for n in range(count)]
        if count == 1:
            return
        voters = ",".join(
            f"{n}@{LOOPBACK}:{node.ports.controller}" for n, node in enumerate(self.nodes, 1)
        )
        copies, quorum = str(min(count, 3)), str(min(count, 3) - 1)
        shared = {
            "controller.quorum.voters": voters,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": quorum,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": quorum,
            "default.replication.factor": copies,
            "min.insync.replicas": quorum,
            # A follower that is silent is no longer waited for, soon enough for a short run.
            "replica.lag.time.max.ms": "5000",
        }
        name = cluster_id()
        for n, node in enumerate(self.nodes, 1):
            node.join(name, {**shared, "node.id": str(n)}, HEAP_MB, START_SECONDS)

    @classmethod
    def start(cls, directory: Path, count: int, *, progress: Callable[[str], None]) -> Self:
        """Running brokers whose data and logs are in this directory."""
        brokers = cls(directory, count)
        try:
            brokers.launch(progress)
        except BaseException:
            brokers.stop()
            raise
        return brokers

    @property
    def bootstrap(self) -> str:
        return ",".join(node.bootstrap for node in self.nodes)

    @property
    def proxied_bootstrap(self) -> str:
        """For clients behind fault proxies, of which each broker has one."""
        return ",".join(node.proxied_bootstrap for node in self.nodes)

    def launch(self, progress: Callable[[str], None]) -> None:
        """Start all at once, since each waits for others."""
        self._all(lambda node: node.launch(progress))

    def kill(self) -> None:
        """SIGKILL to all of them."""
        for node in self.nodes:
            node.kill()

    def restart(self) -> None:
        """Start all again."""
        self._all(lambda node: node.restart())

    def stop(self) -> None:
        """End them in good order; they cannot be started again."""
        self._all(lambda node: node.stop())

    def describe(self) -> str:
        return "; ".join(node.describe() for node in self.nodes)

    def _all(self, do: Callable[[LocalKafka], None]) -> None:
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            for done in [pool.submit(do, node) for node in self.nodes]:
                done.result()
