"""One trace for each transaction: from the event through all services to the outcome."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest

from compose.demo.stage import Client
from compose.local.cluster import Cluster
from compose.local.otlp import Receiver, Seen
from tests.acceptance.company import order, transfer

CONSUMER = 5  # OTLP's number of the span kind


@pytest.fixture(scope="module")
def receiver() -> Generator[Receiver]:
    """Listen for spans in this process."""
    with Receiver.start() as receiver:
        yield receiver


@pytest.fixture
async def traced(
    cluster: Cluster, receiver: Receiver, tmp_path: Path
) -> AsyncGenerator[tuple[Cluster, Client]]:
    """Processes that send their spans here, on the same stack as the other tests."""
    traced = Cluster(
        cluster.stack,
        tmp_path,
        definitions=cluster.definitions,
        participants=cluster.participants,
        environment={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint},
    )
    with traced:
        await asyncio.to_thread(traced.launch_participants, "services")
        await asyncio.to_thread(traced.launch_coordinator, "coordinator")
        await asyncio.to_thread(traced.await_ready)
        async with Client(cluster.stack.kafka.bootstrap) as client:
            yield traced, client
        await asyncio.to_thread(traced.stop)


async def publish(client: Client, topic: str, event: dict[str, Any], key: str) -> tuple[str, str]:
    """Publish an event as a traced service does; return its trace and span."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    traceparent = f"00-{trace}-{span}-01"
    await client.publish(topic, [event], key=key, traceparent=traceparent)
    return trace, span


def whole(receiver: Receiver, trace: str, names: set[str]) -> list[Seen]:
    """Wait until these spans of a trace have come, and return all of it."""
    receiver.wait_for(
        lambda spans: names <= {span.name for span in spans if span.trace == trace}, seconds=15
    )
    return receiver.trace(trace)


def check_parents(spans: list[Seen], cause: str) -> None:
    """No parent is missing, no id is there twice, and nothing ends before it begins."""
    ids = [span.span for span in spans]
    assert len(set(ids)) == len(ids), sorted(span.name for span in spans)
    for span in spans:
        assert span.parent in {*ids, cause}, span
        assert span.start_ns <= span.end_ns


async def test_a_saga_that_goes_through(traced: tuple[Cluster, Client], receiver: Receiver) -> None:
    """The event's own span is the cause; each attempt has its participant's work below it."""
    _, client = traced
    event = order("trace-good", 2)
    trace, cause = await publish(client, "orders.placed", event, "order_id")
    names = {"saga place-order", "step reserve", "step charge", "step dispatch"}
    names |= {"outcome COMMITTED", "process stock.commands", "process shipping.commands"}

    spans = await asyncio.to_thread(whole, receiver, trace, names)

    assert names <= {span.name for span in spans}
    check_parents(spans, cause)
    by_name = {span.name: span for span in spans}
    root, step = by_name["saga place-order"], by_name["step reserve"]
    assert root.parent == cause
    assert step.parent == root.span
    assert step.attributes["messaging.destination.name"] == "stock.commands"
    assert step.attributes["twofold.result"] == "done"
    work = by_name["process stock.commands"]
    assert (work.parent, work.kind) == (step.span, CONSUMER)
    assert work.service != root.service == "twofold-coordinator"
    assert by_name["outcome COMMITTED"].start_ns == root.start_ns


async def test_a_compensation_is_seen(traced: tuple[Cluster, Client], receiver: Receiver) -> None:
    """What was undone, and why."""
    _, client = traced
    event = order("trace-mallory", 1)
    trace, cause = await publish(client, "orders.placed", event, "order_id")
    names = {"compensate reserve", "outcome COMPENSATED", "step charge"}

    spans = await asyncio.to_thread(whole, receiver, trace, names)

    check_parents(spans, cause)
    by_name = {span.name: span for span in spans}
    assert by_name["step charge"].attributes["twofold.result"] == "refused"
    assert "blocked" in by_name["outcome COMPENSATED"].attributes["twofold.reason"]


async def test_a_transfer_shows_both_phases(
    traced: tuple[Cluster, Client], receiver: Receiver
) -> None:
    """Prepare and commit of each branch, with the participants' work below."""
    _, client = traced
    event = transfer("trace", 1)
    trace, cause = await publish(client, "transfers.requested", event, "transfer_id")
    names = {"prepare debit", "prepare credit", "commit debit", "commit credit"}
    names |= {"atomic transfer", "outcome COMMITTED", "process bank-a.commands"}

    spans = await asyncio.to_thread(whole, receiver, trace, names)

    assert names <= {span.name for span in spans}
    check_parents(spans, cause)


async def test_the_trace_goes_on_after_kill_9(
    traced: tuple[Cluster, Client], receiver: Receiver
) -> None:
    """The heir's spans are in the same trace, and say that it took over."""
    cluster, client = traced
    await asyncio.to_thread(cluster.kill, "services")
    event = order("trace-killed", 2)
    trace, cause = await publish(client, "orders.placed", event, "order_id")
    await asyncio.to_thread(whole, receiver, trace, {"saga place-order"})
    await asyncio.to_thread(cluster.kill, "coordinator")
    await asyncio.to_thread(cluster.launch_coordinator, "heir")
    await asyncio.to_thread(cluster.launch_participants, "services-again")
    await asyncio.to_thread(cluster.await_ready)

    names = {"taken over", "outcome COMMITTED", "step dispatch"}
    spans = await asyncio.to_thread(whole, receiver, trace, names)

    assert names <= {span.name for span in spans}
    check_parents(spans, cause)
    owners = {s.resource["service.instance.id"] for s in spans if s.name.startswith(("saga", "ou"))}
    assert len(owners) == 2
