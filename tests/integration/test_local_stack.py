"""The stack that every other test stands on: real servers, and nothing left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from compose.local.errors import StackError
from compose.local.kafka import LocalKafka
from compose.local.postgres import LocalPostgres
from compose.local.postgres_binaries import NOBODY, can_reach
from compose.local.proxy import FaultProxy
from compose.local.stack import LocalStack

ROOT = Path(__file__).parents[2]
GONE_SECONDS = 10.0


def lives(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    answer = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(answer.stdout.strip()) and not answer.stdout.startswith("Z")


def eventually_gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + GONE_SECONDS
    while any(map(lives, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    server = LocalKafka.start(tmp_path_factory.mktemp("kafka"), progress=lambda _: None)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    with LocalPostgres.start(tmp_path_factory.mktemp("postgres"), databases=["shop"]) as server:
        yield server


async def connect(dsn: str) -> Any:
    return await cast("Any", asyncpg).connect(dsn)


async def create_topic(bootstrap: str, name: str) -> None:
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    await admin.close()


async def send(bootstrap: str, topic: str, value: bytes) -> None:
    producer: Any = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await producer.start()
    await producer.send_and_wait(topic, value)
    await producer.stop()


async def first_values(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    values = [(await asyncio.wait_for(consumer.getone(), 20)).value for _ in range(count)]
    await consumer.stop()
    return values


async def test_what_kafka_acknowledged_survives_its_death(kafka: LocalKafka) -> None:
    """After SIGKILL and a restart, the port and the records are the same."""
    await create_topic(kafka.bootstrap, "survives")
    await send(kafka.bootstrap, "survives", b"before")
    pid = kafka.pid

    await asyncio.to_thread(kafka.kill)
    assert not lives(pid)
    await asyncio.to_thread(kafka.restart)
    await send(kafka.bootstrap, "survives", b"after")

    assert await first_values(kafka.bootstrap, "survives", 2) == [b"before", b"after"]


async def test_a_client_of_the_proxied_listener_stays_behind_the_proxy(kafka: LocalKafka) -> None:
    """The broker advertises the proxy's port there, so its faults reach the client."""
    await create_topic(kafka.bootstrap, "proxied")
    async with await FaultProxy.start(kafka.ports.proxied, port=kafka.ports.proxy) as proxy:
        producer: Any = AIOKafkaProducer(bootstrap_servers=kafka.proxied_bootstrap)
        await producer.start()
        proxy.drop()
        sending = asyncio.create_task(producer.send_and_wait("proxied", b"held"))
        done, _ = await asyncio.wait([sending], timeout=0.5)
        assert not done

        proxy.heal()
        proxy.reset()
        await asyncio.wait_for(sending, 20)
        await producer.stop()

    assert await first_values(kafka.bootstrap, "proxied", 1) == [b"held"]


async def test_a_prepared_transaction_survives_the_death_of_postgres(
    postgres: LocalPostgres,
) -> None:
    """A branch that was prepared before SIGKILL is committed after the restart."""
    connection = await connect(postgres.dsn("shop"))
    await connection.execute("CREATE TABLE stock (item text)")
    await connection.execute("BEGIN")
    await connection.execute("INSERT INTO stock VALUES ('lamp')")
    await connection.execute("PREPARE TRANSACTION 'branch'")

    pid = postgres.pid
    await asyncio.to_thread(postgres.kill)
    connection.terminate()
    assert not lives(pid)
    await asyncio.to_thread(postgres.restart)

    connection = await connect(postgres.dsn("shop"))
    assert await connection.fetchval("SELECT gid FROM pg_prepared_xacts") == "branch"
    await connection.execute("COMMIT PREPARED 'branch'")
    assert await connection.fetchval("SELECT item FROM stock") == "lamp"
    await connection.close()


async def test_postgres_is_durable_and_has_room_for_branches(postgres: LocalPostgres) -> None:
    """Nothing that makes a commit durable is off, and prepared transactions are on."""
    connection = await connect(postgres.socket_dsn("shop"))
    names = ["fsync", "synchronous_commit", "full_page_writes", "max_prepared_transactions"]
    values = [await connection.fetchval("SELECT current_setting($1)", name) for name in names]
    await connection.close()

    assert values == ["on", "on", "on", "256"]


async def test_a_database_can_be_created_later_and_twice(postgres: LocalPostgres) -> None:
    """The second time changes nothing."""
    await asyncio.to_thread(postgres.create_database, "later")
    postgres.create_database("later")

    connection = await connect(postgres.dsn("later"))
    assert await connection.fetchval("SELECT current_database()") == "later"
    await connection.close()


