"""A database from which old marks were deleted, and one that has forgotten new ones."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from participants import witness as module
from participants.witness import Witness
from tests.integration.participants.conftest import Database

OLD = (
    "INSERT INTO twofold.barrier VALUES ('tf1.y', 's', 'done', NULL, '', now() - interval '9 d')",
    "INSERT INTO twofold.branch VALUES ('tf1.y', 's', 'committed', NULL, '', '2020-01-01')",
)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("kind", ["saw_step", "saw_branch"])
async def test_a_mark_is_missed_where_older_ones_are_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Where there are none, it has been deleted by its age."""
    monkeypatch.setattr(module, "YOUNG_S", -1.0)

    async def alarms() -> int:
        witness = Witness("shop")
        getattr(witness, kind)("tf1.x", "s")
        with capture_logs() as logs:
            async with database.connections.one() as connection:
                await witness.look(connection)
        return len(logs)

    assert await alarms() == 0
    for row in OLD:
        await database.execute(row)
    assert await alarms() == 1
