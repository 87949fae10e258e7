"""What deciding costs: python -m tests.bench.deciding.

The engine's turns alone, without Kafka and Postgres: starts and replies are
read, decided, sealed, and laid out for the log. CPU of this thread is
counted, and of many short runs the best one: that is the one which others on
the machine have disturbed least.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from coordinator.definitions import Definitions
from coordinator.holdings import Holdings, Shard
from coordinator.log.store import ClusterFacts
from coordinator.setting import Setting
from coordinator.triggers import seal_start
from coordinator.turn import Known, Turn
from coordinator.work import Telling, Work
from sagas.loader import load
from tests.bench.stage import DEFINITIONS
from tests.bench.workload import Kind, event, key
from wire import gids
from wire.envelope import Envelope, Record, seal, unseal
from wire.kafka import Received
from wire.messages import (
    Begin,
    Commit,
    End,
    Execute,
    Executed,
    Prepare,
    Reply,
    Result,
    Settled,
    Vote,
    Voted,
)
from wire.topics import Topics

SHARDS: Final = 8
AT_ONCE: Final = 64
TRANSACTIONS: Final = 256
RUNS: Final = 30
BEGAN_US: Final = 1_700_000_000_000_000


class Loop:
    """A coordinator, and participants that answer at once, in turns."""

    def __init__(self) -> None:
        definitions = Definitions()
        for path in sorted(DEFINITIONS.glob("*.yaml")):
            definitions.add(load(path.read_text(encoding="utf-8"), path.name))
        self._topics, self._holdings, self._now_us = Topics(), Holdings(), BEGAN_US
        facts = ClusterFacts("main", SHARDS, 1)
        self._setting = Setting(facts, self._topics, definitions, lambda: False)
        for n in range(SHARDS):
            self._holdings.shards[n] = Shard(n, 1, 0, 0, 0)
        self._offsets = Counter[tuple[str, int]]()
        self.spent_s = 0.0

    def run(self, kind: Kind) -> None:
        """Take some transactions from their start to their end."""
        for first in range(0, TRANSACTIONS, AT_ONCE):
            received = [self._start(kind, n) for n in range(first, first + AT_ONCE)]
            told: list[Telling] = []
            while received or told:
                work = self._turn(received, told)
                told = [out.tells for out in work.outgoing if out.tells is not None]
                received = list(self._answers([out.record for out in work.outgoing]))
        assert not self._holdings.live, "something has not ended"

    def _turn(self, received: Sequence[Received], told: Sequence[Telling]) -> Work:
        self._now_us += 1_000
        began = time.thread_time()
        turn = Turn(self._setting, self._holdings, Known(), self._now_us)
        for record in received:
            turn.receive(record)
        for telling in told:
            turn.told(telling)
        turn.work.batch()
        self.spent_s += time.thread_time() - began
        return turn.work

    def _start(self, kind: Kind, n: int) -> Received:
        begin = Begin(definition=kind, key=key(n), input=event(kind, n))
        return self._arrived(
            seal_start(begin, topics=self._topics, shards=SHARDS, source="/bench", traceparent=None)
        )

    def _answers(self, records: Sequence[Record]) -> Iterator[Received]:
        for record in records:
            envelope = unseal(record.headers, record.value)
            reply: Reply
            match envelope.message:
                case Prepare() as asked:
                    reply = Voted(gid=asked.gid, branch=asked.branch, vote=Vote.COMMIT)
                case Commit() as asked:
                    reply = Settled(gid=asked.gid, branch=asked.branch, end=End.COMMITTED)
                case Execute() as asked:
                    reply = Executed(
                        gid=asked.gid, step=asked.step, attempt=asked.attempt, result=Result.DONE
                    )
                case _:
                    continue
            name = gids.parse(reply.gid)
            assert name is not None
            yield self._arrived(
                seal(
                    Envelope(reply, envelope.traceparent),
                    topic=self._topics.replies,
                    source="/bench",
                    key=reply.gid,
                    partition=name.shard,
                )
            )

    def _arrived(self, record: Record) -> Received:
        assert record.partition is not None
        place = (record.topic, record.partition)
        self._offsets[place] += 1
        return Received(
            *place, self._offsets[place] - 1, record.key, record.value, record.headers, 0
        )


def main() -> None:
    """Print microseconds a transaction, for an atomic one and for a saga."""
    for kind in (Kind.TRANSFER, Kind.TRIP):
        best_s = float("inf")
        for _ in range(RUNS):
            loop = Loop()
            loop.run(kind)
            best_s = min(best_s, loop.spent_s)
        sys.stdout.write(f"{kind}: {1e6 * best_s / TRANSACTIONS:.0f} µs a transaction\n")


if __name__ == "__main__":
    main()
