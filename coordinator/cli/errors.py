"""What to say when something is not reachable, not ready, or not readable.

An error that a user can mend is one sentence that says what is so, and one
that says what to do. Everything else is a bug, and keeps its traceback.
"""

from __future__ import annotations

import sys
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from wire.dsn import servers

NO: Final = 1
"""The exit code of "the answer is no"."""

TROUBLE: Final = 3
"""The exit code of "it could not be tried"."""

_LOOK: Final = "`twofold config` shows where it is looked for."

EXPECTED: Final = {
    ("sagas.problems", "DefinitionInvalid"): ("", "Nothing was done; mend the definition."),
    ("coordinator.log.store", "VersionTaken"): ("", ""),
    ("coordinator.log.migrate", "ClusterMismatch"): ("", "Mend the settings, or the DSN."),
    ("coordinator.log.store", "LogUnavailable"): ("the decision log cannot be used: ", _LOOK),
    ("coordinator.service", "NotReady"): ("", ""),
    ("participants.worker", "NotReady"): ("", ""),
    ("wire.kafka", "KafkaUnavailable"): ("Kafka cannot be used: ", _LOOK),
}
"""For each error that a user can mend: what to say before it, and after."""


class Trouble(Exception):
    """Something that the user can mend: what is so, and what to do."""

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(f"{what}\n  {todo}" if todo else what)
        self.what, self.todo = what, todo


def explain(error: BaseException) -> Trouble | None:
    """Return what to tell the user, or None for what nobody expects."""
    if isinstance(error, Trouble):
        return error
    if isinstance(error, BaseExceptionGroup):
        inner: tuple[BaseException, ...] = error.exceptions  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        said = [explain(one) for one in inner]
        return said[0] if said and None not in said else None
    if isinstance(error, ModuleNotFoundError):
        return missing_module(error) if _is_foreign(error.name) else None
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return Trouble(f"{error.filename}: {error.strerror}") if error.filename else None
    if isinstance(error, UnicodeDecodeError):
        return Trouble(f"a file is not UTF-8: {error}.", "`twofold check` says which.")
    if isinstance(error, UnicodeEncodeError):
        return Trouble(f"what was given is not UTF-8: {ascii(error.object)[:100]}.")
    return _explain_ours(error)


def _explain_ours(error: BaseException) -> Trouble | None:
    """Look at the errors of heavy modules. One that was never loaded has raised nothing."""
    for (module, name), (before, todo) in EXPECTED.items():
        expected: Any = getattr(sys.modules.get(module), name, ())
        if isinstance(error, expected):
            return Trouble(f"{before}{error}", todo)
    return None


def _is_foreign(module: str | None) -> bool:
    ours = {"audit", "coordinator", "compose", "participants", "sagas", "wire"}
    return (module or "").partition(".")[0] not in ours


def missing_module(error: ModuleNotFoundError) -> Trouble:
    """Tell how to get a module that is not installed."""
    return Trouble(
        f"this needs the Python package {error.name}, which is not installed.",
        "pip install 'twofold[local]'",
    )


def log_trouble(dsn: str, cause: BaseException) -> Trouble:
    """Say why the log cannot be used, by what Postgres or the system said."""
    try:
        place = urlsplit(dsn)
    except ValueError:
        return Trouble(f"the DSN of the log is none: {cause}.", "Mend TWOFOLD_LOG__DSN.")
    where, database = mask(dsn), place.path.lstrip("/")
    state: Any = getattr(cause, "sqlstate", None)
    if state == "3D000":
        return Trouble(
            f"the database {database!r} does not exist at {place.netloc.rpartition('@')[2]}.",
            f"Create it with `{createdb(dsn)}`, then run `twofold migrate`.",
        )
    if state in {"28P01", "28000"}:
        return Trouble(
            f"Postgres does not let us in at {where}: {cause}.", "Check TWOFOLD_LOG__DSN."
        )
    if state in {"42P01", "3F000", "42703"}:
        return Trouble(
            f"the database at {where} lacks tables of the decision log.", "Run `twofold migrate`."
        )
    if state is None and isinstance(cause, OSError):
        return Trouble(
            f"nothing answers at {where}: {str(cause) or type(cause).__name__}.",
            "Is Postgres running? TWOFOLD_LOG__DSN says where it is looked for.",
        )
    return Trouble(
        f"the decision log at {where} cannot be used: {str(cause) or type(cause).__name__}.",
        "`twofold config` shows where it is looked for.",
    )


def createdb(dsn: str) -> str:
    """Return the command that creates a DSN's database."""
    place = urlsplit(servers(dsn)[0])
    options = {"-h": place.hostname, "-p": place.port, "-U": place.username}
    said = [f"{option} {value}" for option, value in options.items() if value]
    return " ".join(["createdb", *said, place.path.lstrip("/")])


def mask(dsn: str) -> str:
    """Return a DSN without its passwords."""
    try:
        place = urlsplit(dsn)
    except ValueError:
        return "***"
    user, at, host = place.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    query = "&".join(
        f"{part.partition('=')[0]}=***" if "password" in part.partition("=")[0].lower() else part
        for part in place.query.split("&")
    )
    netloc = f"{name}{':***' if colon else ''}{at}{host}"
    return urlunsplit(place._replace(netloc=netloc, query=query))
