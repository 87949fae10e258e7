"""Which topics are made for a definition."""

from __future__ import annotations

from coordinator.config import load_config
from coordinator.topics import definition_topics
from sagas.loader import load

DEFINITION = """\
saga: ship-when-paid
version: 1
start: {topic: orders, key: event.order, reply_to: orders.ended}
steps:
  reserve: {call: stock.reserve, undo: stock.release}
  paid: {wait: {topic: payments.made, match: event.order == input.order}}
  ship: {call: shipping.send, pivot: true}
"""


def test_all_topics_of_a_definition_are_made() -> None:
    """Also that of an event which a step waits for: who waits there would not be heard."""
    plans = definition_topics(load_config(), [load(DEFINITION, "ship-when-paid.yaml")], 3)
    assert {plan.name: "retention.ms" in plan.config for plan in plans} == {
        "orders": False,
        "orders.ended": False,
        "payments.made": False,
        "stock.commands": True,
        "shipping.commands": True,
    }
