"""A database that comes back without what it had acknowledged."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from participants.witness import OLDER, YOUNG_S, Witness

pytestmark = pytest.mark.usefixtures("heard")


class Rows:
    """A database with these rows, and perhaps with older ones."""

    def __init__(self, *rows: tuple[str, str], older: bool = False) -> None:
        self.rows, self.older = rows, older

    async def fetchrow(self, sql: str, *key: Any) -> Any:
        found = self.older if sql in OLDER.values() else key in self.rows
        return {"status": "done"} if found else None


@pytest.mark.parametrize("kind", ["saw_step", "saw_branch"])
async def test_what_is_gone_is_mentioned_once(kind: str) -> None:
    """With the row that proves it."""
    witness = Witness("bank")
    getattr(witness, kind)("tf1.x", "debit")

    with capture_logs() as logs:
        await witness.look(Rows(("tf1.x", "debit")))
        assert logs == []
        await witness.look(Rows())
        await witness.look(Rows())

    assert [(one["event"], one["gid"], one["part"]) for one in logs] == [
        ("database_has_forgotten", "tf1.x", "debit")
    ]


@pytest.mark.parametrize(
    ("age_s", "older", "alarms"),
    [
        (YOUNG_S - 1, False, 1),  # too young to be deleted by anybody
        (YOUNG_S + 1, False, 0),  # deleted by its age, with all that are as old
        (YOUNG_S + 1, True, 1),  # older ones are there
    ],
)
async def test_what_was_deleted_by_its_age_is_not_missed(
    monkeypatch: pytest.MonkeyPatch, age_s: float, *, older: bool, alarms: int
) -> None:
    """Or a participant with little to do would cry wolf at each reconnection."""
    clock = [1_000.0]
    monkeypatch.setattr("participants.witness.time.monotonic", lambda: clock[0])
    witness = Witness("bank")
    witness.saw_step("tf1.x", "debit")
    clock[0] += age_s

    with capture_logs() as logs:
        await witness.look(Rows(older=older))

    assert len(logs) == alarms


async def test_who_has_seen_nothing_misses_nothing() -> None:
    """A process that has just been started."""
    with capture_logs() as logs:
        await Witness("bank").look(Rows())
    assert logs == []
