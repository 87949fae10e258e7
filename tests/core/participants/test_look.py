"""What a branch is found to be, if it ends between two looks at its database."""

from __future__ import annotations

from typing import Any, cast

import pytest

from participants.branch import Seen
from participants.postgres import PREPARED, OneBranch

GID = "tf1.test.1.0.00000000000070008000000000000001"


class EndsAfterOneLook:
    """A database in which somebody ends what is prepared once it was first looked at."""

    def __init__(self, status: str) -> None:
        self._status, self._looks = status, 0

    async def fetchrow(self, statement: str, *_: object) -> dict[str, Any] | None:
        ended = self._looks > 0
        self._looks += 1
        if statement == PREPARED:
            return None if ended else {"ours": True, "database": "bank"}
        return {"status": self._status, "reply": None, "reason": ""} if ended else None


@pytest.mark.parametrize(
    ("status", "seen"), [("committed", Seen.COMMITTED), ("rolled-back", Seen.ROLLED_BACK)]
)
async def test_a_branch_that_ends_meanwhile_is_not_taken_for_a_fresh_one(
    status: str, seen: Seen
) -> None:
    """It would be done, or refused, for the second time."""
    branch = OneBranch(cast("Any", EndsAfterOneLook(status)), GID, "debit")
    assert (await branch.look()).seen is seen
