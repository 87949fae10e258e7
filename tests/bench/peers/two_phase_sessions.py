"""SQLAlchemy: threads that move money between two databases, by sessions with twophase=True.

    python two_phase_sessions.py DSN DSN THREADS SECONDS

Prints JSON: transfers a second after a warm-up, and how many were made in all.
"""

from __future__ import annotations

import json
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, Final

ACCOUNTS: Final = 10_000
WARM_UP_S: Final = 1.0


def main(source: str, target: str, threads: int, seconds: float) -> dict[str, float]:
    """Move money, from many threads, for a while."""
    sa, orm = import_module("sqlalchemy"), import_module("sqlalchemy.orm")
    engines = [
        sa.create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"), pool_size=threads)
        for dsn in (source, target)
    ]
    tables = [_account(sa, orm) for _ in engines]
    begin = time.perf_counter() + WARM_UP_S
    end = begin + seconds

    def move() -> tuple[int, int]:
        made, counted = 0, 0
        while time.perf_counter() < end:
            with orm.Session(
                binds=dict(zip(tables, engines, strict=True)), twophase=True
            ) as session:
                for table, amount in zip(tables, (-1, 1), strict=True):
                    account = random.randrange(ACCOUNTS)
                    session.execute(
                        sa.update(table)
                        .where(table.id == account)
                        .values(balance=table.balance + amount),
                        execution_options={"synchronize_session": False},
                    )
                session.commit()
            made += 1
            counted += begin <= time.perf_counter() < end
        return made, counted

    with ThreadPoolExecutor(threads) as pool:
        done = [running.result() for running in [pool.submit(move) for _ in range(threads)]]
    return {
        "per_second": sum(counted for _, counted in done) / seconds,
        "made": sum(made for made, _ in done),
    }


def _account(sa: Any, orm: Any) -> Any:
    """Map the table once more: each database has its own."""
    columns = {
        "__tablename__": "account",
        "id": sa.Column(sa.Integer, primary_key=True),
        "balance": sa.Column(sa.BigInteger),
    }
    return type("Account", (orm.declarative_base(),), columns)


if __name__ == "__main__":
    _, *dsns, many, long = sys.argv
    sys.stdout.write(json.dumps(main(dsns[0], dsns[1], int(many), float(long))) + "\n")
