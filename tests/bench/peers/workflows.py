"""DBOS: processes with threads that run durable workflows of three steps that do nothing.

    python workflows.py DSN PROCESSES THREADS SECONDS

Prints JSON: workflows a second after a warm-up, and how many ended in all.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any, Final

STEPS: Final = 3
WARM_UP_S: Final = 1.5


def work(threads: int, seconds: float, dsn: str, ready: Any) -> tuple[int, int]:
    """Run workflows in this process; return how many ended, and how many when it counts."""
    dbos: Any = import_module("dbos").DBOS
    step = dbos.step()(_nothing)

    def three_steps() -> None:
        for number in range(STEPS):
            step(number)

    workflow = dbos.workflow(name="three-steps")(three_steps)
    dbos(config=_config(dsn))
    dbos.launch()
    ready.wait()  # the first one makes the tables
    begin = time.perf_counter() + WARM_UP_S
    end = begin + seconds

    def run() -> tuple[int, int]:
        made, counted = 0, 0
        while time.perf_counter() < end:
            workflow()
            made += 1
            counted += begin <= time.perf_counter() < end
        return made, counted

    with ThreadPoolExecutor(threads) as pool:
        done = [running.result() for running in [pool.submit(run) for _ in range(threads)]]
    dbos.destroy()
    return sum(made for made, _ in done), sum(counted for _, counted in done)


def _nothing(number: int) -> int:
    return number


def _config(dsn: str) -> dict[str, Any]:
    return {
        "name": "bench",
        "system_database_url": dsn,
        "run_admin_server": False,
        "sys_db_pool_size": 16,
        "executor_id": str(uuid.uuid4()),
        "application_version": "1",
        "log_level": "ERROR",
    }


def _make_tables(dsn: str) -> None:
    dbos: Any = import_module("dbos").DBOS
    dbos(config=_config(dsn))
    dbos.launch()
    dbos.destroy()


def main(dsn: str, processes: int, threads: int, seconds: float) -> dict[str, float]:
    """Run workflows in several processes."""
    context = multiprocessing.get_context("spawn")
    first = context.Process(target=_make_tables, args=(dsn,))
    first.start()
    first.join()
    with context.Manager() as shared, context.Pool(processes) as pool:
        ready = shared.Barrier(processes)
        one = partial(work, threads, seconds, dsn, ready)
        done = [running.get() for running in [pool.apply_async(one) for _ in range(processes)]]
    return {
        "per_second": sum(counted for _, counted in done) / seconds,
        "made": sum(made for made, _ in done),
    }


if __name__ == "__main__":
    _, where, some, many, long = sys.argv
    sys.stdout.write(json.dumps(main(where, int(some), int(many), float(long))) + "\n")
