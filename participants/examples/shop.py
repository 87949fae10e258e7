"""A shop in three services, each with a database of its own: stock, payments, shipping.

twofold participants run participants.examples.shop
"""

from __future__ import annotations

from typing import Any

from participants import Call, Participant, Refused

stock = Participant(
    "stock",
    database="shop_stock",
    setup_sql="""
        CREATE TABLE IF NOT EXISTS item (
            sku text PRIMARY KEY, available bigint NOT NULL CHECK (available >= 0));
        CREATE TABLE IF NOT EXISTS reservation (
            order_id text PRIMARY KEY, sku text NOT NULL, quantity bigint NOT NULL);
        INSERT INTO item VALUES ('widget', 1000000), ('unobtainium', 0) ON CONFLICT DO NOTHING;
    """,
)


@stock.step("reserve")
async def reserve(db: Any, call: Call) -> dict[str, Any]:
    """Take goods from the shelf, if enough are there."""
    order, sku, quantity = call.data["order"], call.data["sku"], call.data["quantity"]
    taken = await db.fetchval(
        "UPDATE item SET available = available - $2 WHERE sku = $1 AND available >= $2"
        " RETURNING available",
        sku,
        quantity,
    )
    if taken is None:
        raise Refused(f"not enough {sku} in stock")
    await db.execute("INSERT INTO reservation VALUES ($1, $2, $3)", order, sku, quantity)
    return {"left": taken}


@stock.undo("release")
async def release(db: Any, call: Call) -> None:
    """Put the goods back."""
    row = await db.fetchrow(
        "DELETE FROM reservation WHERE order_id = $1 RETURNING sku, quantity", call.data["order"]
    )
    await db.execute(
        "UPDATE item SET available = available + $2 WHERE sku = $1", row["sku"], row["quantity"]
    )


@stock.step("sell")
async def sell(db: Any, call: Call) -> None:
    """Let the goods that were reserved go: the confirmation of a try that is `reserve`."""
    await db.execute("DELETE FROM reservation WHERE order_id = $1", call.data["order"])


payments = Participant(
    "payments",
    database="shop_payments",
    setup_sql="""
        CREATE TABLE IF NOT EXISTS payment (
            order_id text PRIMARY KEY, customer text NOT NULL, amount bigint NOT NULL,
            refunded boolean NOT NULL DEFAULT false);
        CREATE TABLE IF NOT EXISTS blocked (customer text PRIMARY KEY);
        INSERT INTO blocked VALUES ('mallory') ON CONFLICT DO NOTHING;
    """,
)


@payments.step("charge")
async def charge(db: Any, call: Call) -> dict[str, Any]:
    """Charge the customer, unless the card is blocked."""
    order, customer, amount = call.data["order"], call.data["customer"], call.data["amount"]
    if await db.fetchval("SELECT 1 FROM blocked WHERE customer = $1", customer):
        raise Refused(f"the card of {customer} is blocked")
    await db.execute("INSERT INTO payment VALUES ($1, $2, $3)", order, customer, amount)
    return {"payment": f"pay-{order}"}


@payments.undo("refund")
async def refund(db: Any, call: Call) -> None:
    """Give the money back."""
    await db.execute("UPDATE payment SET refunded = true WHERE order_id = $1", call.data["order"])


shipping = Participant(
    "shipping",
    database="shop_shipping",
    setup_sql="""
        CREATE TABLE IF NOT EXISTS shipment (
            order_id text PRIMARY KEY, payment text NOT NULL, tracking text NOT NULL);
        CREATE TABLE IF NOT EXISTS embargo (order_prefix text PRIMARY KEY);
        INSERT INTO embargo VALUES ('embargoed') ON CONFLICT DO NOTHING;
    """,
)


@shipping.step("dispatch")
async def dispatch(db: Any, call: Call) -> dict[str, Any]:
    """Send the parcel, unless the address cannot be served."""
    order = call.data["order"]
    if await db.fetchval("SELECT 1 FROM embargo WHERE starts_with($1, order_prefix)", order):
        raise Refused("nothing can be sent there")
    tracking = f"track-{order}"
    await db.execute(
        "INSERT INTO shipment VALUES ($1, $2, $3)", order, call.data["payment"], tracking
    )
    return {"tracking": tracking}
