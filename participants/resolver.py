"""Branches in doubt: prepared for long, and nobody has said how they end.

A vote or a decision may have been lost, the participant restarted, or its
database restored. So every few seconds it asks for each, by the database's
own clock. Only the coordinator's answer ends a branch; a timeout never does.

What is not named as our cluster names its branches is somebody else's, and is
mentioned once and never touched.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from participants.connections import DatabaseAway
from participants.postgres import Branches
from wire import gids
from wire.messages import Inquired

logger = structlog.get_logger(__name__)

INQUIRIES: Final = 100
"""At most so many at a time, the oldest first; then those after them, for of some nobody knows."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to look, and how old a branch must be to be asked about."""

    every_seconds: float = 5.0
    after_seconds: float = 30.0


class Resolver:
    """Asks about the branches of one participant."""

    def __init__(
        self,
        participant: str,
        branches: Branches,
        *,
        cluster: str,
        patience: Patience,
        ask: Callable[[Inquired], None],
    ) -> None:
        self._participant, self._branches, self._cluster = participant, branches, cluster
        self._patience, self._ask = patience, ask
        self._strangers: set[str] = set()
        self._turn = 0

    async def run(self) -> None:
        """Look until cancelled, a little out of step with others."""
        while True:
            await asyncio.sleep(self._patience.every_seconds * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                await self.look()
            except DatabaseAway as away:
                logger.warning("resolver_waits", participant=self._participant, reason=str(away))

    async def look(self) -> None:
        """Ask once for each branch that has been in doubt for long."""
        due: list[Inquired] = []
        for name, age_ms in await self._branches.survey():
            parsed = gids.parse_prepared(name)
            if parsed is None or parsed[0].cluster != self._cluster:
                self._mention(name)
            elif age_ms >= self._patience.after_seconds * 1000:
                gid, branch = parsed
                due.append(Inquired(gid=str(gid), branch=branch, participant=self._participant))
        first = self._turn if self._turn < len(due) else 0
        self._turn = first + INQUIRIES
        asked = due[first : self._turn]
        for one in asked:
            self._ask(one)
        if asked:
            logger.info("branches_in_doubt", participant=self._participant, asked=len(asked))

    def _mention(self, name: str) -> None:
        if name not in self._strangers:
            self._strangers.add(name)
            logger.warning("stranger_prepared", participant=self._participant, prepared=name[:200])
