"""A standby of a local Postgres, which can take its place."""

from pathlib import Path
from typing import Self

from compose.local.child import run_to_end
from compose.local.databases import ask
from compose.local.errors import StackError
from compose.local.ports import LOOPBACK
from compose.local.postgres import START_SECONDS, SUPERUSER, LocalPostgres

SYNCHRONOUS = (
    "ALTER SYSTEM SET synchronous_standby_names = '*'",
    "SELECT pg_reload_conf()",
)


class LocalStandby(LocalPostgres):
    """It follows its primary by streaming, until it is promoted."""

    def __init__(self, directory: Path, primary: LocalPostgres) -> None:
        super().__init__(directory, settings=primary.settings)
        self._primary = primary

    @classmethod
    def follow(cls, directory: Path, primary: LocalPostgres, *, synchronous: bool = True) -> Self:
        """Copy the primary and follow it; synchronously, no commit returns that is not here too."""
        standby = cls(directory, primary)
        try:
            standby.launch(lambda _: None)
        except BaseException:
            standby.stop()
            raise
        for statement in SYNCHRONOUS if synchronous else ():
            ask(primary.dsn("postgres"), statement)
        return standby

    def fall_behind(self) -> None:
        """Hear no more of the primary from now on."""
        for statement in ("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"):
            ask(self.dsn("postgres"), statement)

    def promote(self) -> None:
        """Take the primary's place."""
        [[promoted]] = ask(self.dsn("postgres"), "SELECT pg_promote()")
        if not promoted:
            raise StackError("the standby was not promoted in time", "see its log", log=self.log)

    def take_address(self) -> None:
        """Listen where the primary has listened, which is dead."""
        self.port = self._primary.port
        self.restart()

    def _initialise(self) -> None:
        options = ["-D", str(self.data), "-h", LOOPBACK, "-p", str(self._primary.port)]
        options += ["-U", SUPERUSER, "--write-recovery-conf", "--wal-method=stream"]
        options += ["--checkpoint=fast", "--no-sync"]
        run_to_end(self._command("pg_basebackup", *options), seconds=START_SECONDS)

    def _is_ready(self, pid: int) -> bool:
        """A standby that can be asked says so; after its promotion it is like any other."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        known = len(lines) >= 8 and lines[0] == str(pid)  # noqa: PLR2004
        return known and lines[7].strip() in {"ready", "standby"}
