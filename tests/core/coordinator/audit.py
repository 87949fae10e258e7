"""What must be true of every turn, whoever says what and whenever it crashes."""

from __future__ import annotations

from coordinator.core import machine
from coordinator.core.records import (
    AttemptFailed,
    Decided,
    Decision,
    Ordered,
    Outcome,
    StepDone,
    StepSkipped,
    UndoFailed,
    Withdrawn,
)
from coordinator.core.saga_state import OVER, SagaState, StepPhase
from coordinator.core.two_phase import TwoPhase
from sagas.model import Saga
from tests.core.coordinator.builders import Story
from tests.core.coordinator.simulated import World
from wire.messages import Action, Commit, Compensate, End, Execute, Rollback, Settled, Vote, Voted
from wire.messages import Outcome as OutcomeMessage

GONE = (StepPhase.UNDONE, StepPhase.REFUSED, StepPhase.STANDING)


def every_turn(world: World) -> None:
    """Check the turn that was just made. A second wake in the same moment adds nothing."""
    story = world.story
    if isinstance(story.state, TwoPhase):
        _atomic(world)
    else:
        _saga(story)
    if story.state.phase not in ("ended", "parked"):
        assert machine.wake_at_us(story.state) is not None, "nothing would ever wake it"
    _wakes_once(story)


def _wakes_once(story: Story) -> None:
    once = machine.wake(story.state, story.now_us)
    twice = machine.wake(once.state, story.now_us)
    assert (twice.records, twice.sends) == ((), ())
    assert twice.state == once.state
    at_us = machine.wake_at_us(once.state)
    assert at_us is None or at_us > story.now_us, "it would spin"


def _atomic(world: World) -> None:
    story = world.story
    decisions = [r for r in story.records if isinstance(r, Decided)]
    assert len(decisions) <= 1, "decided twice"
    decision = decisions[0].decision if decisions else None
    said = [send.message for send in story.last.sends]
    for message in said:
        if isinstance(message, Commit):
            assert decision is Decision.COMMIT, "Commit without its record"
        if isinstance(message, Rollback):
            withdrawn = any(isinstance(r, Withdrawn) for r in story.records)
            assert decision is Decision.ABORT or (decision is None and withdrawn)
        if isinstance(message, OutcomeMessage):
            assert message.outcome == story.txn.outcome, "an outcome that is not on record"
            assert decision is not None or message.outcome == Outcome.HEURISTIC_HAZARD
    if any(isinstance(r, Decided) for r in story.last.records):
        assert decision is Decision.ABORT or _all_said_yes(world), "a yes is missing"


def _all_said_yes(world: World) -> bool:
    yes = (Vote.COMMIT, Vote.READ_ONLY, Vote.COMMITTED)
    votes: dict[str, bool] = {}
    for reply in world.heard:
        if isinstance(reply, Voted) and reply.vote is not Vote.BUSY:
            votes[reply.branch] = reply.vote in yes
        elif isinstance(reply, Settled) and reply.end is End.COMMITTED:
            votes.setdefault(reply.branch, True)
    return all(votes.get(name) for name in world.story.txn.definition.branches)


def _saga(story: Story) -> None:
    state, definition = story.saga, story.saga.definition
    for send in story.last.sends:
        match send.message:
            case Execute() as ask:
                assert all(story.at(need) in OVER for need in _needs(story, ask.step))
                condition = definition.steps[ask.step].condition
                assert condition is None or condition({}), "asked, though its condition is false"
                tried = ask.attempt - state.steps[ask.step].spent
                assert tried <= definition.steps[ask.step].retry.attempts
                assert tried == 1 + _failures(story, AttemptFailed, ask.step)
            case Compensate() as ask:
                _undo_in_order(story, ask)
            case OutcomeMessage() as told:
                assert told.outcome == state.outcome, "an outcome that is not on record"
            case _:
                raise AssertionError(f"{send.message!r} is nothing that a saga says")
    _outcome_is_true(story, state)


def _undo_in_order(story: Story, ask: Compensate) -> None:
    definition = story.saga.definition
    pivot, undo = definition.pivot, definition.steps[ask.step].undo
    done = {r.step for r in story.records if isinstance(r, StepDone)}
    assert undo is not None, "an undo that the definition does not have"
    skipped = {r.step for r in story.records if isinstance(r, StepSkipped)}
    past_the_pivot = pivot is not None and pivot.name in done | skipped
    assert not past_the_pivot or _sent_back(story), "an undo past the pivot"
    tried = ask.attempt - story.saga.steps[ask.step].spent
    assert tried <= undo.retry.attempts
    assert tried == 1 + _failures(story, UndoFailed, ask.step)
    asked = _asked(story)
    for above in _built_on(definition, ask.step):
        assert above not in asked or story.at(above) in GONE, f"{ask.step} before {above}"


def _sent_back(story: Story) -> bool:
    """Tell whether a person has ordered to go back: that may be past the pivot."""
    orders = [record for record in story.records if isinstance(record, Ordered)]
    return any(o.action is Action.COMPENSATE and not o.refused for o in orders)


def _outcome_is_true(story: Story, state: SagaState) -> None:
    if state.outcome is Outcome.COMMITTED:
        assert all(step.phase in OVER for step in state.steps.values())
    if state.outcome in (Outcome.COMPENSATED, Outcome.ABORTED):
        assert all(story.at(name) in GONE for name in _asked(story))


def _asked(story: Story) -> set[str]:
    return {send.message.step for send in story.sent if isinstance(send.message, Execute)}


def _needs(story: Story, step: str) -> tuple[str, ...]:
    return story.saga.definition.steps[step].needs


def _failures(story: Story, kind: type[AttemptFailed | UndoFailed], step: str) -> int:
    """Count the failed attempts since a person last ordered to try again."""
    spent = story.saga.steps[step].spent
    failed = [r for r in story.records if isinstance(r, kind) and r.step == step]
    return sum(1 for r in failed if r.attempt > spent)


def _built_on(definition: Saga, step: str) -> set[str]:
    above: set[str] = set()
    todo = [step]
    while todo:
        for name in definition.dependents[todo.pop()]:
            if name not in above:
                above.add(name)
                todo.append(name)
    return above
