"""Random lives: lost, doubled, late, reordered and forged messages, time, and crashes.

Safety holds after every turn (audit.py). Liveness: once everything is
delivered and answered, it ends or is parked, within a bounded number of turns.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from coordinator.core.records import Outcome
from coordinator.core.saga_state import StepPhase
from sagas.model import OnUnknown, Saga, Step
from tests.core.coordinator import audit
from tests.core.coordinator.builders import (
    GID,
    Story,
    atomic,
    compensated,
    constant,
    executed,
    inquired,
    saga,
    settled,
    step,
    undo,
    voted,
)
from tests.core.coordinator.simulated import Branches, Workers, World
from wire.messages import Action, End, Result, Vote

_UNKNOWN = (OnUnknown.RETRY, OnUnknown.PARK, OnUnknown.COMPENSATE)
NAMES = ("a", "b", "c", "d", "e", "f")
PROFILE = settings(
    max_examples=200,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
numbers = st.integers(0, 50)


# ── what is drawn ────────────────────────────────────────────────────────────


@st.composite
def moods_of_a_branch(draw: st.DrawFn, *, alone: bool) -> list[Vote]:
    """Busy for a while, and then an answer; several branches know no one-phase commit."""
    final = [Vote.COMMIT, Vote.COMMIT, Vote.ABORT, Vote.READ_ONLY]
    last = draw(st.sampled_from([Vote.COMMITTED, *final] if alone else final))
    return [*[Vote.BUSY] * draw(st.integers(0, 2)), last]


@st.composite
def moods(draw: st.DrawFn) -> list[Result]:
    """Hesitate for a while, and then answer for good."""
    passing = st.sampled_from([Result.BUSY, Result.FAILED])
    last = st.sampled_from([Result.DONE, Result.DONE, Result.DONE, Result.REFUSED])
    return [*draw(st.lists(passing, max_size=2)), draw(last)]


@st.composite
def sagas(draw: st.DrawFn) -> Saga:
    """Draw a graph whose pivot, if there is one, comes before or after every other step."""
    names = NAMES[: draw(st.integers(1, 6))]
    place = draw(st.integers(0, len(names)))
    steps: list[Step] = []
    for index, name in enumerate(names):
        pivot, after = index == place, index > place
        if pivot:
            needed = {need for made in steps for need in made.needs}
            needs = [made.name for made in steps if made.name not in needed]
        else:
            earlier = [made.name for made in steps[place if after else 0 :]]
            needs = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        if after and not needs:
            needs = [names[place]]
        back = undo(name, attempts=draw(st.integers(1, 3)))
        steps.append(
            step(
                name,
                *needs,
                pivot=pivot,
                back=False if after or draw(st.integers(0, 5)) == 0 else back,
                condition=constant(draw(st.booleans())) if draw(st.booleans()) else None,
                attempts=draw(st.integers(1, 3)),
                on_unknown=draw(st.sampled_from(_UNKNOWN[: 2 if pivot or after else 3])),
            )
        )
    return saga(*steps, deadline_s=draw(st.sampled_from([20, 100, 3600])))


names = st.sampled_from((*NAMES, "forged"))
attempts = st.integers(-1, 4)
forged_replies: st.SearchStrategy[Any] = st.one_of(
    st.builds(voted, names, st.sampled_from(Vote)),
    st.builds(settled, names, st.sampled_from(End)),
    st.builds(inquired, names),
    st.builds(executed, names, st.sampled_from(Result), attempts),
    st.builds(compensated, names, st.sampled_from(Result), attempts),
)


# ── what can happen ──────────────────────────────────────────────────────────


class Life(RuleBasedStateMachine):
    """One transaction in a bad world."""

    world: World
    honest = True

    @precondition(lambda self: self.world.flying)
    @rule(index=numbers, again=st.booleans())
    def something_arrives(self, index: int, *, again: bool) -> None:
        self.world.deliver(index % len(self.world.flying), again=again)
        audit.every_turn(self.world)

    @precondition(lambda self: self.world.flying)
    @rule(index=numbers)
    def something_is_lost(self, index: int) -> None:
        del self.world.flying[index % len(self.world.flying)]

    @rule(milliseconds=st.integers(1, 40_000))
    def time_passes(self, milliseconds: int) -> None:
        self.world.story.wait(milliseconds / 1000)
        self.world.collect()
        audit.every_turn(self.world)

    @precondition(lambda self: self.world.story.state.phase not in ("ended", "parked"))
    @rule()
    def its_hour_comes(self) -> None:
        self.world.sleep()
        audit.every_turn(self.world)

    @rule()
    def the_owner_crashes(self) -> None:
        self.world.crash()
        audit.every_turn(self.world)

    @rule()
    def the_doubtful_ask(self) -> None:
        self.world.flying += self.world.others.inquiries()

    @precondition(lambda self: self.world.story.state.phase == "parked")
    @rule(action=st.sampled_from([Action.RETRY, Action.RETRY, Action.COMPENSATE, Action.ABORT]))
    def a_person_orders(self, action: Action) -> None:
        self.world.story.order(action)
        self.world.collect()
        audit.every_turn(self.world)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.settle_down()
        audit.every_turn(self.world)
        if self.honest:
            self.judge()
            self.world.replay_everything()
            self.judge()

    def judge(self) -> None:
        """Compare the outcome with what really happened."""


class AtomicLife(Life):
    """An atomic transaction among honest participants."""

    @initialize(data=st.data(), count=st.integers(1, 4))
    def begin(self, data: st.DataObject, count: int) -> None:
        chosen = {n: data.draw(moods_of_a_branch(alone=count == 1)) for n in NAMES[:count]}
        self.world = World(Story.begin(atomic(*chosen)), Branches(chosen))
        self.world.collect()
        audit.every_turn(self.world)

    def judge(self) -> None:
        """All or nothing, and the outcome says which; nobody is left in doubt."""
        others, txn = self.world.others, self.world.story.txn
        assert isinstance(others, Branches)
        assert txn.phase == "ended", "honest branches break no promise"
        ends = set(others.ends.values())
        assert "prepared" not in ends
        if txn.outcome is Outcome.ABORTED:
            assert "committed" not in ends
        elif len(txn.definition.branches) > 1:
            assert "rolled back" not in ends


class SagaLife(Life):
    """A saga among honest participants."""

    @initialize(data=st.data(), definition=sagas())
    def begin(self, data: st.DataObject, definition: Saga) -> None:
        forward = {name: data.draw(moods()) for name in definition.steps}
        back = {name: data.draw(moods()) for name in definition.steps}
        self.world = World(Story.begin(definition), Workers(forward, back))
        self.world.collect()
        audit.every_turn(self.world)

    def judge(self) -> None:
        """Each effect exactly once, or none that was not to stand; else it is parked."""
        others, state = self.world.others, self.world.story.saga
        assert isinstance(others, Workers)
        assert set(others.effects.values()) <= {0, 1}
        if state.outcome is Outcome.COMMITTED:
            for name, step in state.definition.steps.items():
                wanted = step.condition is None or step.condition({})
                assert others.effects[name] == int(wanted)
        elif state.outcome is not Outcome.PARKED:
            standing = {s.name for s, _ in state.in_phase(StepPhase.STANDING)}
            assert all(others.effects[name] == 0 for name in state.steps if name not in standing)
        if state.outcome is Outcome.ABORTED:
            assert not any(others.effects.values())


class ForgedAtomicLife(AtomicLife):
    """An atomic transaction to which anybody says anything."""

    honest = False

    @initialize(count=st.integers(1, 4))
    def begin(self, count: int) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        chosen = {n: [Vote.COMMIT] for n in NAMES[:count]}
        self.world = World(Story.begin(atomic(*chosen)), Gullible(chosen))
        self.world.collect()

    @rule(reply=forged_replies)
    def somebody_lies(self, reply: Any) -> None:
        assert reply.gid == GID
        self.world.hear(reply)
        audit.every_turn(self.world)


class ForgedSagaLife(SagaLife):
    """A saga to which anybody says anything."""

    honest = False

    @rule(reply=forged_replies)
    def somebody_lies(self, reply: Any) -> None:
        self.world.hear(reply)
        audit.every_turn(self.world)


class Gullible(Branches):
    """Branches that were lied about: what they are told to end is ended somehow."""

    def _commit(self, name: str) -> Any:
        known = self.ends.get(name) in ("prepared", "committed")
        return super()._commit(name) if known else settled(name, End.HAZARD)


AtomicLife.TestCase.settings = PROFILE
SagaLife.TestCase.settings = PROFILE
ForgedAtomicLife.TestCase.settings = PROFILE
ForgedSagaLife.TestCase.settings = PROFILE

TestAtomicLife = AtomicLife.TestCase
TestSagaLife = SagaLife.TestCase
TestForgedAtomicLife = ForgedAtomicLife.TestCase
TestForgedSagaLife = ForgedSagaLife.TestCase
