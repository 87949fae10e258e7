"""The kit with which a service takes part in Twofold's transactions.

    from participants import Participant, Refused, run

    stock = Participant("stock", database="shop_stock")

    @stock.step("reserve")
    async def reserve(db, call):
        left = await db.fetchval(
            "UPDATE stock SET quantity = quantity - 1 WHERE sku = $1 AND quantity > 0"
            " RETURNING quantity", call.data["sku"])
        if left is None:
            raise Refused("out of stock")
        return {"left": left}

    @stock.undo("release")
    async def release(db, call):
        await db.execute("UPDATE stock SET quantity = quantity + 1 WHERE sku = $1",
                         call.data["sku"])

    run(stock)

branch.py, step.py       PURE: what to do about a command, given what the database says
postgres.py, barrier.py  branches and steps on Postgres
service.py, worker.py    a participant at work, and the process around it
resolver.py              branches that nobody has ended
heart.py                 signs of life
app.py, calls.py         what a service's own code sees
"""

from participants.app import Participant
from participants.calls import Busy, Call, Failed, ReadOnly, Refused
from participants.running import run
from wire.messages import Json

__all__ = ["Busy", "Call", "Failed", "Json", "Participant", "ReadOnly", "Refused", "run"]
