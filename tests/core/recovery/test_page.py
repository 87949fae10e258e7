"""What a log is told of transactions that it has never heard of."""

from __future__ import annotations

import pytest

from audit.facts import Facts
from coordinator.core import machine
from coordinator.core.records import Begun, Outcome, WaitBegan
from coordinator.core.transition import Look
from recovery.page import Page
from recovery.starts import Asked, Said
from recovery.traces import Sent
from sagas.model import Saga
from tests.core.audit.made import log_with
from tests.core.coordinator.builders import GID, START_US, saga, step, waiting
from wire.messages import Begin
from wire.messages import Outcome as Told

DEFINITION = saga(step("a"), step("b", "a"))


def page(said: Said, definition: Saga = DEFINITION) -> Page:
    """Compare a log that knows nothing with a start under a name that it may have had."""
    begin = Begin(definition=definition.name, key="k-1", input={"id": 7})
    asked = Asked(GID, 0, START_US, begin, definition, None)
    return Page([GID], Facts(log_with(None), [], 0), {GID: asked}, said)


@pytest.mark.parametrize("sent", [Sent.ANYTHING, Sent.ANYTHING | Sent.UNDO])
def test_what_was_sent_has_begun_under_the_name_by_which_it_was_sent(sent: Sent) -> None:
    """Nobody has done it yet, but whoever does will mark it by that name."""
    batch = page(Said({}, {GID: sent})).batch({}, 1)

    assert [(row.gid, row.key) for row in batch.begun] == [(GID, "k-1")]
    records = [entry.record for _, entry in batch.entries]
    assert isinstance(records[0], Begun)


def test_an_outcome_that_was_told_proves_that_it_has_begun() -> None:
    """And how it ended."""
    told = Told(gid=GID, definition="order", version=1, key="k-1", outcome="COMMITTED")
    rebuilt = page(Said({GID: told}, {})).rebuilt

    assert [(one.lost, one.outcome) for one in rebuilt] == [(True, Outcome.COMMITTED)]


def test_what_left_no_trace_has_not_begun() -> None:
    """Its start is read again, and gets a name then."""
    found = page(Said({}, {}))
    assert found.rebuilt == []
    assert found.batch({}, 1).begun == []


def test_who_waited_at_once_begins_to_wait_once_there_is_an_owner() -> None:
    """Only an owner writes down where it waits, in the same commit: else nobody would tell it."""
    definition = saga(step("a"), waiting("paid"))
    batch = page(Said({}, {GID: Sent.ANYTHING}), definition).batch({}, 1)

    state = machine.recover(GID, definition, [entry for _, entry in batch.entries])
    assert not machine.waits(state)
    owned = machine.resume(state, START_US)
    place = ("news", "event.of = 7")
    assert owned.records == (WaitBegan(step="paid", topic=place[0], key=place[1]),)
    assert owned.looks == (Look("paid", *place),)