PARENT = """
import sys, time
from pathlib import Path
from compose.local.stack import LocalStack
stack = LocalStack.start(Path(sys.argv[1]), databases=["shop"], progress=lambda _: None,
                         environment={})
print(stack.kafka.pid, stack.postgres.pid, flush=True)
time.sleep(600)
"""


def start_parent(directory: Path) -> tuple[subprocess.Popen[str], list[int]]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(lives, pids))
    return parent, pids


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_server_outlives_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    """However the parent ends, Kafka and Postgres end with it, backends included."""
    parent, pids = start_parent(tmp_path)
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True)
    rows = [line.split() for line in listing.stdout.decode().splitlines()]
    backends = [int(pid) for pid, above in rows if int(above) == pids[1]]
    assert backends

    parent.send_signal(number)
    parent.communicate()

    assert eventually_gone([*pids, *backends])


def test_dev_runs_until_it_is_interrupted(tmp_path: Path) -> None:
    """Its standard output is shell code that leads to running servers."""
    given = {"KAFKA_BOOTSTRAP", "PG_DSN", "TWOFOLD_STACK", "OTEL_EXPORTER_OTLP_ENDPOINT"}
    environment = {name: value for name, value in os.environ.items() if name not in given}
    run = "from compose.local.command import app; app()"
    process = subprocess.Popen(
        [sys.executable, "-c", run, "--directory", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert process.stderr is not None
    said = iter(process.stderr.readline, "")
    assert any("Ctrl-C" in line for line in said)
    process.send_signal(signal.SIGINT)
    printed, rest = process.communicate(timeout=30)

    assert process.returncode == 0, rest
    assert "stopping" in rest
    assert all(line.startswith("export ") for line in printed.splitlines())
    assert "export KAFKA_BOOTSTRAP='127.0.0.1:" in printed
    assert not (tmp_path / "postgres" / "data" / "postmaster.pid").exists()


def test_a_failed_start_leaves_nothing_running(tmp_path: Path) -> None:
    """If Kafka cannot start, the Postgres that could is stopped again."""
    bad = tmp_path / "kafka"
    bad.mkdir()
    (bad / "data").write_text("a file where a directory must be")

    with pytest.raises(StackError, match="kafka"):
        LocalStack.start(tmp_path, databases=[], progress=lambda _: None, environment={})

    assert not (tmp_path / "postgres" / "data" / "postmaster.pid").exists()
    listing = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, check=True)
    assert str(tmp_path) not in listing.stdout.decode()


def test_a_server_that_dies_while_it_starts_shows_its_log(tmp_path: Path) -> None:
    """The message has the path of the log and the server's own last words."""
    with pytest.raises(StackError, match="unrecognized configuration parameter") as caught:
        LocalPostgres.start(tmp_path, settings={"no_such_setting": "1"})

    assert caught.value.log == tmp_path / "postgres.log"
    assert str(caught.value.log) in str(caught.value)


def test_a_taken_port_is_named(postgres: LocalPostgres, tmp_path: Path) -> None:
    """A restart says which port is taken, instead of waiting for a server that cannot come."""
    other = LocalPostgres(tmp_path)
    other.port = postgres.port

    with pytest.raises(StackError, match=f"port {postgres.port}"):
        other.launch(lambda _: None)
    other.stop()


ORDINARY = """
import os, sys
from pathlib import Path
from compose.local.postgres import LocalPostgres
with LocalPostgres.start(Path(sys.argv[1]), databases=["shop"]) as postgres:
    print(os.geteuid(), postgres.describe())
"""


def test_an_ordinary_user_can_run_postgres() -> None:
    """Without root there is no other uid to run it as: it runs as the user."""
    with tempfile.TemporaryDirectory(prefix="twofold-") as home:
        argv = [*as_ordinary_user(Path(home)), sys.executable, "-c", ORDINARY, f"{home}/stack"]
        result = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert not result.stdout.startswith("0 ")
    assert "local process" in result.stdout


def as_ordinary_user(home: Path) -> list[str]:
    """What to put before a command so that it does not run as root."""
    if os.geteuid() != 0:
        return []
    python = Path(sys.executable)
    if can_reach(python, NOBODY) and can_reach(python.resolve(), NOBODY):
        os.chown(home, NOBODY, NOBODY)
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    # This Python is in a directory closed to others: be someone else in a namespace.
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000"]


def test_root_gives_postgres_a_place_that_its_user_can_reach(tmp_path: Path) -> None:
    """Data under a directory closed to others still works, and no mode is changed."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with LocalPostgres.start(closed / "stack") as server:
        assert (server.data / "PG_VERSION").exists()
        first = server.data

    with LocalPostgres.start(closed / "stack") as server:
        assert server.data == first
    assert closed.stat().st_mode & 0o777 == 0o700
