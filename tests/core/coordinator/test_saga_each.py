"""A step for each element of a list: one wire name each, so many at once, one result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from coordinator.cli.plain import sentence
from coordinator.cli.story import Story as Told
from coordinator.core import machine
from coordinator.core import saga as core
from coordinator.core.records import Entry, Outcome, StepDone, StepSpread, decode
from coordinator.core.saga_state import SagaState, StepPhase, StepState
from coordinator.core.transition import PORTION
from coordinator.rehearsal.run import Verdict, rehearse
from recovery.rebuild import rebuild
from recovery.traces import Did, Traces
from sagas.each import MOST
from sagas.loader import load
from sagas.model import Each, Json, Saga, Scope, Step
from tests.core.coordinator.builders import (
    GID,
    START_US,
    Story,
    begun,
    commands,
    compensated,
    constant,
    executed,
    look_up,
    saga,
    step,
    told,
)
from wire.messages import Execute, Result


def many(elements: Json = None, *, at_most: int = 10) -> Saga:
    """Book first, invite each guest, and then greet all."""
    invite = replace(
        step("invite", "book", data=look_up("each")),
        each=Each(look_up("input", "guests") if elements is None else constant(elements), at_most),
    )
    greet = step("greet", "invite", data=look_up("steps", "invite"))
    return saga(step("book"), invite, greet)


def invited(*guests: str, at_most: int = 10) -> Story:
    story = Story.begin(many(at_most=at_most), guests=list(guests))
    story.hear(executed("book"))
    return story


def test_each_element_is_a_step_of_its_own() -> None:
    """With the element in its input, and an index in its name."""
    story = invited("ann", "bob")
    sent = [command for command in commands(story.sent) if isinstance(command, Execute)]
    assert [(s.step, s.data) for s in sent[1:]] == [("invite.0", "ann"), ("invite.1", "bob")]
    assert sentence(StepSpread(step="invite", count=2), 0) == "invite is to be done for each of 2"


def test_what_is_too_much_at_once_leaves_in_portions() -> None:
    """All of it is in memory together. What is left is due at once, and nobody waits for a time."""
    names = [f"guest-{n}" for n in range(2 * PORTION + 1)]
    story = invited(*names, at_most=len(names))
    assert len(story.last.sends) == PORTION
    while machine.wake_at_us(story.state) == story.now_us:
        assert len(story.wake().sends) <= PORTION
    sent = [command for command in commands(story.sent) if isinstance(command, Execute)]
    assert sorted(s.data for s in sent[1:]) == sorted(names)


def test_results_are_gathered_in_order() -> None:
    """Whoever answers first."""
    story = invited("ann", "bob")
    story.hear(executed("invite.1", data="b"))
    story.hear(executed("invite.0", data="a"))
    assert story.saga.steps["invite"].data == ["a", "b"]
    greeted = commands(story.sent)[-1]
    assert isinstance(greeted, Execute)
    assert greeted.data == ["a", "b"]
    story.hear(executed("greet"))
    assert story.saga.outcome is Outcome.COMMITTED
    assert StepDone(step="invite", attempt=1) in story.records, "the log has each result once"


def test_no_more_are_asked_at_once_than_the_definition_wants() -> None:
    story = invited("a", "b", "c", "d", at_most=2)
    assert len(told(story.last)) == 2
    story.hear(executed("invite.1"))
    assert story.at("invite.3") is StepPhase.RUNNING
    assert story.at("invite.2") is StepPhase.WAITING


def test_the_list_is_not_made_anew_for_each_element() -> None:
    """A thousand lists of a thousand elements would hold up all that the process does."""
    asked: list[Scope] = []

    def guests(scope: Scope) -> Json:
        asked.append(scope)
        return scope["input"]["guests"]

    definition = many()
    invite = replace(definition.steps["invite"], each=Each(guests, 10))
    definition = replace(definition, steps={**definition.steps, "invite": invite})
    move = machine.begin(GID, definition, begun(definition, guests=["a"] * 20), START_US)
    for name in ("book", *(f"invite.{i}" for i in range(20))):
        move = machine.react(move.state, executed(name), START_US)
    machine.react(move.state, executed("greet", Result.REFUSED), START_US)
    assert len(asked) == 2, "to count them, and to go through them"


def test_as_many_steps_as_are_asked_at_once_are_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A turn that looks at all of them for each of them holds up all that the process does."""
    looked: list[str] = []

    def is_asked(saga: SagaState, step: Step, state: StepState) -> bool:
        looked.append(step.name)
        return before(saga, step, state)

    before: Callable[..., bool] = vars(core)["_is_asked"]
    monkeypatch.setattr(core, "_is_asked", is_asked)
    story = Story.begin(many(at_most=100), guests=["a"] * 100)
    looked.clear()
    machine.react(story.state, executed("book"), START_US)
    assert looked.count("invite.0") < 5


