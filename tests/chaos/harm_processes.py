"""Processes that die, sleep, leave, or do not know what time it is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.chaos.system import Process, System

# A coordinator's lease lasts three seconds, a participant's session with Kafka six.
PAST_LEASE_S: Final = (3.5, 6.0)
PAST_SESSION_S: Final = (6.5, 8.5)
DOWN_S: Final = (0.0, 2.0)
SKEWED_S: Final = (4.0, 7.0)
HOUR_S: Final = 3600
CLOCK: Final = Path(__file__).parent / "clock"

Note = Callable[[str], None]


async def kill_coordinator(system: System, dice: random.Random, note: Note) -> None:
    await _kill(system.coordinators, dice, note)


async def kill_participants(system: System, dice: random.Random, note: Note) -> None:
    await _kill(system.participants, dice, note)


async def pause_coordinator(system: System, dice: random.Random, note: Note) -> None:
    await _pause(system.coordinators, dice, note, PAST_LEASE_S)


async def pause_participants(system: System, dice: random.Random, note: Note) -> None:
    await _pause(system.participants, dice, note, PAST_SESSION_S)


async def stop_coordinator(system: System, dice: random.Random, note: Note) -> None:
    await _stop(system.coordinators, dice, note)


async def stop_participants(system: System, dice: random.Random, note: Note) -> None:
    await _stop(system.participants, dice, note)


async def skew_coordinator(system: System, dice: random.Random, note: Note) -> None:
    await _skew(system.coordinators, dice, note)


async def skew_participants(system: System, dice: random.Random, note: Note) -> None:
    await _skew(system.participants, dice, note)


async def _kill(among: Sequence[Process], dice: random.Random, note: Note) -> None:
    process = dice.choice(among)
    if process.lock.locked():
        return
    async with process.lock:
        note(process.name)
        await process.kill()
        await asyncio.sleep(dice.uniform(*DOWN_S))
        await process.start()


async def _pause(
    among: Sequence[Process], dice: random.Random, note: Note, span_s: tuple[float, float]
) -> None:
    process = dice.choice(among)
    if process.lock.locked() or not process.alive:
        return
    async with process.lock:
        seconds = dice.uniform(*span_s)
        note(f"{process.name} for {seconds:.1f} s")
        process.pause()
        try:
            await asyncio.sleep(seconds)
        finally:
            process.resume()


async def _stop(among: Sequence[Process], dice: random.Random, note: Note) -> None:
    process = dice.choice(among)
    if process.lock.locked():
        return
    async with process.lock:
        note(process.name)
        await process.stop()
        await asyncio.sleep(dice.uniform(*DOWN_S))
        await process.start()


async def _skew(among: Sequence[Process], dice: random.Random, note: Note) -> None:
    """Start it again with a clock that is wrong by an hour, and after a while with a right one."""
    process = dice.choice(among)
    if process.lock.locked():
        return
    async with process.lock:
        off_s = dice.choice([-HOUR_S, HOUR_S])
        note(f"{process.name} by {off_s:+} s")
        await process.kill()
        await process.start(extra={"PYTHONPATH": str(CLOCK), "CHAOS_CLOCK_S": str(off_s)})
        await asyncio.sleep(dice.uniform(*SKEWED_S))
        await process.kill()
        await process.start()
