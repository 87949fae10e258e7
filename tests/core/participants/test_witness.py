"""A database that comes back without what it had acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from participants import witness as module
from participants.witness import Witness


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever this process has run before: the simulation silences every logger."""
    before = structlog.get_config()
    structlog.reset_defaults()
    monkeypatch.setattr(module, "logger", structlog.get_logger())
    yield
    structlog.configure(**before)


class Rows:
    """A database with these rows."""

    def __init__(self, *rows: tuple[str, str]) -> None:
        self.rows = rows

    async def fetchrow(self, _sql: str, *key: str) -> Any:
        return {"status": "done"} if key in self.rows else None


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


async def test_who_has_seen_nothing_misses_nothing() -> None:
    """A process that has just been started."""
    with capture_logs() as logs:
        await Witness("bank").look(Rows())
    assert logs == []
