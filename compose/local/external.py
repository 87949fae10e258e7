"""The Kafka and the Postgres that the user names: used, never stopped."""

import contextlib
import socket
from collections.abc import Sequence

from compose.local.databases import create_databases, show, with_database
from compose.local.errors import StackError

ANSWER_SECONDS = 5.0
NEEDED_PREPARED = 64


class ExternalKafka:
    """The Kafka of KAFKA_BOOTSTRAP."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        if not any(map(_answers, bootstrap.split(","))):
            raise StackError(
                f"nothing answers at {bootstrap}",
                "start that Kafka, or unset KAFKA_BOOTSTRAP to have one started",
            )

    def kill(self) -> None:
        raise _not_ours("Kafka", "KAFKA_BOOTSTRAP")

    def restart(self) -> None:
        raise _not_ours("Kafka", "KAFKA_BOOTSTRAP")

    def stop(self) -> None:
        """It is not ours to stop."""

    def describe(self) -> str:
        return f"Kafka at {self.bootstrap} (from KAFKA_BOOTSTRAP)"


class ExternalPostgres:
    """The Postgres of PG_DSN, whose user must be allowed to create databases."""

    def __init__(self, dsn: str, databases: Sequence[str]) -> None:
        self._dsn = dsn
        version, prepared = show(dsn, "server_version", "max_prepared_transactions")
        self._version = version
        if int(prepared) < NEEDED_PREPARED:
            raise StackError(
                f"the Postgres of PG_DSN has max_prepared_transactions = {prepared}",
                f"set it to {NEEDED_PREPARED} or more in its configuration and restart it",
            )
        create_databases(dsn, databases)

    def dsn(self, database: str) -> str:
        return with_database(self._dsn, database)

    def create_database(self, name: str) -> None:
        create_databases(self._dsn, [name])

    def kill(self) -> None:
        raise _not_ours("Postgres", "PG_DSN")

    def restart(self) -> None:
        raise _not_ours("Postgres", "PG_DSN")

    def stop(self) -> None:
        """It is not ours to stop."""

    def describe(self) -> str:
        return f"Postgres {self._version} (from PG_DSN)"


def _answers(address: str) -> bool:
    host, _, port = address.strip().rpartition(":")
    with contextlib.suppress(OSError, ValueError):
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
        return True
    return False


def _not_ours(name: str, variable: str) -> StackError:
    return StackError(
        f"this {name} was given by {variable} and is not ours to kill or restart",
        f"unset {variable} to have one started",
    )
