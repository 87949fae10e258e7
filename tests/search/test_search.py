"""All states are visited, nothing is violated, and what is violated is told."""

from __future__ import annotations

import pytest

from coordinator.core import two_phase, two_phase_table
from coordinator.core.events import DeadlinePassed, Kind
from coordinator.core.records import Decision
from coordinator.core.transition import Transition
from coordinator.core.two_phase_state import Phase, TwoPhase
from coordinator.log.memory import MemoryLog
from participants import branch, step
from participants.branch import Asked, Do, Seen
from participants.step import Status
from tests.search.atomic import Atomic
from tests.search.command import ALL, CHAIN, NO_CRASH, WORLDS
from tests.search.explore import Found, Search, World
from tests.search.sagas import SagaWorld
from wire.messages import End, Result


class AnyEpoch:
    """Equal to whatever it is compared with."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __call__(self, shard: int) -> AnyEpoch:
        del shard
        return self


@pytest.mark.parametrize("name", WORLDS)
def test_no_state_that_can_be_reached_breaks_a_promise(name: str) -> None:
    found = Search(WORLDS[name]()).run()

    assert (found.violated, found.trace) == ("", ())
    assert found.states > 900, "a world so small has lost something"


def violated(world: World) -> Found:
    found = Search(world).run()
    assert found.violated
    assert found.trace
    return found


def test_a_guess_at_the_deadline_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace is a shortest one, and in words."""

    def guess(txn: TwoPhase, _event: DeadlinePassed, now_us: int) -> two_phase.Step:
        return two_phase.decide(Transition(txn), Decision.COMMIT, "", now_us)

    place = (Phase.PREPARING, Kind.DEADLINE_PASSED)
    rules = {**two_phase_table.RULES, place: two_phase_table.RULES[place]._replace(act=guess)}
    monkeypatch.setattr(two_phase_table, "RULES", rules)

    found = violated(Atomic("guessing", 2, ALL))

    assert found.violated == "decided to commit without a durable yes"
    assert found.trace == (
        "the owner begins the transaction",
        "the owner is woken: the deadline passes",
    )


def test_a_log_without_a_fence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deposed owner tries, and is not refused."""
    monkeypatch.setattr(MemoryLog, "_epoch", AnyEpoch())

    found = violated(Atomic("unfenced", 2, ALL))

    assert found.violated == "an owner writes after the next one has taken over"


def test_a_rollback_without_its_marker_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not prepared is no proof: a late Prepare would be."""
    forgetful = branch.Rule(Do.NOTHING, End.ROLLED_BACK, "it is not prepared")
    rules = {**branch.RULES, (Seen.FRESH, Asked.ROLLBACK): forgetful}
    monkeypatch.setattr(branch, "RULES", rules)

    found = violated(Atomic("forgetful", 2, ALL))

    assert found.violated == "prepared or committed after its rollback was acknowledged"


def test_an_undo_that_seals_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    forgetful = step.Rule(step.Do.NOTHING, Result.DONE, "nothing to undo")
    rules = {**step.RULES, (Status.FRESH, step.Asked.COMPENSATE): forgetful}
    monkeypatch.setattr(step, "RULES", rules)

    found = violated(SagaWorld("forgetful", CHAIN, NO_CRASH))

    assert found.violated == "the outcome COMPENSATED is not so"


def test_a_transaction_without_an_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """No acknowledgement is ever heard."""
    deaf = two_phase_table.RULES[Phase.COMMITTING, Kind.SETTLED_COMMITTED]._replace(act=None)
    rules = {**two_phase_table.RULES, (Phase.COMMITTING, Kind.SETTLED_COMMITTED): deaf}
    monkeypatch.setattr(two_phase_table, "RULES", rules)

    found = violated(Atomic("deaf", 2, ALL))

    assert found.violated == "no end is reached, though nothing is lost any more"
