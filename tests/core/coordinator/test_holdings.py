"""What is held in memory: timers, and how much a shard may have to do."""

from __future__ import annotations

import pytest
from msgspec import structs
from msgspec.structs import replace

from coordinator.core import machine
from coordinator.core.two_phase_state import TwoPhase
from coordinator.holdings import Holdings, Live, Shard
from tests.core.coordinator.builders import START_US, Story, atomic

SOON_US, LATER_US = START_US + 10, START_US + 20


def waking(at_us: int, key: str = "k-1") -> TwoPhase:
    """Return a transaction that will ask its branches again at this time."""
    state = Story.begin(atomic("ledger", "stock")).state
    assert isinstance(state, TwoPhase)
    asked = dict.fromkeys(state.definition.branches, (at_us, 1))
    return replace(state, asked=asked, begun=structs.replace(state.begun, key=key))


def hold(holdings: Holdings, state: TwoPhase) -> Live:
    """Hold a transaction, and its timer."""
    live = Live(f"of {state.begun.key}", 0, state, "", 1, machine.summary(state))
    holdings.hold(live)
    holdings.set_timer(live)
    return live


@pytest.fixture
def holdings() -> Holdings:
    """Hold one shard, in which two transactions are a crowd."""
    made = Holdings(crowd=2)
    made.shards[0] = Shard(0, 1, 0, 0, replies_target=0)
    return made


def woken(holdings: Holdings, now_us: int) -> list[Live]:
    return list(holdings.due(now_us, limit=9))


@pytest.mark.parametrize(("first_us", "then_us"), [(LATER_US, SOON_US), (SOON_US, LATER_US)])
def test_a_timer_that_is_set_anew_counts_and_the_old_one_does_not(
    holdings: Holdings, first_us: int, then_us: int
) -> None:
    live = hold(holdings, waking(first_us))
    live.state = waking(then_us)
    holdings.set_timer(live)

    assert woken(holdings, then_us - 1) == []
    assert woken(holdings, then_us) == [live]
    assert woken(holdings, LATER_US) == []


def test_who_was_woken_and_still_waits_is_woken_again(holdings: Holdings) -> None:
    """Also if it waits for the same moment."""
    live = hold(holdings, waking(SOON_US))

    assert woken(holdings, SOON_US) == [live]
    holdings.set_timer(live)

    assert woken(holdings, SOON_US) == [live]


def test_timers_rest_until_the_backlog_is_read_and_are_not_lost(holdings: Holdings) -> None:
    """The answer that a timer would miss may be there already."""
    shard = holdings.shards[0]
    shard.replies_target = 3
    live = hold(holdings, waking(SOON_US))

    assert woken(holdings, LATER_US) == []
    shard.replies_offset = 2
    assert woken(holdings, LATER_US) == []
    shard.replies_offset = 3

    assert woken(holdings, LATER_US) == [live]


def test_no_more_are_woken_than_asked_for(holdings: Holdings) -> None:
    """The rest stays due."""
    lives = [hold(holdings, waking(SOON_US, key)) for key in ("k-1", "k-2", "k-3")]

    assert list(holdings.due(SOON_US, limit=2)) == lives[:2]
    assert woken(holdings, SOON_US) == lives[2:]


def test_a_shard_is_crowded_until_one_of_its_transactions_ends(holdings: Holdings) -> None:
    first = hold(holdings, waking(SOON_US, "k-1"))
    assert holdings.crowded == []

    hold(holdings, waking(SOON_US, "k-2"))
    assert holdings.crowded == [0]

    holdings.forget(first)
    assert holdings.crowded == []


def test_a_part_of_another_crowds_nobody(holdings: Holdings) -> None:
    """What is parked keeps its parts in memory, and starts go on."""
    whole = hold(holdings, waking(SOON_US))
    state = waking(SOON_US, "k-part")
    part = hold(holdings, replace(state, begun=structs.replace(state.begun, parent=whole.gid)))
    assert holdings.crowded == []
    hold(holdings, waking(SOON_US, "k-2"))
    assert holdings.crowded == [0]
    holdings.forget(part)
    assert holdings.crowded == [0]
