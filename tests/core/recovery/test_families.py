"""What a log that has forgotten is told of sagas that are steps of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from audit.facts import Facts
from coordinator.core import children, machine
from coordinator.core.records import AttemptFailed, ChildBegan, Entry, Outcome
from coordinator.core.saga_state import Phase, SagaState, StepPhase
from coordinator.definitions import Definitions
from recovery.locks import holdings
from recovery.page import Page
from recovery.parts import ATTEMPTS, below
from recovery.starts import Asked, Said
from recovery.traces import Sent
from sagas.loader import load
from tests.core.audit.made import database, log_with, transaction
from tests.core.coordinator.builders import GID, START_US, Story
from wire import gids
from wire.messages import Begin, Compensate, Execute
from wire.messages import Outcome as Told

OUTER = load(
    """
saga: order
version: 1
deadline: 2m
steps:
  book: {call: shop.book, undo: shop.unbook}
  ship: {saga: shipping, needs: [book], with: {of: "${ steps.book.id }"}}
  mail: {needs: [ship], call: shop.mail, undo: {none: it is only a mail}}
""",
    "order.yaml",
)
INNER, NEWER = (
    load(
        f"""
saga: shipping
version: {version}
lock: {{key: depot}}
steps:
  pack: {{call: depot.pack, with: {{of: "${{ input.of }}"}}, undo: depot.unpack}}
  send: {{call: depot.send, undo: depot.fetch}}
output: {{at: "${{ steps.send.at }}"}}
""",
        "shipping.yaml",
    )
    for version in (1, 2)
)
SHIPS = {
    one.version: gids.child(GID, children.versioned("step/ship/1", one)) for one in (INNER, NEWER)
}
SHIP = SHIPS[1]
BOOKED = {"book": 'done {"id": "b1"}'}
SHIPPED = {"pack": "done", "send": 'done {"at": "noon"}'}


class Found:
    """What a page says of the order and its shipping, read again from its batch."""

    def __init__(
        self,
        order: Mapping[str, str],
        ship: Mapping[str, str],
        *,
        name: str = SHIP,
        known: Any = None,
        outer: Any = OUTER,
        told: Outcome | None = None,
    ) -> None:
        definitions = Definitions()
        for one in (outer, INNER, NEWER):
            definitions.add(one)
        rows = [rows_of(GID, order), rows_of(name, ship)]
        begin = Begin(definition="order", key="k-1", input={})
        asked = Asked(GID, 0, START_US, begin, outer, None)
        said = {GID: outcome(told)} if told else {}
        self.page = Page(
            [GID, name] if known else [GID],
            Facts(known or log_with(None), rows, 0),
            {} if known else {GID: asked},
            Said(said, {GID: Sent.ANYTHING}),
            versions=definitions.of_name,
        )
        self.batch = self.page.batch({}, 1)
        self.entries = [entry for _, entry in self.batch.entries]
        before = list(known.transactions[GID].entries) if known else []
        self.order: Any = machine.recover(GID, outer, [*before, *self.of(GID)])

    def of(self, gid: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.gid == gid]

    def asks(self) -> list[tuple[str, str]]:
        """Return what the next owner of the order asks of participants."""
        sends = machine.resume(self.order, START_US).sends
        messages = (send.message for send in sends)
        return [(type(m).__name__, m.step) for m in messages if isinstance(m, Execute | Compensate)]


def rows_of(gid: str, steps: Mapping[str, str]) -> Any:
    """Make a participant's rows: a status, and perhaps what the step returned."""
    made = database(gid, barriers={n: said.split(" ", 1)[0] for n, said in steps.items()}, gid=gid)
    for key, row in made.barriers.items():
        _, _, data = steps[key[1]].partition(" ")
        made.barriers[key] = row._replace(reply=data or None)  # pyright: ignore[reportIndexIssue]
    return made


@pytest.mark.parametrize("version", [1, 2])
def test_a_part_begins_again_by_the_version_that_its_name_says(version: int) -> None:
    """With the input that it had, what it did, and its result."""
    found = Found(BOOKED, SHIPPED, name=SHIPS[version])

    rows = {row.gid: row for row in found.batch.begun}
    assert rows.keys() == {GID, SHIPS[version]}
    definition = {1: INNER, 2: NEWER}[version]
    assert rows[SHIPS[version]].definition == definition.hash
    ship = machine.recover(SHIPS[version], definition, found.of(SHIPS[version]))
    assert isinstance(ship, SagaState)
    assert (ship.begun.input, ship.begun.parent, ship.held) == ({"of": "b1"}, GID, True)
    assert found.order.steps["ship"].data == {"at": "noon"}
    assert found.asks() == [("Execute", "mail")]


