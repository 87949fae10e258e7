"""A participant's connections to its simulated database."""

from __future__ import annotations

from typing import Any

import asyncpg

from participants.connections import Connections, DatabaseAway
from tests.simulation.database import Database, SimConnection
from tests.simulation.faults import Faults
from tests.simulation.process import Process


class SimConnections(Connections):
    """Connections to a simulated database."""

    def __init__(self, database: Database, process: Process, faults: Faults, *, limit: int) -> None:
        super().__init__("", name=database.name, limit=limit)
        self._database, self._process, self._faults = database, process, faults

    async def _take(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        await self._process.step()
        if not self._process.alive:
            raise DatabaseAway("the process is gone")
        connection = SimConnection(self._database, self._process, self._faults)
        try:
            await self.generations.learn(connection)
            await self.witness.look(connection)
        except asyncpg.ConnectionDoesNotExistError as error:
            raise DatabaseAway("the connection was lost") from error
        return connection
