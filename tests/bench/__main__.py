"""The command: python -m tests.bench."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from tests.bench import report
from tests.bench.goals import Points
from tests.bench.measure import Laboratory
from tests.bench.rounds import Findings, Plan, Scene, run
from tests.bench.stage import Servers


def main(
    *,
    quick: Annotated[bool, typer.Option(help="A first impression in about two minutes.")] = False,
    rounds: Annotated[int | None, typer.Option(help="How often everything is measured.")] = None,
    seconds: Annotated[float | None, typer.Option(help="How long each loop runs.")] = None,
    coordinators: Annotated[int, typer.Option(help="How many processes coordinate.")] = 1,
) -> None:
    """Measure what coordination costs, beside floors of the same run.

    The last line is one JSON object. An effect that did not happen exactly
    once is an error.
    """
    if quick:
        plan = Plan(rounds or 1, (1, 16, 64), seconds or 2.0, coordinators)
    else:
        loads = (1, 16, 64, 256)
        plan = Plan(
            rounds or 5, loads, seconds or 2.0, coordinators, flushes=1, disks=3, traces=3, kills=3
        )
    began, commit = time.monotonic(), _commit()
    directory = Path(tempfile.mkdtemp(prefix="twofold-bench-"))
    typer.echo(f"commit {commit} on {report.machine()}; logs are in {directory}", err=True)
    with (
        Servers.start(directory) as servers,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        points = Points(runner.run(_measure(servers, directory, plan)))
    shutil.rmtree(directory, ignore_errors=True)
    typer.echo(f"\nCommit {commit} on {report.machine()}; {plan.rounds} rounds of", nl=False)
    typer.echo(f" {plan.seconds:g} s a loop, {time.monotonic() - began:.0f} s in all.\n")
    for text in (*report.table(points), "", *report.verdicts(points), "", report.line(points)):
        typer.echo(text)


async def _measure(servers: Servers, directory: Path, plan: Plan) -> Findings:
    await servers.prepare_floors()
    scene = Scene(servers, Laboratory(servers), directory / "company", _say)
    scene.company().cluster.prepare()
    async with scene.lab:
        return await run(scene, plan)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _commit() -> str:
    argv = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() or "?"


typer.run(main)
