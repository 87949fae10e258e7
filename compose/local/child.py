"""A process of the stack, held by a guard, with its log in a file.

The process never outlives us, however we end (see guard.py). Signals go
through the guard, which is the process's parent, so a signal can never reach
a stranger that was given the same pid.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from compose.local import guard
from compose.local.errors import StackError

POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run, as whom, and how to end it when we are gone."""

    name: str
    argv: Sequence[str]
    log: Path
    cwd: Path
    farewell: signal.Signals
    uid: int | None = None
    env: Mapping[str, str] | None = None


class Child:
    """A running command."""

    def __init__(
        self, command: Command, process: subprocess.Popen[bytes], orders: int, pid: int
    ) -> None:
        self.command, self.pid = command, pid
        self._guard, self._orders = process, orders
        self._log_start = 0

    @classmethod
    def start(cls, command: Command) -> Self:
        """Start the guard and, through it, the command; the log is appended to."""
        log_start = command.log.stat().st_size if command.log.exists() else 0
        orders_read, orders_write = os.pipe()
        report_read, report_write = os.pipe()
        owner = "-" if command.uid is None else str(command.uid)
        argv = [sys.executable, "-IS", guard.__file__, str(orders_read), str(report_write)]
        argv += [owner, str(int(command.farewell)), *command.argv]
        try:
            with command.log.open("ab") as log:
                process = subprocess.Popen(  # noqa: S603  # our own argument list, no shell
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=command.cwd,
                    env=command.env,
                    pass_fds=(orders_read, report_write),
                    start_new_session=True,
                )
        except BaseException:
            os.close(orders_write)
            os.close(report_read)
            raise
        finally:
            os.close(orders_read)
            os.close(report_write)
        with os.fdopen(report_read, "r", encoding="utf-8") as report:
            word, _, fact = report.readline().strip().partition(" ")
        if word != "pid":
            os.close(orders_write)
            process.wait()
            raise StackError(
                f"{command.name} could not be started ({fact or 'its guard ended'})",
                f"check that {command.argv[0]} can be run",
                log=command.log,
            )
        child = cls(command, process, orders_write, int(fact))
        child._log_start = log_start
        return child

    @property
    def alive(self) -> bool:
        return self._guard.poll() is None

    def log_text(self) -> str:
        """What this run has written so far, without earlier runs."""
        with self.command.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode("utf-8", errors="replace")

    def send(self, number: signal.Signals) -> None:
        if self._orders < 0:
            return
        try:
            os.write(self._orders, f"{int(number)}\n".encode())
        except BrokenPipeError:  # it has ended: there is nothing to signal
            return

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None if it is still running after that time."""
        try:
            return self._guard.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """SIGKILL to the process and all of its descendants; returns when they are gone."""
        self.send(signal.SIGKILL)
        self._guard.wait()
        self._close()

    def stop(self, *signals: signal.Signals, seconds: float = 5.0) -> None:
        """Each signal in turn until it has ended, then SIGKILL."""
        for number in signals:
            self.send(number)
            if self.wait(seconds) is not None:
                self._close()
                return
        self.kill()

    def await_ready(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Return once `ready` says so; fail if the process ends or time runs out."""
        deadline = time.monotonic() + seconds
        while not ready():
            code = self._guard.poll()
            if code is not None:
                self._close()
                raise _ended_early(self, code)
            if time.monotonic() > deadline:
                self.kill()
                raise StackError(
                    f"{self.command.name} did not come up within {seconds:g} seconds",
                    "see its log for what it waited for",
                    log=self.command.log,
                )
            time.sleep(POLL_SECONDS)

    def _close(self) -> None:
        if self._orders >= 0:
            os.close(self._orders)
            self._orders = -1


def run_to_end(command: Command, *, seconds: float) -> None:
    """Run a command that ends by itself, such as one that prepares a directory."""
    child = Child.start(command)
    code = child.wait(seconds)
    if code is None:
        child.kill()
        raise StackError(
            f"{command.name} did not end within {seconds:g} seconds",
            "see its log for what it waited for",
            log=command.log,
        )
    child.stop()
    if code != 0:
        raise _ended_early(child, code)


def _ended_early(child: Child, code: int) -> StackError:
    name, text = child.command.name, child.log_text()
    if "Address already in use" in text:
        return StackError(
            f"{name} could not start because its port is taken",
            "end the program that holds the port, or start again to have another chosen",
            log=child.command.log,
        )
    if "No space left on device" in text:
        return StackError(
            f"{name} could not start because the disk is full",
            "free some space or choose another directory",
            log=child.command.log,
        )
    return StackError(
        f"{name} ended with code {code} before it was ready",
        "see its log",
        log=child.command.log,
    )