def test_a_part_that_is_kept_keeps_its_lock() -> None:
    """It may yet have to undo itself."""
    found = Found(BOOKED, SHIPPED)
    ship = machine.recover(SHIP, INNER, found.of(SHIP))
    assert [one.lock for one in holdings(ship)] == ["depot"]


def test_a_part_that_has_gone_back_refuses_its_step() -> None:
    """The order has heard nothing else, and turns."""
    found = Found(BOOKED, {"pack": "undone", "send": "refused"})

    assert found.order.steps["ship"].child.outcome is Outcome.COMPENSATED
    assert found.asks() == [("Compensate", "book")]


def test_a_part_that_was_done_goes_back_only_with_its_saga() -> None:
    """What came after it shows that it was done: so the order has turned, and says so."""
    found = Found({**BOOKED, "mail": "done"}, {"pack": "undone", "send": "undone"})

    assert found.order.phase in (Phase.COMPENSATING, Phase.CLOSED)
    child = found.order.steps["ship"].child
    assert (child.undoing, child.outcome) == (True, Outcome.COMPENSATED)
    assert found.order.steps["mail"].phase is StepPhase.STANDING


def test_a_part_that_the_copy_knows_as_done_may_have_gone_back() -> None:
    """Both turn, in one commit, and the order waits for it."""
    log = copy(Found(BOOKED, SHIPPED))
    found = Found(BOOKED, {**SHIPPED, "send": "undone"}, known=log)

    assert [type(entry.record).__name__ for entry in found.of(SHIP)] == [
        "CompensationBegan",
        "StepUndone",
    ]
    assert [type(entry.record).__name__ for entry in found.of(GID)] == [
        "CompensationBegan",
        "ChildRevoked",
    ]


def test_a_part_goes_back_whose_saga_was_told_to_have() -> None:
    """Although nothing else shows it: it had only waited for its lock."""
    log = copy(Found(BOOKED, {"pack": "failed"}))
    found = Found(BOOKED, {}, known=log, told=Outcome.COMPENSATED)

    assert found.order.outcome is Outcome.COMPENSATED
    assert "CompensationBegan" in [type(entry.record).__name__ for entry in found.of(SHIP)]


def test_a_part_that_a_saga_may_have_gone_without_does_not_go_on() -> None:
    """What came after it says that it is over, and nothing that it was done."""
    source = OUTER.source.replace("needs: [book]", "needs: [book], on_refused: continue")
    without = load(source, "order.yaml")
    log = copy(Found(BOOKED, {"pack": "failed"}, outer=without), without)

    found = Found({**BOOKED, "mail": "done"}, {}, known=log, outer=without)

    assert found.order.steps["ship"].phase is StepPhase.SKIPPED
    assert "CompensationBegan" in [type(entry.record).__name__ for entry in found.of(SHIP)]


def copy(found: Found, outer: Any = OUTER) -> Any:
    """Let what was found out be what the copy of the log says."""
    order, ship = Story(outer), Story(INNER)
    ship.gid = SHIP
    log, part = (
        transaction(story, entries, machine.summary(machine.recover(story.gid, one, entries)))
        for story, one in ((order, outer), (ship, INNER))
        for entries in [found.of(story.gid)]
    )
    known = log_with(log)
    known.transactions[SHIP] = part  # pyright: ignore[reportIndexIssue]
    return known


def outcome(told: Outcome) -> Told:
    return Told(gid=GID, definition="order", version=1, key="k-1", outcome=told)


def test_what_came_after_a_part_that_is_not_done_is_for_a_person() -> None:
    """One of its steps has no trace: a participant's database was restored as well."""
    found = Found({**BOOKED, "mail": "done"}, {"pack": "done"})

    assert found.order.phase is Phase.PARKED
    assert "mail had been done" in found.order.reason


def test_more_attempts_are_looked_for_while_the_last_has_left_something() -> None:
    """A person had let the step be done again: the first attempt was without effect."""
    again = gids.child(GID, children.versioned("step/ship/2", INNER))
    found = Found(BOOKED, SHIPPED, name=again)

    assert found.page.more
    assert not Found(BOOKED, SHIPPED).page.more
    failed, began = [e.record for e in found.of(GID)][2:4]
    assert isinstance(failed, AttemptFailed)
    assert isinstance(began, ChildBegan)
    assert (began.child, began.attempt) == (again, 2)
    assert found.order.steps["ship"].data == {"at": "noon"}


def test_a_circle_of_sagas_has_an_end() -> None:
    """Nothing keeps one from being published."""
    circle = load("saga: a\nversion: 1\nsteps: {again: {saga: a}}\n", "a.yaml")
    names = list(below(GID, circle, lambda _name: (circle,), ATTEMPTS))
    assert len(names) == ATTEMPTS
