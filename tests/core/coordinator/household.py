"""A saga with the transactions that are part of it: real turns, a log, and no engine.

After each turn, what is in memory is what the log says, and a child has ended
in its own log exactly if it has in its parent's.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, TypeVar

from coordinator.core import children
from coordinator.core.records import (
    ChildBegan,
    ChildEnded,
    Closed,
    CompensationBegan,
    Ended,
    Entry,
    Parked,
)
from coordinator.core.saga_state import SagaState
from coordinator.core.two_phase_state import TwoPhase
from coordinator.definitions import Definitions
from coordinator.holdings import Holdings, Shard
from coordinator.log.store import ClusterFacts
from coordinator.recall import awake, replay
from coordinator.setting import Setting
from coordinator.turn import Known, Turn
from coordinator.work import Telling, Work
from sagas.loader import load
from tests.core.coordinator.builders import SECOND, START_US
from wire import gids
from wire.envelope import Envelope, seal, unseal
from wire.kafka import Received
from wire.messages import Action, AnyMessage, Begin, Json, Order, Outcome, Reply
from wire.topics import Topics

TOPICS = Topics("test")
_TURNS = Ended | Closed | CompensationBegan
M = TypeVar("M")


class Household:
    """All transactions of one shard."""

    def __init__(self, text: str, *others: str) -> None:
        self.definition = load(text, "household.yaml")
        self.definitions = Definitions()
        for definition in (self.definition, *(load(other, "other.yaml") for other in others)):
            self.definitions.add(definition)
        self.now_us = START_US
        self.log: dict[str, list[Entry]] = defaultdict(list)
        self.said: list[AnyMessage] = []
        self.commits = 0
        self.generation = 1
        self._offsets: dict[str, int] = defaultdict(int)
        self._own()

    def _own(self) -> None:
        self.holdings = Holdings()
        requests, replies = self._offsets[TOPICS.requests], self._offsets[TOPICS.replies]
        self.holdings.shards[0] = Shard(0, 1, requests, replies, 0)

    # ── what happens ─────────────────────────────────────────────────────────

    def start(self, **given: Json) -> str:
        """Let one begin; return its name."""
        self._hear(TOPICS.requests, Begin(definition=self.definition.name, key="k", input=given))
        return next(iter(self.log))

    def hear(self, *replies: Reply) -> None:
        for reply in replies:
            self._hear(TOPICS.replies, reply)

    def order(
        self, gid: str, action: Action, step: str = "", to: int = 0, data: Json = None
    ) -> None:
        order = Order(
            gid=gid,
            id=f"o-{self.commits}",
            action=action,
            actor="ann",
            reason="so",
            step=step,
            to=to,
            data=data,
        )
        self._hear(TOPICS.replies, order)

    def wait(self, seconds: float) -> None:
        """Let time pass, and wake whoever it concerns."""
        self.now_us += int(seconds * SECOND)
        turn = self._turn()
        for live in [*self.holdings.due(self.now_us, 1000)]:
            turn.wake(live)
        self._persist(turn.work)

    def crash(self) -> None:
        """Forget all but the log: another owner takes over."""
        self._own()
        needed = [log for log in self.log.values() if not isinstance(log[-1].record, Ended)]
        turn = self._turn()
        lives = list(awake([entry for log in needed for entry in log], self.definitions))
        for live in lives:
            self.holdings.hold(live)
        for live in lives:
            turn.resume(live)
        self._persist(turn.work)

    def park(self, gid: str) -> None:
        """Park it, for whatever reason."""
        live = self.holdings.live[gid]
        record = Parked(reason="somebody is to look")
        live.state = live.state.evolve(record, self.now_us)
        self.log[gid].append(Entry(gid, live.next_seq, self.now_us, record))
        live.next_seq += 1

    def _hear(self, topic: str, message: Any) -> None:
        sealed = seal(Envelope(message), topic=topic, source="/test", key="k")
        offset = self._offsets[topic]
        self._offsets[topic] += 1
        turn = self._turn(self._known(message))
        turn.receive(
            Received(topic, 0, offset, sealed.key, sealed.value, sealed.headers, START_US // 1000)
        )
        self._persist(turn.work)

    def _known(self, message: Any) -> Known:
        known = Known()
        gid = getattr(message, "gid", "")
        if gid and gid not in self.holdings.live and self.log.get(gid):
            known.records[gid] = self.log[gid]
        return known

    def _turn(self, known: Known | None = None) -> Turn:
        facts = ClusterFacts("test", 1, self.generation)
        setting = Setting(facts, TOPICS, self.definitions, lambda: True)
        return Turn(setting, self.holdings, known or Known(), self.now_us)

    def _persist(self, work: Work) -> None:
        assert not work.buried, work.buried
        for _, entry in work.entries:
            self.log[entry.gid].append(entry)
        self.commits += 1
        self._check()
        self.trails = work.trails
        told: list[Telling] = []
        for out in work.outgoing:
            self.said.append(unseal(out.record.headers, out.record.value).message)
            if out.tells is not None:
                told.append(out.tells)
        if told:
            turn = self._turn()
            for telling in told:
                turn.told(telling)
            self._persist(turn.work)

    # ── what is so ───────────────────────────────────────────────────────────

    def _check(self) -> None:
        for live in self.holdings.live.values():
            assert replay(self.log[live.gid], self.definitions) == live.state
        for log in tuple(self.log.values()):
            closed = any(isinstance(entry.record, Closed) for entry in log)
            began = {e.record.child for e in log if isinstance(e.record, ChildBegan)}
            known = {e.record.child for e in log if isinstance(e.record, ChildEnded)}
            over = {child for child in began if self._is_over(child)}
            assert all(child in self.log for child in began), "a child that never began"
            assert over <= known or closed, "a child has ended, and its parent does not know"
            assert all(self._ended(child) for child in known), "a parent knows what is not so"

    def _ended(self, gid: str) -> bool:
        return any(isinstance(entry.record, Ended | Closed) for entry in self.log[gid])

    def _is_over(self, gid: str) -> bool:
        """Tell whether it has ended, and has not been told to go back since."""
        turns = [e.record for e in self.log[gid] if isinstance(e.record, _TURNS)]
        return bool(turns) and not isinstance(turns[-1], CompensationBegan)

    def state(self, gid: str) -> Any:
        state = replay(self.log[gid], self.definitions)
        assert isinstance(state, SagaState | TwoPhase)
        return state

    def child(self, gid: str, label: str) -> str:
        return gids.child(gid, label)

    def part(self, gid: str, label: str, saga: str) -> str:
        """Name a part that is a saga, and follows the newest of this name, if there is one."""
        newest = self.definitions.newest(saga)
        return gids.child(gid, children.versioned(label, newest)) if newest else ""

    def hears(self, kind: type[M]) -> list[M]:
        """Return the messages of one kind that were sent since this was last asked."""
        found = [message for message in self.said if isinstance(message, kind)]
        self.said = [message for message in self.said if not isinstance(message, kind)]
        return found

    def outcomes(self) -> list[str]:
        return [message.outcome for message in self.hears(Outcome)]
