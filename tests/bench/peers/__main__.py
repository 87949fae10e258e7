"""Run peers and ours in turn: python -m tests.bench.peers PYTHON-WITH-THEIR-LIBRARIES."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import uvloop

from tests.bench import report, truth
from tests.bench.load import InFlight, median
from tests.bench.measure import Laboratory
from tests.bench.rounds import Scene
from tests.bench.stage import Servers
from tests.bench.workload import ACCOUNT_TABLE, BANKS, Kind

HERE: Final = Path(__file__).parent
PREFIX: Final = "peer_"
WORKFLOWS: Final = "peer_workflows"
SESSIONS: Final = ("4",)
"""Threads; more are slower."""
PROCESSES: Final = ("2", "2")
"""Processes, and threads in each; more are slower."""
BALANCE: Final = "SELECT sum(balance)::bigint FROM account"
ENDED: Final = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"
LOADS: Final = {Kind.TRANSFER: 64, Kind.TRIP: 256}

TWO_PHASE: Final = "SQLAlchemy, twophase=True"
DURABLE: Final = "DBOS, three steps that do nothing"


class Peers:
    """Runs the peers' scripts, and sees that they did what they say."""

    def __init__(self, servers: Servers, python: Path, seconds: float) -> None:
        self._servers, self._python, self._seconds = servers, python, seconds
        self._moved = self._ended = 0

    async def prepare(self) -> None:
        """Make their databases."""
        for name in (*(PREFIX + bank for bank in BANKS), WORKFLOWS):
            await truth.execute(self._servers.dsn("twofold"), f"CREATE DATABASE {name}")
        for bank in BANKS:
            await truth.execute(self._servers.dsn(PREFIX + bank), ACCOUNT_TABLE)

    async def two_phase(self) -> float:
        """Return transfers a second."""
        dsns = [self._servers.dsn(PREFIX + bank) for bank in BANKS]
        said = await self._run("two_phase_sessions.py", *dsns, *SESSIONS)
        self._moved += said["made"]
        found = [(await truth.ask(dsn, BALANCE))[0][0] for dsn in dsns]
        if found != [-self._moved, self._moved]:
            raise truth.Untrue(f"{self._moved} were moved, and the balances are {found}")
        return float(said["per_second"])

    async def durable(self) -> float:
        """Return workflows a second."""
        dsn = self._servers.dsn(WORKFLOWS)
        said = await self._run("workflows.py", dsn, *PROCESSES)
        self._ended += said["made"]
        [[found]] = await truth.ask(dsn, ENDED)
        if found != self._ended:
            raise truth.Untrue(f"{self._ended} workflows have ended, and {found} are recorded")
        return float(said["per_second"])

    async def _run(self, script: str, *arguments: str) -> dict[str, Any]:
        running = await asyncio.create_subprocess_exec(
            self._python, HERE / script, *arguments, f"{self._seconds}", stdout=-1
        )
        said, _ = await running.communicate()
        if running.returncode:
            raise truth.Untrue(f"{script} ended with {running.returncode}")
        return json.loads(said.splitlines()[-1])


async def _measure(
    servers: Servers, directory: Path, peers: Peers, rounds: int, seconds: float
) -> dict[str, list[float]]:
    scene = Scene(servers, Laboratory(servers), directory / "company", _say)
    found: defaultdict[str, list[float]] = defaultdict(list)

    def note(name: str, per_second: float) -> None:
        scene.say(f"{name:36} {per_second:6.0f}/s")
        found[name].append(per_second)

    await scene.servers.prepare_floors()
    await peers.prepare()
    scene.company().cluster.prepare()
    async with scene.lab as lab:
        with scene.company().at_work(1) as company:
            lab.company = company
            for kind in (*LOADS, *LOADS):  # the broker compiles itself
                await lab.ours(kind, InFlight(16), seconds=2 * seconds)
            for _ in range(rounds):
                note(TWO_PHASE, await peers.two_phase())
                note(DURABLE, await peers.durable())
                for kind, load in LOADS.items():
                    point = await lab.ours(kind, InFlight(load), seconds=seconds)
                    note(kind, point.per_second)
            lab.company = None
    return found


def main(
    python: Annotated[Path, typer.Argument(help="The Python that has the peers' libraries.")],
    *,
    rounds: Annotated[int, typer.Option(help="How often everything is measured.")] = 3,
    seconds: Annotated[float, typer.Option(help="How long each loop runs.")] = 3.0,
) -> None:
    """Measure peers and ours in turn, on the same servers."""
    directory = Path(tempfile.mkdtemp(prefix="twofold-peers-"))
    with (
        Servers.start(directory) as servers,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        peers = Peers(servers, python.absolute(), seconds)
        found = runner.run(_measure(servers, directory, peers, rounds, seconds))
    shutil.rmtree(directory, ignore_errors=True)
    typer.echo("| per second, median of rounds | peer | ours | ours / peer, in the same round |")
    typer.echo("| --- | --- | --- | --- |")
    for peer, kind in ((TWO_PHASE, Kind.TRANSFER), (DURABLE, Kind.TRIP)):
        ratio = median([x / y for x, y in zip(found[kind], found[peer], strict=True)])
        figures = f"{median(found[peer]):.0f} | {median(found[kind]):.0f} | {ratio:.2f}"
        typer.echo(f"| {peer}; {kind}, {LOADS[kind]} in flight | {figures} |")
    typer.echo(f"\n{rounds} rounds of {seconds:g} s a loop, on {report.machine()}.")


def _say(text: str) -> None:
    typer.echo(text, err=True)


if __name__ == "__main__":
    typer.run(main)
