"""Connections that break, hang, or lead to a server that writes no more."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from compose.local.postgres import LocalPostgres
from coordinator.cli import reach
from coordinator.cli.errors import Trouble
from coordinator.log import postgres
from coordinator.log.migrate import migrate
from coordinator.log.postgres import PostgresLog
from coordinator.log.store import LogUnavailable, Position
from tests.contract.batches import LEASE_US, beginning, gid
from tests.integration.log.conftest import Connection, OpenLog, waiting

LOCK_ALL = "LOCK TABLE twofold.shard IN EXCLUSIVE MODE"


async def test_a_log_does_not_outlive_its_server(tmp_path: Path) -> None:
    """What was acknowledged before a SIGKILL is there after it, for whoever looks anew.

    Not for who was there before: the server may have been restored meanwhile.
    """
    server = await asyncio.to_thread(LocalPostgres.start, tmp_path, databases=["log"])
    try:
        connection = await asyncpg.connect(server.dsn("log"))
        await migrate(connection, cluster="test", shards=2)
        await connection.close()
        log = await PostgresLog.open(server.dsn("log"))
        [at] = await log.claim("ann", [0], LEASE_US)
        assert await log.persist(beginning(1, at=at)) == {0}

        await asyncio.to_thread(server.kill)
        with pytest.raises(LogUnavailable):
            await log.persist(beginning(2, at=at))
        await asyncio.to_thread(server.restart)
        for _ in range(3):
            with pytest.raises(LogUnavailable):
                await log.persist(beginning(2, at=at))
        await log.close()

        log = await PostgresLog.open(server.dsn("log"))
        [again] = await log.claim("ann", [0], LEASE_US)
        assert [one.gid for one in await log.active([0])] == [gid(1)]
        assert await log.persist(beginning(2, at=again)) == {0}
        await log.close()
    finally:
        await asyncio.to_thread(server.stop)


async def test_all_connections_to_a_server_that_writes_no_more_are_left(log: PostgresLog) -> None:
    """After a failover the first refusal is the last: the others are not tried one by one."""
    async with log.pool.acquire() as one, log.pool.acquire() as other:
        for connection in (one, other):
            await connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(LogUnavailable, match="ReadOnly"):
        await log.claim("ann", [0], LEASE_US)

    assert await log.claim("ann", [0], LEASE_US)
    assert await log.claim("ann", [0], LEASE_US)


async def test_a_cancelled_batch_leaves_the_log_usable(log: PostgresLog, hands: Connection) -> None:
    """It is cancelled on the server too, so nothing of it lands later."""
    [at] = await log.claim("ann", [0], LEASE_US)
    async with hands.transaction():
        await hands.execute(LOCK_ALL)
        writing = asyncio.create_task(log.persist(beginning(1, at=at)))
        await waiting(hands, 1)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert not await log.active([0])

    assert await log.persist(beginning(2, at=at)) == {0}
    assert [one.gid for one in await log.active([0])] == [gid(2)]


async def test_closing_waits_for_nobody_for_ever(
    open_log: OpenLog, hands: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that never ends must not keep a process from ending."""
    monkeypatch.setattr(postgres, "CLOSE_S", 0.2)
    log = await open_log()
    [at] = await log.claim("ann", [0], LEASE_US)
    async with hands.transaction():
        await hands.execute(LOCK_ALL)
        writing = asyncio.create_task(log.persist(beginning(1, at=at)))
        await waiting(hands, 1)

        async with asyncio.timeout(5):
            await log.close()
            with pytest.raises(LogUnavailable):
                await writing


@pytest.fixture
def silent() -> Generator[int]:
    """A port at which connections are taken, and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


async def test_a_server_that_says_nothing_does_not_hide_its_standby(
    dsn: str, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that has vanished refuses no connection: each server has its own time."""
    monkeypatch.setattr(postgres, "CONNECT_S", 2.0)
    monkeypatch.setattr(reach, "CONNECT_S", 2.0)
    place = urlsplit(dsn)
    both = urlunsplit(place._replace(netloc=place.netloc.replace("@", f"@127.0.0.1:{silent},")))

    log = await PostgresLog.open(both)
    async with reach.log_connection(both) as connection:
        assert await connection.fetchval("SHOW transaction_read_only") == "off"
    assert (await log.facts()).name == "test"
    await log.close()


