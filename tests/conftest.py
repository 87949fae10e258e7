"""The stack that tests share: one real Kafka, one real Postgres."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from compose.local.stack import Kafka, LocalStack, Postgres
from participants import witness
from wire.closing import CLOSING

# A shell's background job ignores SIGINT, and so would every process that a
# test starts and then interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

WITHOUT_SERVERS = frozenset({"core", "mutants", "search", "simulation"})


class ServersTogether(LoadScopeScheduling):
    """What needs servers runs in two queues, one a worker of xdist: it waits a lot.

    The acceptance tests are one of them, and all others share the other's Kafka and
    Postgres. The longest queues begin; what computes is done by whoever is free.
    """

    def _split_scope(self, nodeid: str) -> str:
        _, folder, *_ = nodeid.split("/")
        if folder in WITHOUT_SERVERS:
            return nodeid
        return "acceptance" if folder == "acceptance" else "servers"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ServersTogether:
    """Take the one above; ``-n`` says whether any is needed."""
    return ServersTogether(config, log)


@pytest.fixture(scope="session", autouse=True)
async def all_clients_closed() -> AsyncIterator[None]:
    """Wait, at the very end, for Kafka's clients that could not be closed in time."""
    yield
    if CLOSING:
        await asyncio.wait(CLOSING, timeout=60)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hear what a witness says: the simulation silences all loggers of its process, for good."""
    before = structlog.get_config()
    structlog.reset_defaults()
    monkeypatch.setattr(witness, "logger", structlog.get_logger())
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Start both at once; they last as long as the run."""
    directory = tmp_path_factory.mktemp("stack")
    with LocalStack.start(directory, databases=["twofold"], progress=lambda _: None) as running:
        yield running


@pytest.fixture(scope="session")
def kafka(stack: LocalStack) -> Kafka:
    """The shared Kafka."""
    return stack.kafka


@pytest.fixture(scope="session")
def postgres(stack: LocalStack) -> Postgres:
    """The shared Postgres."""
    return stack.postgres
