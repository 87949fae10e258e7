"""Connections that break, carry one way only, take their time, or lose an answer.

What a proxy has swallowed is gone, so such a connection is always broken
before the proxy carries anything again: TCP loses no bytes in the middle.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final

from compose.local.proxy import Way
from tests.chaos.system import Link, System

CUT_S: Final = (0.5, 4.0)
HALF_CUT_S: Final = (1.0, 5.0)
SLOW_S: Final = (2.0, 5.0)
DELAY_S: Final = (0.02, 0.3)
ANSWER_S: Final = (0.02, 0.3)

Note = Callable[[str], None]


async def cut_log(system: System, dice: random.Random, note: Note) -> None:
    await _cut(_logs(system), dice, note)


async def cut_data(system: System, dice: random.Random, note: Note) -> None:
    await _cut(_datas(system), dice, note)


async def cut_kafka(system: System, dice: random.Random, note: Note) -> None:
    await _cut(system.kafka_links, dice, note)


async def half_cut_log(system: System, dice: random.Random, note: Note) -> None:
    await _half_cut(_logs(system), dice, note)


async def half_cut_data(system: System, dice: random.Random, note: Note) -> None:
    await _half_cut(_datas(system), dice, note)


async def half_cut_kafka(system: System, dice: random.Random, note: Note) -> None:
    await _half_cut(system.kafka_links, dice, note)


async def slow_log(system: System, dice: random.Random, note: Note) -> None:
    await _slow(_logs(system), dice, note)


async def slow_data(system: System, dice: random.Random, note: Note) -> None:
    await _slow(_datas(system), dice, note)


async def slow_kafka(system: System, dice: random.Random, note: Note) -> None:
    await _slow(system.kafka_links, dice, note)


async def lose_log_answer(system: System, dice: random.Random, note: Note) -> None:
    await _lose_answer(_logs(system), dice, note)


async def lose_data_answer(system: System, dice: random.Random, note: Note) -> None:
    await _lose_answer(_datas(system), dice, note)


def _logs(system: System) -> list[Link]:
    return [process.database for process in system.coordinators]


def _datas(system: System) -> list[Link]:
    return [process.database for process in system.participants]


async def _cut(among: Sequence[Link], dice: random.Random, note: Note) -> None:
    link = dice.choice(among)
    if link.lock.locked():
        return
    async with link.lock:
        seconds = dice.uniform(*CUT_S)
        note(f"{link.name} for {seconds:.1f} s")
        link.proxy.refuse()
        link.proxy.reset()
        await asyncio.sleep(seconds)
        link.proxy.heal()


async def _half_cut(among: Sequence[Link], dice: random.Random, note: Note) -> None:
    link, way = dice.choice(among), dice.choice(list(Way))
    if link.lock.locked():
        return
    async with link.lock:
        seconds = dice.uniform(*HALF_CUT_S)
        note(f"{link.name}, {way.name.lower()} for {seconds:.1f} s")
        await _swallow(link, way, seconds)


async def _lose_answer(among: Sequence[Link], dice: random.Random, note: Note) -> None:
    """Let what is sent arrive, swallow what is answered, and break the connection."""
    link = dice.choice(among)
    if link.lock.locked():
        return
    async with link.lock:
        note(link.name)
        await _swallow(link, Way.TO_CLIENT, dice.uniform(*ANSWER_S))


async def _swallow(link: Link, way: Way, seconds: float) -> None:
    link.proxy.drop(way)
    await asyncio.sleep(seconds)
    link.proxy.reset()
    link.proxy.heal()


async def _slow(among: Sequence[Link], dice: random.Random, note: Note) -> None:
    link = dice.choice(among)
    if link.lock.locked():
        return
    async with link.lock:
        delay, seconds = dice.uniform(*DELAY_S), dice.uniform(*SLOW_S)
        note(f"{link.name}, {delay * 1000:.0f} ms each way for {seconds:.1f} s")
        link.proxy.delay(delay)
        await asyncio.sleep(seconds)
        link.proxy.heal()
