"""A real Postgres on this machine, from the wheel's programs.

Everything that makes commits durable is on, since durability is what this
stack is there to show. It listens on the loopback address and on a Unix
socket, and trusts every connection: it is not for other people's machines.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from compose.local.child import Child, Command, run_to_end
from compose.local.databases import create_databases, show, with_database
from compose.local.disk import require_space
from compose.local.errors import StackError
from compose.local.ports import LOOPBACK, free_port, require_free
from compose.local.postgres_binaries import find_binaries, place_for, service_uid

START_SECONDS = 30.0
STOP_SECONDS = 5.0
# After a SIGKILL the last of the old children may still hold shared memory.
RETRY_SECONDS = 5.0
SUPERUSER = "postgres"
# The kernel's limit for a socket's whole path is 104 to 108 bytes.
SOCKET_DIRECTORY_BYTES = 80
SETTINGS = {"max_prepared_transactions": "256", "max_connections": "300"}
if sys.platform == "linux":
    # After a SIGKILL it would flush file by file, and each database has hundreds.
    SETTINGS["recovery_init_sync_method"] = "syncfs"


class LocalPostgres:
    """One server with its own data directory; several can run side by side."""

    def __init__(self, directory: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.directory = directory.resolve()
        self.port = free_port()
        self.settings = {**SETTINGS, **(settings or {})}
        self._uid = service_uid()
        self._home = self.directory
        self._sockets = self.directory
        self._bin = Path()
        self._version = ""
        self._child: Child | None = None
        self._closed = False

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        databases: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Self:
        """A running server whose data is in this directory, with these databases."""
        postgres = cls(directory, settings=settings)
        try:
            postgres.launch(progress)
            create_databases(postgres.dsn("postgres"), databases)
        except BaseException:
            postgres.stop()
            raise
        return postgres

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        return self.directory / "postgres.log"

    @property
    def data(self) -> Path:
        """Where the data really is, which need not be under `directory` for root."""
        return self._home / "data"

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.alive

    def place(self) -> Path:
        """Where its data will be: something may be mounted there before it is launched."""
        return place_for(self.directory, self._uid)

    @property
    def pid(self) -> int:
        if self._child is None:
            raise StackError("Postgres is not running", "call restart() first")
        return self._child.pid

    def dsn(self, database: str) -> str:
        return with_database(f"postgresql://{SUPERUSER}@{LOOPBACK}:{self.port}/", database)

    def socket_dsn(self, database: str) -> str:
        """The same server by its Unix socket."""
        return f"postgresql://{SUPERUSER}@/{database}?host={self._sockets}&port={self.port}"

    def create_database(self, name: str) -> None:
        create_databases(self.dsn("postgres"), [name])

    def launch(self, progress: Callable[[str], None]) -> None:
        self._bin = find_binaries(self._uid)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._home = place_for(self.directory, self._uid)
        require_space(self._home)
        self._sockets = self._socket_directory()
        if not (self.data / "PG_VERSION").exists():
            progress("creating a Postgres data directory")
            self._initialise()
        self.restart()
        (self._version,) = show(self.dsn("postgres"), "server_version")

    def kill(self) -> None:
        """SIGKILL to the postmaster and all of its children at once."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def restart(self) -> None:
        """Start again on the same port and data; stops it first if it runs."""
        self._end()
        require_free(self.port, "Postgres")
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                self._start_once()
            except StackError as error:
                in_use = error.log is not None and "still in use" in str(error)
                if not in_use or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """End it in good order; it cannot be started again."""
        self._closed = True
        self._end()
        if self._sockets.parent == Path(tempfile.gettempdir()):
            shutil.rmtree(self._sockets, ignore_errors=True)

    def describe(self) -> str:
        return f"Postgres {self._version} at {LOOPBACK}:{self.port} (local process)"

    def _end(self) -> None:
        if self._child is not None:
            # SIGINT is the fast shutdown, SIGQUIT the immediate one.
            self._child.stop(signal.SIGINT, signal.SIGQUIT, seconds=STOP_SECONDS)
            self._child = None

    def _start_once(self) -> None:
        self._check_open()
        child = Child.start(self._command("postgres", *self._server_options()))
        self._child = child
        child.await_ready(lambda: self._is_ready(child.pid), seconds=START_SECONDS)

    def _is_ready(self, pid: int) -> bool:
        """The postmaster notes its pid, and in the eighth line its state, in this file."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"  # noqa: PLR2004

    def _server_options(self) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": str(self._sockets),
            **self.settings,
        }
        options = ["-D", str(self.data)]
        for name, value in settings.items():
            options += ["-c", f"{name}={value}"]
        return options

    def _initialise(self) -> None:
        self._check_open()
        # An interrupted initdb leaves a directory that the next one would refuse.
        shutil.rmtree(self.data, ignore_errors=True)
        options = ["-D", str(self.data), "-U", SUPERUSER, "-A", "trust"]
        options += ["-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        run_to_end(self._command("initdb", *options), seconds=START_SECONDS)

    def _command(self, program: str, *options: str) -> Command:
        return Command(
            name=program,
            argv=[str(self._bin / program), *options],
            log=self.log,
            cwd=self._home,
            farewell=signal.SIGQUIT,
            uid=self._uid,
            # On macOS, Postgres does not start with the locale of a graphical session.
            env={**os.environ, "LC_ALL": "C"},
        )

    def _socket_directory(self) -> Path:
        if len(bytes(self._home)) <= SOCKET_DIRECTORY_BYTES:
            return self._home
        short = Path(tempfile.mkdtemp(prefix="twofold-"))
        return place_for(short, self._uid)

    def _check_open(self) -> None:
        if self._closed:
            raise StackError("Postgres was stopped while it started", "start a new stack")
