"""What a log that has forgotten is told of a saga's transactions, and of what came after them."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.core import children, machine
from coordinator.core.events import Returned
from coordinator.core.records import ChildBegan, ChildEnded, Entry, Outcome, StepDone
from coordinator.core.saga_state import Phase, SagaState, StepPhase
from coordinator.core.transition import Spawn
from coordinator.definitions import family
from recovery.rebuild import proven, rebuild
from recovery.traces import Did, Part, Sent, Traces
from sagas.loader import load
from tests.core.coordinator.builders import GID, START_US, Story, begun
from tests.core.recovery.test_rebuild import LATER_US, asked, kinds, replayed
from wire import gids
from wire.messages import Compensate

SAGA = """
saga: trade
version: 1
deadline: 2m
steps:
  swap:
    {without}
    atomic:
      branches:
        take: {{call: left.take, undo: left.put}}
        give: {{call: right.put, undo: right.take}}
  mail: {{needs: [swap], call: shop.mail, undo: shop.unmail}}
"""
SWAP = gids.child(GID, children.label("swap", 1, undoing=False))
DONE = Traces({"take": "committed", "give": "committed"})
HALF = Traces({"take": "committed", "give": "prepared"})
ROLLED_BACK = Traces({"take": "rolled-back"})


def trade(*, goes_without: bool = False) -> Story:
    """Let a saga of a group and a step that needs it have begun, and nothing more."""
    without = "on_refused: continue" if goes_without else ""
    definition = load(SAGA.format(without=without), "trade.yaml")
    first = Entry(GID, 0, START_US, begun(definition))
    story = Story(definition)
    story.state = machine.recover(GID, definition, [first])
    return story


def part(swap: Traces) -> Part:
    """Let the swap have begun."""
    definition = load(SAGA.format(without=""), "trade.yaml")
    work = family(definition)[1]
    return Part(step="swap", attempt=1, undoing=False, gid=SWAP, definition=work, traces=swap)


def traces(swap: Traces | None, sent: Sent = Sent.NOTHING) -> Traces:
    """Let the mail be sent, and the swap be as far as this."""
    parts = () if swap is None else (part(swap),)
    return Traces(steps={"mail": Did("done")}, sent=sent, parts=parts)


def phases(state: Any) -> dict[str, str]:
    return {name: str(step.phase) for name, step in state.steps.items()}


def test_a_group_has_ended_if_what_came_after_it_was_done() -> None:
    """Both are known before its owner is asked anything, and it may still have its branches."""
    story = trade()
    move = proven(story.state, traces(DONE), LATER_US)

    began, ended, done, *_ = move.records
    assert isinstance(began, ChildBegan)
    assert isinstance(ended, ChildEnded)
    assert (ended.child, ended.outcome) == (SWAP, Outcome.COMMITTED)
    assert isinstance(done, StepDone)
    assert [one.gid for one in move.errands if isinstance(one, Spawn)] == [SWAP]
    assert move.state.outcome is Outcome.COMMITTED
    assert replayed(story, move.records) == move.state


def test_what_came_after_a_group_is_undone_before_it() -> None:
    """Although nobody has asked the group yet how it ended."""
    story = trade()
    state, records = rebuild(story.state, traces(DONE, Sent.UNDO), LATER_US)

    assert replayed(story, records) == state
    assert phases(state) == {"swap": StepPhase.TO_UNDO, "mail": StepPhase.UNDOING}
    assert [(m.step, type(m)) for m in asked(state)] == [("mail", Compensate)]


def test_a_group_that_nothing_came_after_tells_by_itself_how_it_ended() -> None:
    """It may yet be anything."""
    story = trade()
    state, records = rebuild(story.state, Traces(parts=(part(DONE),)), LATER_US)
    assert kinds(records) == ["ChildBegan"]
    assert phases(state) == {"swap": StepPhase.RUNNING, "mail": StepPhase.WAITING}


def test_that_a_group_ends_is_no_news_once_it_is_known() -> None:
    """It has its own log to bring to an end, and says so then."""
    state, _ = rebuild(trade().state, traces(DONE, Sent.UNDO), LATER_US)
    move = machine.react(state, Returned("swap", SWAP, Outcome.COMMITTED), LATER_US)
    assert move.dropped
    assert move.records == ()


@pytest.mark.parametrize("swap", [None, ROLLED_BACK])
@pytest.mark.parametrize("goes_without", [False, True])
def test_a_group_that_has_committed_nothing_has_no_effect(
    swap: Traces | None, *, goes_without: bool
) -> None:
    """It had only read, or it was gone without: nothing of it is to be undone."""
    story = trade(goes_without=goes_without)
    state, records = rebuild(story.state, traces(swap, Sent.UNDO), LATER_US)

    assert replayed(story, records) == state
    assert phases(state)["mail"] == StepPhase.UNDOING
    assert ("ChildBegan" in kinds(records)) is False
    assert ("StepSkipped" in kinds(records)) is goes_without


@pytest.mark.parametrize("sent", [Sent.NOTHING, Sent.UNDO])
def test_what_cannot_be_explained_is_for_a_person(sent: Sent) -> None:
    """A group with a branch that waits has not ended: then the mail would be left standing."""
    story = trade()
    state, records = rebuild(story.state, traces(HALF, sent), LATER_US)

    assert isinstance(state, SagaState)
    assert state.phase is Phase.PARKED
    assert "mail had been done" in state.reason
    assert replayed(story, records) == state


def test_an_outcome_that_was_told_needs_no_explanation() -> None:
    """It stands, however little is left to see."""
    told = asked(rebuild(trade().state, traces(DONE), LATER_US)[0])[-1]
    found = Traces(steps={"mail": Did("done")}, told=told, parts=(part(HALF),))
    state, _ = rebuild(trade().state, found, LATER_US)
    assert state.outcome is Outcome.COMMITTED
