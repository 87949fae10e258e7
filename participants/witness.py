"""A database that comes back must have what it had acknowledged.

If it was restored from a backup, or failed over with a loss, then it has not,
and cannot know it. Whoever has used it before can: it remembers the last row
that it has seen committed there, and looks for it over each new connection.

Nothing is concluded from it but that a person should look. What is prepared
again ends as the log says; what is gone, `twofold audit` finds.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

logger = structlog.get_logger(__name__)

STEP: Final = "SELECT status FROM twofold.barrier WHERE gid = $1 AND step = $2"
BRANCH: Final = "SELECT status FROM twofold.branch WHERE gid = $1 AND branch = $2"


class Witness:
    """Remembers the last row that one participant's database has acknowledged."""

    def __init__(self, participant: str) -> None:
        self._participant = participant
        self._last: tuple[str, str, str] | None = None

    def saw_step(self, gid: str, step: str) -> None:
        """Remember the row of a step."""
        self._last = (STEP, gid, step)

    def saw_branch(self, gid: str, branch: str) -> None:
        """Remember the marker of a branch."""
        self._last = (BRANCH, gid, branch)

    async def look(self, connection: Any) -> None:
        """Say so if the row is gone."""
        if self._last is None:
            return
        sql, gid, part = self._last
        if await connection.fetchrow(sql, gid, part) is None:
            self._last = None
            logger.error(
                "database_has_forgotten",
                participant=self._participant,
                gid=gid,
                part=part,
                hint="it was restored, or failed over with a loss: run `twofold audit`",
            )
