"""Servers that die, end sessions, or have no room for one more prepared transaction."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg

from tests.chaos.services import DATABASES
from tests.chaos.system import PREPARED_SLOTS, Server, System

DOWN_S: Final = (0.0, 1.5)
FULL_S: Final = (2.0, 4.0)
NO_ROOM_S: Final = (2.0, 5.0)
SETTLES_S: Final = 1.0
"""How long a server may take to find out that it cannot go on."""
SESSIONS: Final = 6
STRANGER: Final = "somebody-elses-{}"

AWAY: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)

Note = Callable[[str], None]


async def kill_kafka(system: System, dice: random.Random, note: Note) -> None:
    await _kill(dice.choice(system.brokers), dice, note)


async def kill_log(system: System, dice: random.Random, note: Note) -> None:
    await _kill(system.servers["log"], dice, note)


async def kill_data(system: System, dice: random.Random, note: Note) -> None:
    await _kill(system.servers["data"], dice, note)


async def fill_log_disk(system: System, dice: random.Random, note: Note) -> None:
    await _fill(system.servers["log"], dice, note)


async def fill_kafka_disk(system: System, dice: random.Random, note: Note) -> None:
    await _fill(system.brokers[0], dice, note)


async def _fill(server: Server, dice: random.Random, note: Note) -> None:
    """Leave no room on a server's disk for a while; start it again if that has ended it."""
    disk = server.disk
    if disk is None or server.lock.locked():
        return
    async with server.lock:
        if not await asyncio.to_thread(disk.fill):
            return
        seconds = dice.uniform(*NO_ROOM_S)
        note(f"{server.name} for {seconds:.1f} s")
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(disk.free)
        await asyncio.sleep(SETTLES_S)
        if not server.alive:
            await server.restart()


async def _kill(server: Server, dice: random.Random, note: Note) -> None:
    if server.lock.locked():
        return
    async with server.lock:
        note(server.name)
        await server.kill()
        await asyncio.sleep(dice.uniform(*DOWN_S))
        await server.restart()


async def end_log_sessions(system: System, dice: random.Random, note: Note) -> None:
    await _end_sessions(system.log.dsn("postgres"), ["twofold"], dice, note)


async def end_data_sessions(system: System, dice: random.Random, note: Note) -> None:
    await _end_sessions(system.data.dsn("postgres"), list(DATABASES), dice, note)


async def _end_sessions(dsn: str, databases: list[str], dice: random.Random, note: Note) -> None:
    with suppress(*AWAY):
        async with _connected(dsn) as connection:
            pids = await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = ANY($1) ORDER BY pid", databases
            )
            chosen = dice.sample(pids, min(SESSIONS, len(pids)))
            if not chosen:
                return
            note(f"{len(chosen)} of {len(pids)}")
            for row in chosen:
                await connection.execute("SELECT pg_terminate_backend($1)", row[0])


async def fill_slots(system: System, dice: random.Random, note: Note) -> None:
    """Take all prepared transactions that the server has left, under names that are not ours."""
    if system.slots.locked():
        return
    async with system.slots:
        tried: list[str] = []
        try:
            with suppress(*AWAY):
                async with _connected(system.data.dsn("postgres")) as connection:
                    for n in range(PREPARED_SLOTS):
                        tried.append(STRANGER.format(n))
                        await connection.execute(f"BEGIN; PREPARE TRANSACTION '{tried[-1]}'")
            if tried:
                note(f"{len(tried)} of {PREPARED_SLOTS} wanted by others")
                await asyncio.sleep(dice.uniform(*FULL_S))
        finally:
            # Also the one that nobody answered for: it may be prepared all the same.
            await _give_back(system, tried)


async def _give_back(system: System, names: list[str]) -> None:
    """Roll back what we have prepared; it survives the server, which may be down just now."""
    left = list(names)
    while left:
        with suppress(*AWAY):
            async with _connected(system.data.dsn("postgres")) as connection:
                while left:
                    with suppress(asyncpg.UndefinedObjectError):
                        await connection.execute(f"ROLLBACK PREPARED '{left[-1]}'")
                    left.pop()
        if left:
            await asyncio.sleep(0.2)


@asynccontextmanager
async def _connected(dsn: str) -> AsyncGenerator[Any]:
    connect: Any = asyncpg.connect  # asyncpg ships no types
    connection = await connect(dsn, timeout=5)
    try:
        yield connection
    finally:
        connection.terminate()
