"""A shop that notes what is asked of it, and batches of its commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from participants import Busy, Call, Failed, Participant, Refused
from participants.barrier import Item, run_batch
from participants.connections import Connection, Connections
from participants.step import Asked, Reply
from tests.integration.participants.conftest import Database


class Shop:
    """A participant that notes each call of its handlers."""

    def __init__(self) -> None:
        self.participant = Participant("shop", handler_seconds=2.0)
        self.calls: list[tuple[str, str]] = []
        self.bulks: list[int] = []
        self.participant.step("write")(self.write)
        self.participant.step("answer")(self.answer)
        self.participant.step("bulk", bulk=True)(self.bulk)
        self.participant.undo("erase")(self.erase)

    async def write(self, db: Connection, call: Call) -> Any:
        """Leave a row; then say what the data tells to say."""
        self.calls.append(("write", call.gid))
        await db.execute("INSERT INTO item VALUES ($1, 1)", f"{call.gid}/{call.name}")
        match call.data:
            case {"refuse": why}:
                raise Refused(why)
            case {"return": why}:
                return Refused(why)
            case {"busy": why}:
                raise Busy(why)
            case {"fail": why}:
                return Failed(why)
            case {"crash": why}:
                raise RuntimeError(why)
            case data:
                return data

    async def answer(self, db: Connection, call: Call) -> Any:
        """Run a statement, and hide it if it fails."""
        try:
            await db.execute(call.data)
        except Exception as error:  # noqa: BLE001
            return None if "quietly" in call.data else str(error)
        return "well"

    async def bulk(self, db: Connection, calls: Sequence[Call]) -> list[Any]:
        self.bulks.append(len(calls))
        self.calls += [("bulk", call.gid) for call in calls]
        if any(call.data == "poison" for call in calls):
            raise RuntimeError("one of these is poison")
        wanted = [call for call in calls if call.data != "no"]
        await db.executemany(
            "INSERT INTO item VALUES ($1, 1)", [(f"{c.gid}/{c.name}",) for c in wanted]
        )
        return [Refused("no") if call.data == "no" else call.data for call in calls]

    async def erase(self, db: Connection, call: Call) -> None:
        self.calls.append(("erase", call.gid))
        if call.data == "refuse":
            raise Refused("it cannot be undone")
        gone = await db.execute("DELETE FROM item WHERE name = $1", f"{call.gid}/{call.name}")
        assert gone == "DELETE 1", "undone twice, or never done"
        assert call.result == {"kept": call.gid}, "the barrier knows the result"


def execute(gid: str, data: Any = None, *, command: str = "write", attempt: int = 1) -> Item:
    return Item(Asked.EXECUTE, Call(gid, "s", command, data, attempt))


def compensate(gid: str, data: Any = None, command: str = "erase") -> Item:
    return Item(Asked.COMPENSATE, Call(gid, "s", command, data))


def kept(gid: str) -> dict[str, str]:
    return {"kept": gid}


class Runner:
    """Batches of one shop on one database."""

    def __init__(self, shop: Shop, connections: Connections) -> None:
        self._shop, self.connections = shop, connections

    async def __call__(self, *items: Item) -> list[Reply]:
        replies = await run_batch(self.connections, items, self._shop.participant)
        assert None not in replies
        return [reply for reply in replies if reply is not None]


async def rows(database: Database) -> dict[str, str]:
    return dict(await database.fetch("SELECT gid, status FROM twofold.barrier"))
