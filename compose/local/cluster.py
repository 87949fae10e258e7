"""Coordinators and participants as processes of their own, on a stack.

The demo, the acceptance tests and the chaos runs all start the same way as a
user does: by the `twofold` command and its environment.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from compose.local.child import Child, Command, run_to_end
from compose.local.errors import StackError
from compose.local.stack import LocalStack

PREPARE_SECONDS = 60.0
READY_SECONDS = 30.0


class Cluster:
    """Named processes of one Twofold cluster; leaving it stops them all."""

    def __init__(
        self,
        stack: LocalStack,
        directory: Path,
        *,
        definitions: Sequence[Path],
        participants: Sequence[str],
        environment: Mapping[str, str] | None = None,
        source: Path | None = None,
    ) -> None:
        """Describe a cluster; ``source`` is the tree whose code runs, by default this one."""
        self.stack, self.definitions, self.participants = stack, definitions, participants
        self._directory = directory
        self._source = source or Path.cwd()
        self._environment = dict(environment or {})
        self._children: dict[str, Child] = {}
        self._awaited: dict[str, str] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What a `twofold` command needs to find this cluster."""
        dsn = self.stack.postgres.dsn("twofold")
        return {
            **os.environ,
            "TWOFOLD_KAFKA__BOOTSTRAP": self.stack.kafka.bootstrap,
            "TWOFOLD_LOG__DSN": dsn,
            "TWOFOLD_PG_DSN": dsn,
            **self._environment,
        }

    def prepare(self) -> None:
        """Create the log's schema, the topics, and the participants' tables."""
        shown = [f"--definitions={path}" for path in self.definitions]
        self.run("migrate", "migrate")
        self.run("topics", "topics", *shown)
        self.run("participants-migrate", "participants", "migrate", *self.participants)

    def run(self, name: str, *argv: str) -> str:
        """Run a `twofold` command to its end, and return what it printed."""
        command = self._command(name, argv, {})
        start = command.log.stat().st_size if command.log.exists() else 0
        run_to_end(command, seconds=PREPARE_SECONDS)
        return command.log.read_text()[start:]

    def launch_coordinator(
        self, name: str, *, failpoint: str = "", environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start a coordinator, and do not wait for it."""
        shown = [f"--definitions={path}" for path in self.definitions]
        self._awaited[name] = "coordinating"
        return self._start(name, ("serve", *shown), failpoint, environment or {})

    def launch_participants(
        self,
        name: str,
        *,
        modules: Sequence[str] | None = None,
        failpoint: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """Start participants in one process, and do not wait for them."""
        self._awaited[name] = "participants_ready"
        argv = ("participants", "run", *(modules or self.participants))
        return self._start(name, argv, failpoint, environment or {})

    def await_ready(self) -> None:
        """Wait until all that was launched says that it is ready."""
        for name, word in list(self._awaited.items()):
            child = self._children[name]
            child.await_ready(lambda c=child, w=word: w in c.log_text(), seconds=READY_SECONDS)
            del self._awaited[name]

    def start_coordinator(self, name: str, *, failpoint: str = "") -> Child:
        """Start a coordinator, and wait until it coordinates."""
        child = self.launch_coordinator(name, failpoint=failpoint)
        self.await_ready()
        return child

    def start_participants(
        self, name: str, *, modules: Sequence[str] | None = None, failpoint: str = ""
    ) -> Child:
        """Start participants in one process, and wait until they are ready."""
        child = self.launch_participants(name, modules=modules, failpoint=failpoint)
        self.await_ready()
        return child

    def _start(
        self, name: str, argv: Sequence[str], failpoint: str, environment: Mapping[str, str]
    ) -> Child:
        extra = {**environment, **({"TWOFOLD_FAILPOINT": failpoint} if failpoint else {})}
        child = Child.start(self._command(name, argv, extra))
        self._children[name] = child
        return child

    def _command(self, name: str, argv: Sequence[str], extra: Mapping[str, str]) -> Command:
        return Command(
            name=name,
            argv=[sys.executable, "-m", "coordinator.cli.main", *argv],
            log=self._directory / f"{name}.log",
            cwd=self._source,
            farewell=signal.SIGTERM,
            env={**self.environment, **extra},
        )

    def _leaves(self, name: str) -> Child:
        """Take a process out of the count: nobody waits until it is ready any more."""
        self._awaited.pop(name, None)
        return self._children.pop(name)

    def kill(self, name: str) -> None:
        """SIGKILL, as a power cut would have it."""
        self._leaves(name).kill()

    def pause(self, name: str) -> None:
        """SIGSTOP, as a machine does that swaps or is moved: its leases and sessions run out."""
        self._children[name].send(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        self._children[name].send(signal.SIGCONT)

    def stop_one(self, name: str) -> None:
        """Ask a process to end, and wait until it has."""
        self._leaves(name).stop(signal.SIGTERM, seconds=10)

    def await_death(self, name: str, *, seconds: float) -> bool:
        """Wait for a process to die by itself, at its failpoint; False if it does not."""
        child = self._children[name]
        deadline = time.monotonic() + seconds
        while child.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        self._leaves(name).stop()
        return True

    def stop(self) -> None:
        """Ask all to end, at once, and then see that they have."""
        children = list(self._children.values())
        self._children.clear()
        self._awaited.clear()
        for child in children:
            child.send(signal.SIGTERM)
        for child in children:
            child.stop(signal.SIGTERM, seconds=10)

    def check_alive(self) -> None:
        """Raise StackError if a process has ended that should not have."""
        for name, child in self._children.items():
            if not child.alive:
                raise StackError(f"{name} has ended", "see its log", log=child.command.log)
