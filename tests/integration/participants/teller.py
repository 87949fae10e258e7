"""What is asked of a branch."""

from __future__ import annotations

from typing import Any

from participants.branch import Answer
from participants.calls import Call, Outcome
from participants.connections import Connection
from participants.postgres import Branches

WAITING = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


def call_of(gid: str, data: Any = None, branch: str = "debit") -> Call:
    return Call(gid, branch, "write", data)


async def write(db: Connection, call: Call) -> Outcome:
    """Leave a row of the transaction's own."""
    await db.execute("INSERT INTO item VALUES ($1, 1)", call.gid)
    return {"wrote": call.gid}


async def never(_db: Connection, _call: Call) -> Outcome:
    raise AssertionError("the handler ran a second time")


async def prepare(
    branches: Branches, gid: str, work: Any = write, *, alone: bool = False, late: bool = False
) -> Answer:
    answer = await branches.prepare(call_of(gid), work, alone=alone, late=late)
    assert answer is not None
    return answer
