"""`twofold demo`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer

from compose.demo.acts import DEFINITIONS, MODULES, Play, Scene
from compose.demo.show import Show
from compose.demo.stage import Client
from compose.demo.traces import Traces
from compose.local.cluster import Cluster
from compose.local.command import DATABASES, wait_for_interrupt
from compose.local.errors import StackError
from compose.local.stack import LocalStack

TO_EXPORT: Final = (
    "TWOFOLD_KAFKA__BOOTSTRAP",
    "TWOFOLD_LOG__DSN",
    "TWOFOLD_PG_DSN",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)
"""What another shell needs in order to find everything."""

app = typer.Typer(help="Show the main job on real Kafka and real Postgres.")


@app.callback(invoke_without_command=True)
def demo(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C.")
    ] = False,
) -> None:
    """Show the main job: sagas, two-phase commit, kill -9 and a takeover.

    Example: twofold demo --keep
    """
    show = Show()
    directory = Path(tempfile.mkdtemp(prefix="twofold-demo-"))
    try:
        holds = _run(show, directory, keep=keep)
    except StackError as error:
        show.console.print(f"[red]error:[/red] {error}", markup=True)
        show.say(f"logs are in {directory}")
        raise typer.Exit(3) from error
    except KeyboardInterrupt:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    if not holds:
        show.say(f"[bold red]something does not hold;[/bold red] logs are in {directory}")
        raise typer.Exit(1)
    shutil.rmtree(directory, ignore_errors=True)


def _run(show: Show, directory: Path, *, keep: bool) -> bool:
    with contextlib.ExitStack() as running:
        show.act("Real Kafka, real Postgres, and the processes of a small company")
        with show.waiting("starting Kafka and Postgres (the first time: fetching them)"):
            stack = LocalStack.start(directory / "stack", databases=DATABASES, progress=_quiet)
            running.enter_context(stack)
        show.say(stack.describe())
        traces = running.enter_context(Traces.start(directory / "traces", show))
        cluster = Cluster(
            stack,
            directory / "cluster",
            definitions=DEFINITIONS,
            participants=MODULES,
            environment={"OTEL_EXPORTER_OTLP_ENDPOINT": traces.endpoint},
        )
        running.enter_context(cluster)
        with show.waiting("creating the decision log, the topics and the services' tables"):
            cluster.prepare()
        with show.waiting("starting two coordinators, and the services in three processes"):
            _start(cluster)
        play = asyncio.run(_play(show, stack, cluster))
        traces.show(play.remarkable, lambda gid: _trace_of(cluster, gid), show)
        if keep:
            _stay(show, cluster, directory)
    return play.holds


def _start(cluster: Cluster) -> None:
    for name, module in zip(("shop", "bank", "counter"), MODULES, strict=True):
        cluster.launch_participants(name, modules=[module])
    for name in ("coordinator-1", "coordinator-2"):
        cluster.launch_coordinator(name)
    cluster.await_ready()


def _trace_of(cluster: Cluster, gid: str) -> str:
    shown = json.loads(cluster.run("show-json", "show", gid, "-o", "json"))
    return str(shown["trace_id"])


async def _play(show: Show, stack: LocalStack, cluster: Cluster) -> Play:
    async with Client(stack.kafka.bootstrap) as client:
        play = Play(Scene(show, client, cluster, stack.postgres.dsn))
        await play.sagas()
        await play.atomics()
        await play.killing()
        await play.counter()
    return play


def _stay(show: Show, cluster: Cluster, directory: Path) -> None:
    show.act("Everything is still running. In another shell:")
    if sys.prefix != sys.base_prefix:
        show.quote([f". {sys.prefix}/bin/activate"])
    show.quote([f"export {name}='{cluster.environment[name]}'" for name in TO_EXPORT])
    example = '{"order_id": "mine", "customer": "me", "sku": "widget", "quantity": 1, "total": 9}'
    show.quote(
        [
            f"twofold start place-order --key mine --input '{example}' --wait",
            "twofold list",
            "twofold show place-order mine",
        ]
    )
    wait_for_interrupt(f"   logs are in {directory}; Ctrl-C stops everything")


def _quiet(_: str) -> None:
    """The demo shows one line for all of it."""