@asynccontextmanager
async def frozen(hands: Connection) -> AsyncGenerator[None]:
    """Stop whoever serves the log: nothing is refused, and nothing answered."""
    others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    pids = [row[0] for row in await hands.fetch(f"{others} AND pid <> pg_backend_pid()")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("what", ["a question", "a purge", "a batch"])
async def test_nobody_waits_for_ever_for_a_server_that_is_frozen(
    open_log: OpenLog, hands: Connection, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It does not even stop what was given up; a standby may long have taken its place."""
    monkeypatch.setitem(ask_defaults(), "within_s", 0.2)
    monkeypatch.setattr(postgres, "GIVEN_UP_S", 0.2)
    monkeypatch.setattr(postgres, "CLOSE_S", 0.2)
    log = await open_log()
    at = Position(0, 1, 0, 0)
    asked: dict[str, Callable[[], Awaitable[Any]]] = {
        "a question": log.facts,
        "a purge": lambda: log.purge({"name": 0}, 0, 1),
        "a batch": lambda: log.persist(beginning(1, at=at)),
    }
    async with frozen(hands):
        asking = asyncio.ensure_future(asked[what]())
        if what == "a batch":
            await asyncio.wait({asking}, timeout=1)
            assert asking.cancel(), "it has no limit of its own"
        given_up, _ = await asyncio.wait({asking}, timeout=20)
    assert given_up
    assert asking.cancelled() or isinstance(asking.exception(), LogUnavailable)


async def test_a_command_says_that_a_server_does_not_answer(
    dsn: str, hands: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though not even its connection can be closed as it should be."""
    monkeypatch.setitem(ask_defaults(), "within_s", 0.2)
    connected, now = asyncio.Event(), asyncio.Event()

    async def command() -> None:
        async with reach.log_connection(dsn) as connection:
            monkeypatch.setattr(reach, "CONNECT_S", 0.2)
            connected.set()
            await now.wait()
            await reach.facts(connection)

    running = asyncio.create_task(command())
    await connected.wait()
    async with frozen(hands):
        now.set()
        with pytest.raises(Trouble, match=r"nothing answers at .*: TimeoutError"):
            await running


async def test_a_machine_that_vanishes_is_noticed(log: PostgresLog) -> None:
    """A batch has no timeout of its own, so the kernel must ask whether the other side lives."""
    async with log.pool.acquire() as connection:
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 2


async def test_a_question_does_not_wait_for_ever(
    log: PostgresLog, hands: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unlike a batch, a claim may be given up: the next one tells."""
    monkeypatch.setitem(ask_defaults(), "within_s", 0.2)
    async with hands.transaction():
        await hands.execute(LOCK_ALL)

        with pytest.raises(LogUnavailable, match="TimeoutError"):
            await log.claim("ann", [0], LEASE_US)

    assert await log.claim("ann", [0], LEASE_US)


def ask_defaults() -> dict[str, Any]:
    """The defaults of a question."""
    found = postgres.ask.__kwdefaults__
    assert found is not None
    return found


async def test_a_release_rings(log: PostgresLog, open_log: OpenLog) -> None:
    """Whoever waits for shards hears at once that some are free."""
    bell, other = asyncio.Event(), await open_log()
    await other.ring_on_release(bell)
    await log.claim("ann", [0], LEASE_US)

    await log.release("ann", [0])

    await asyncio.wait_for(bell.wait(), 5)
    bell.clear()
    await log.leave("ann")
    await asyncio.wait_for(bell.wait(), 5)


@pytest.mark.parametrize(
    ("setting", "wished", "needed"),
    [
        ("synchronous_commit", "off", "on"),
        ("default_transaction_isolation", "serializable", "read committed"),
    ],
)
async def test_what_a_log_needs_holds_whatever_the_database_says(
    log: PostgresLog, hands: Connection, setting: str, wished: str, needed: str
) -> None:
    """Commits wait for the disk, and whoever waits for a row sees what it is then."""
    [[name]] = await hands.fetch("SELECT current_database()")
    await hands.execute(f"ALTER DATABASE {name} SET {setting} = '{wished}'")
    await log.pool.expire_connections()

    async with log.pool.acquire() as connection:
        assert await connection.fetchval(f"SHOW {setting}") == needed
