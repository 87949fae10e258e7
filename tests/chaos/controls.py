"""Two broken builds, each driven into its corner: the checker must catch both.

unfenced    the log takes a batch whatever its epoch. A coordinator that slept
            through its lease writes a beginning that its heir never hears of.
early       what a batch leads to is sent before it is durable. One branch
            hears of a commit that, after a crash, was never decided.

The same two corners with the code as it is must leave nothing to find.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from compose.demo.check import Finding
from tests.chaos import check
from tests.chaos.load import Load, Start
from tests.chaos.run import Say, rest
from tests.chaos.system import Process, Shape, System, running

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("compose", "coordinator", "participants", "sagas", "tests", "wire")
SOON_S: Final = 40.0
REST_S: Final = 25.0
NAP_S: Final = 2.0
MANY: Final = 16

UNFENCED: Final = (("coordinator/log/batches.py", "         WHERE s.epoch = v.epoch\n", ""),)
SEND: Final = "        await self._send(work.to_send(counted), work.crash_points_amid)\n"
BEFORE: Final = "        _crash(work.crash_points_before)\n"
EARLY: Final = (
    ("coordinator/engine.py", SEND, ""),
    ("coordinator/engine.py", BEFORE, SEND.replace("counted", "work.positions.keys()") + BEFORE),
)

Patch = tuple[tuple[str, str, str], ...]
Corner = Callable[[System, Load], Awaitable[None]]


class Control(NamedTuple):
    """A way to break the code, and the corner in which it shows."""

    name: str
    patch: Patch
    corner: Corner


class Verdict(NamedTuple):
    """What the checker found in one build."""

    build: str
    broken: bool
    violations: list[Finding]

    @property
    def holds(self) -> bool:
        """Whether the checker is right: a broken build is caught, and a good one is not."""
        return bool(self.violations) == self.broken


def broken_tree(directory: Path, patch: Patch) -> Path:
    """Copy the code, and break the copy."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, directory / package)
    for file, right, wrong in patch:
        text = (directory / file).read_text(encoding="utf-8")
        assert text.count(right) == 1, f"{file} has changed: mend the patch"
        (directory / file).write_text(text.replace(right, wrong), encoding="utf-8")
    return directory


async def run_all(directory: Path, say: Say) -> list[Verdict]:
    """Drive each build, as it is and broken, into its corner."""
    verdicts: list[Verdict] = []
    for control in CONTROLS:
        for broken in (False, True):
            build = f"{control.name}, {'broken' if broken else 'as it is'}"
            place = directory / build.replace(", ", "-").replace(" ", "-")
            source = broken_tree(place / "source", control.patch) if broken else None
            violations = await _drive(place, source, control.corner)
            verdict = Verdict(build, broken, violations)
            verdicts.append(verdict)
            found = "; ".join(f"{v.what} ({v.found})" for v in violations) or "nothing found"
            say(f"  {'✓' if verdict.holds else '✗'} {build}: {found}")
    return verdicts


async def _drive(directory: Path, source: Path | None, corner: Corner) -> list[Finding]:
    shape = Shape(2, (("node_a",), ("node_b",), ("node_c",)), source)
    async with running(directory, shape) as system:
        load = Load(system.kafka.bootstrap, random.Random(0))
        listening = asyncio.create_task(load.ear.run())
        try:
            await corner(system, load)
            await rest(system, load, REST_S)
            found = await check.findings(system, load)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await load.close()
    return [finding for finding in found if not finding.holds]


async def _zombie(system: System, load: Load) -> None:
    """One sleeps with a beginning in hand; one that has taken over has not yet read it."""
    zombie, heir = system.coordinators
    await zombie.start("C1:1:stop")
    # Some for each shard: the zombie seems alive, so its heir gives it half of them for a while.
    await asyncio.gather(*(load.ask(_transfer(f"zombie-{n}")) for n in range(MANY)))
    await _asleep(zombie)
    await heir.start("C13:1:stop")
    await _asleep(heir)
    zombie.resume()
    await asyncio.sleep(1)
    await zombie.kill()
    heir.resume()
    for process in system.participants:
        await process.start()


async def _told_too_early(system: System, load: Load) -> None:
    """One branch is gone once it has voted; the coordinator dies just before its decision."""
    first, heir = system.coordinators
    node_a, node_b, _ = system.participants
    await node_a.start()
    await node_b.start("P5")
    await first.start("C6")
    await load.ask(_transfer("early", nap=NAP_S))
    await _dead(node_b)
    await _dead(first)
    await asyncio.sleep(1)
    await heir.start()
    await load.ear.wait(("move-two", "early"), SOON_S)
    await node_b.start()


def _transfer(key: str, nap: float = 0.0) -> Start:
    event = {"key": key, "from": "acc-1", "to": "acc-2", "amount": 7, "nap": nap}
    return Start("move-two", key, event)


async def _asleep(process: Process) -> None:
    await _until(lambda: process.asleep, f"{process.name} does not go to sleep")


async def _dead(process: Process) -> None:
    await _until(lambda: not process.alive, f"{process.name} does not die")


async def _until(done: Callable[[], bool], otherwise: str) -> None:
    deadline = asyncio.get_running_loop().time() + SOON_S
    while not done():
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(otherwise)
        await asyncio.sleep(0.02)


CONTROLS: Final = (
    Control("unfenced", UNFENCED, _zombie),
    Control("early", EARLY, _told_too_early),
)
