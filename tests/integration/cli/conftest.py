"""A log of its own for each module here, called as the module is."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncGenerator

import pytest

from compose.local.stack import Kafka, Postgres
from tests.integration.cli.shell import DEFINITION, SHARDS, Shell, lines_until, play_the_clerk


@pytest.fixture(scope="module")
def prefix(request: pytest.FixtureRequest) -> str:
    """The name of the module's database, and of its topics."""
    return request.path.stem.removeprefix("test_")


@pytest.fixture(scope="module")
def shell(
    prefix: str,
    tmp_path_factory: pytest.TempPathFactory,
    kafka: Kafka,
    postgres: Postgres,
) -> Shell:
    """A database without a log, a Kafka without topics, and a definition."""
    postgres.create_database(prefix)
    directory = tmp_path_factory.mktemp(prefix)
    (directory / "errand.yaml").write_text(DEFINITION)
    return Shell(
        directory,
        {
            "TWOFOLD_KAFKA__BOOTSTRAP": kafka.bootstrap,
            "TWOFOLD_KAFKA__PREFIX": prefix,
            "TWOFOLD_LOG__DSN": postgres.dsn(prefix),
            "TWOFOLD_LOG__SHARDS": str(SHARDS),
        },
    )


@pytest.fixture(scope="module")
async def ready(shell: Shell) -> Shell:
    """The log and the topics are there."""
    assert (await shell.run("migrate")).code == 0
    assert (await shell.run("topics", "--definitions", str(shell.directory))).code == 0
    return shell


@pytest.fixture(scope="module")
async def running(prefix: str, ready: Shell, kafka: Kafka) -> AsyncGenerator[Shell]:
    """A coordinator and the clerk run."""
    coordinator = await ready.start("serve", "--definitions", str(ready.directory))
    clerk = asyncio.create_task(play_the_clerk(kafka.bootstrap, prefix))
    lines = await lines_until(coordinator, "shards_taken")
    assert all(json.loads(line)["timestamp"].endswith("Z") for line in lines)
    yield ready
    coordinator.send_signal(signal.SIGTERM)
    done = await ready.end(coordinator)
    assert done.code == 0
    assert json.loads(done.err.splitlines()[-1])["event"] == "stopped"
    clerk.cancel()
    await asyncio.gather(clerk, return_exceptions=True)
