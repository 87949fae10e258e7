"""The engine and its clock."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.core import machine
from coordinator.definitions import Definitions
from coordinator.engine import Engine
from coordinator.holdings import Live, Shard
from coordinator.log.store import ClusterFacts
from coordinator.setting import Setting
from coordinator.telemetry.watcher import Watcher
from coordinator.turn import Known
from tests.core.coordinator.builders import GID, Story, atomic
from wire.topics import Topics


class Ticking:
    """A clock that has moved on whenever it is looked at."""

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        self._now_us += 1
        return self._now_us


def engine_at(now_us: int) -> Any:
    """Return an engine that can only decide."""
    nothing: Any = None
    setting = Setting(ClusterFacts("test", 1, 1), Topics("test"), Definitions(), lambda: False)
    clock: Any = Ticking(now_us)
    return Engine(
        setting=setting,
        log=nothing,
        producer=nothing,
        reader=nothing,
        clock=clock,
        watcher=Watcher(),
    )


@pytest.mark.parametrize(("early_us", "woken"), [(1, 1), (2, 0)])
def test_a_turn_wakes_once_who_is_due_when_it_begins_and_nobody_else(
    early_us: int, woken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who falls due while it decides is left to the next turn."""
    state = Story.begin(atomic("ledger", "stock")).state
    due_us = machine.wake_at_us(state)
    assert due_us is not None
    engine = engine_at(due_us - early_us)
    engine._holdings.shards[0] = Shard(0, 1, 0, 0, 0)
    live = Live(GID, 0, state, "", 1, machine.summary(state))
    engine._holdings.hold(live)
    engine._holdings.set_timer(live)
    calls: list[int] = []
    wake = machine.wake

    def counting(*arguments: Any) -> Any:
        calls.append(1)
        return wake(*arguments)

    monkeypatch.setattr(machine, "wake", counting)
    engine._decide([], Known())

    assert len(calls) == woken
