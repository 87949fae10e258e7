"""What a batch of the log costs Postgres, with its plan kept and planned anew.

`python -m tests.bench.writing`: a log of its own, one connection, batches that
begin transactions and batches that end them, in turn. It prints the CPU that
the backend spent on a batch, in microseconds.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import asyncpg
import typer

from compose.local.postgres import LocalPostgres
from coordinator.log.ask import SESSION
from coordinator.log.batches import KEPT_PLAN, write
from coordinator.log.migrate import migrate
from coordinator.log.parts import DAY_US
from coordinator.log.store import Batch, Position
from tests.contract.batches import beginning, change

BATCHES: Final = 1_000
ROUNDS: Final = 3
SIZES: Final = (1, 20)
PLANS: Final = {"planned anew": SESSION, "plan kept": KEPT_PLAN}


async def cost_us(dsn: str, settings: Mapping[str, str], size: int) -> float:
    """Write batches of one size to an empty log."""
    connection: Any = await asyncpg.connect(dsn, server_settings=dict(settings))
    await migrate(connection, cluster="bench", shards=1)
    await connection.execute("UPDATE twofold.shard SET epoch = 1")
    at, pid = Position(0, 1, 0, 0), await connection.fetchval("SELECT pg_backend_pid()")
    before = _cpu_s(pid)
    for first in range(0, BATCHES * size, 2 * size):
        numbers = range(first, first + size)
        await write(connection, beginning(*numbers, at=at), DAY_US)
        await write(connection, Batch([at], [], [], [change(n) for n in numbers]), DAY_US)
    spent = _cpu_s(pid) - before
    await connection.close()
    return spent / BATCHES * 1e6


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _measure(server: LocalPostgres) -> None:
    for size in SIZES:
        for number in range(ROUNDS):
            row: list[str] = []
            for name, settings in PLANS.items():
                database = f"log_{size}_{number}_{name.replace(' ', '_')}"
                server.create_database(database)
                cost = await cost_us(server.dsn(database), settings, size)
                row.append(f"{name} {cost:.0f}")
            typer.echo(f"transactions a batch {size}, round {number + 1}: {', '.join(row)}")


def main() -> None:
    """Measure both, in turn."""
    with (
        tempfile.TemporaryDirectory(prefix="twofold-bench-") as directory,
        LocalPostgres.start(Path(directory)) as server,
    ):
        asyncio.run(_measure(server))


if __name__ == "__main__":
    typer.run(main)
