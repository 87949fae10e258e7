"""A database that comes back must have what it had acknowledged.

If it was restored from a backup, or failed over with a loss, then it has not,
and cannot know it. Whoever has used it before can: it remembers the last row
that it has seen committed there, and looks for it over each new connection.
A row that is not young may have been deleted in good order, by its age; then
all that are as old are gone with it.

Nothing is concluded from it but that a person should look. What is prepared
again ends as the log says; what is gone, `twofold audit` finds.
"""

from __future__ import annotations

import time
from typing import Any, Final

import structlog

logger = structlog.get_logger(__name__)

STEP: Final = "SELECT status FROM twofold.barrier WHERE gid = $1 AND step = $2"
BRANCH: Final = "SELECT status FROM twofold.branch WHERE gid = $1 AND branch = $2"

OLDER: Final = {
    STEP: "SELECT gid FROM twofold.barrier WHERE at < now() - $1 * interval '1 s' LIMIT 1",
    BRANCH: "SELECT gid FROM twofold.branch WHERE at < now() - $1 * interval '1 s' LIMIT 1",
}

YOUNG_S: Final = 86_400
"""Nobody deletes marks that are younger: commands are redelivered for longer."""


class Witness:
    """Remembers the last row that one participant's database has acknowledged."""

    def __init__(self, participant: str) -> None:
        self._participant = participant
        self._last: tuple[str, str, str] | None = None
        self._seen_at = 0.0

    def saw_step(self, gid: str, step: str) -> None:
        """Remember the row of a step."""
        self._last, self._seen_at = (STEP, gid, step), time.monotonic()

    def saw_branch(self, gid: str, branch: str) -> None:
        """Remember the marker of a branch."""
        self._last, self._seen_at = (BRANCH, gid, branch), time.monotonic()

    async def look(self, connection: Any) -> None:
        """Say so if the row is gone."""
        if self._last is None:
            return
        sql, gid, part = self._last
        if await connection.fetchrow(sql, gid, part) is not None:
            return
        self._last, age_s = None, time.monotonic() - self._seen_at
        if age_s < YOUNG_S or await connection.fetchrow(OLDER[sql], age_s) is not None:
            logger.error(
                "database_has_forgotten",
                participant=self._participant,
                gid=gid,
                part=part,
                hint="it was restored, or failed over with a loss: run `twofold audit`",
            )