def test_an_empty_list_is_done_at_once() -> None:
    """Nobody is asked, and the result is an empty list."""
    story = invited()
    assert told(story.last) == ["greet <- Execute 1"]
    assert story.saga.steps["invite"].data == []


def test_if_one_is_refused_all_that_were_asked_go_back() -> None:
    story = invited("ann", "bob", "cid", at_most=2)
    story.hear(executed("invite.0"))
    story.hear(executed("invite.1", Result.REFUSED))
    assert told(story.last) == ["invite <- Compensate 1"]
    for name in ("invite.2", "invite.0", "book"):  # the third shares a lane with the first
        story.hear(compensated(name))
    assert story.saga.outcome is Outcome.COMPENSATED
    assert story.at("invite.1") is StepPhase.REFUSED


@pytest.mark.parametrize("wrong", ["ann", {"a": 1}, list(range(MOST + 1))])
def test_what_is_no_list_of_a_bearable_length_is_refused(wrong: Json) -> None:
    story = Story.begin(many(wrong))
    story.hear(executed("book"))
    assert told(story.last) == ["book <- Compensate 1"]
    assert story.saga.reason.startswith("invite: each:")


def test_what_was_never_spread_is_not_undone() -> None:
    """Its needs were not over when the saga turned back."""
    story = Story.begin(many(), guests=["ann"])
    story.hear(executed("book", Result.REFUSED))
    assert story.saga.outcome is Outcome.ABORTED


def test_another_owner_goes_on_with_each() -> None:
    """How many there are is in the log; what was answered is not asked again."""
    story = invited("ann", "bob")
    story.hear(executed("invite.0"))
    story.take_over()
    assert [s.message.step for s in story.last.sends if isinstance(s.message, Execute)] == [
        "invite.1"
    ]


def test_a_log_that_was_restored_gathers_what_participants_know() -> None:
    """Its copy is of before the first answer; what comes next needs all results."""
    story = Story.begin(many(), guests=["ann", "bob"])
    names = ("book", "invite.0", "invite.1")
    traces = Traces(steps={name: Did("done", name) for name in names})
    state, _ = rebuild(story.state, traces, START_US)
    [greet] = [send.message for send in machine.resume(state, START_US).sends]
    assert isinstance(greet, Execute)
    assert (greet.step, greet.data) == ("greet", ["invite.0", "invite.1"])


TEXT = """\
saga: party
version: 1
steps:
  invite:
    each: input.guests
    at_most: 2
    call: mail.invite
    with: {to: "${ each.mail }", n: "${ each_index }"}
    undo: {call: mail.recall, with: {to: "${ each.mail }"}}
  count:
    call: hall.book
    with: {seats: "${ size(steps.invite) }"}
    pivot: true
"""


def test_it_is_written_as_one_step_and_rehearsed_as_many() -> None:
    guests: Json = [{"mail": "a@x"}, {"mail": "b@x"}, {"mail": "c@x"}]
    found = {e.scenario: e for e in rehearse(load(TEXT, "x.yaml"), {"guests": guests}, {})}
    assert found["nothing goes wrong"].stands == ("invite.0", "invite.1", "invite.2", "count")
    assert found["invite.1 is refused"].outcome == "COMPENSATED"
    assert found["count is refused"].undone == ("invite.0", "invite.1", "invite.2")
    assert {end.verdict for end in found.values()} <= {Verdict.WHOLE, Verdict.WAITS}


def test_the_result_of_one_of_many_is_as_secret_as_all() -> None:
    """The word stands at the step; what it hides has the names of the many."""
    secret = TEXT.replace("each: input", "sensitive: true\n    each: input")
    story = Story.begin(cast("Saga", load(secret, "x.yaml")), guests=[{"mail": "a@x"}] * 2)
    story.hear(executed("invite.0", data="tok-93af77"))
    story.hear(executed("invite.1", Result.BUSY, reason="tok-93af77 is taken"))
    log = [Entry("g", i, at_us, decode(text)) for i, (at_us, text) in enumerate(story.log)]
    seen = str(Told.of("g", load(secret, "x.yaml"), log, START_US).as_json())
    assert "tok-93af77" not in seen
    assert "[hidden] is taken" in seen
