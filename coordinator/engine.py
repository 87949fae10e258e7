"""The engine of one store: one loop for all shards that this process owns there.

    gather    what has come, and what time has brought
    decide    purely
    persist   in one commit, which counts only under our epochs
    send      in one burst, and only what counted

While one batch is persisted, the next is gathered and decided. It cannot be
persisted before: should the earlier one not count, neither does the later,
since it is decided on the same epochs.

An engine that meets trouble (log or Kafka lost) does not mend itself: it
ends, and whoever runs it drops its shards and claims them anew. An outcome
of a commit that nobody saw is then seen by reading the log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import groupby
from typing import Any, Final, Protocol

import structlog

from coordinator.clock import Clock
from coordinator.core import machine
from coordinator.core.records import Begun, Decision
from coordinator.holdings import Holdings, Live, Shard
from coordinator.log.store import DecisionLog, Position
from coordinator.turn import Known, Setting, Turn, input_hash
from coordinator.work import Outgoing, Trail, Work
from wire import failpoints
from wire.envelope import Unreadable, unseal
from wire.kafka import KafkaUnavailable, Place, Producer, Received, ShardReader
from wire.messages import Begin, Inquired

logger = structlog.get_logger(__name__)

TURN_LIMIT: Final = 128
"""Events a turn. More in one batch would save little, and let all transactions
travel as one crowd, with coordinator and participants waiting in turn."""

PATIENCE_MS: Final = 100
"""How long an idle engine waits for messages before it looks up."""

BURSTS_IN_FLIGHT: Final = 8
"""Bursts that Kafka has not yet acknowledged, before the next waits."""


class OffsetLost(Exception):
    """A topic does not hold what the log says was next: it was recreated, or has expired."""


class Watcher(Protocol):
    """Whoever wants to see what has happened, once it is durable."""

    def watch(self, trails: Sequence[Trail], now_us: int) -> None:
        """See one turn's transitions."""
        ...


class Engine:
    """Decide, persist, send: for the shards that it is given."""

    def __init__(
        self,
        *,
        setting: Setting,
        log: DecisionLog,
        producer: Producer,
        reader: ShardReader,
        clock: Clock,
        watcher: Watcher,
    ) -> None:
        self._setting = setting
        self._log = log
        self._producer = producer
        self._reader = reader
        self._clock = clock
        self._watcher = watcher
        self._holdings = Holdings()
        self._resumed: list[Live] = []
        self._assigned = True
        self._told: deque[str] = deque()
        self._persisting: asyncio.Task[None] | None = None
        self._unacknowledged: deque[asyncio.Future[Any]] = deque()
        self._orders: deque[tuple[Callable[[], Any], asyncio.Future[None]]] = deque()

    @property
    def shards(self) -> frozenset[int]:
        """The shards that it holds."""
        return frozenset(self._holdings.shards)

    @property
    def active(self) -> int:
        """How many transactions it has in memory."""
        return len(self._holdings.live)

    # ── the loop ─────────────────────────────────────────────────────────────

    async def run(self, stop: asyncio.Event) -> None:
        """Turn until told to stop; then finish what is under way.

        Raises:
            LogUnavailable: the fate of a batch is unknown, or the log is gone.
            KafkaUnavailable: messages could not be read or sent.
            OffsetLost: messages are missing.

        """
        try:
            while not stop.is_set():
                received = await self._gather()
                work = self._decide(received, await self._look_up(received))
                await self._settle()
                if work.positions:
                    self._persisting = asyncio.create_task(self._persist_then_send(work))
            await self._settle()
            await self._acknowledged(0)
        finally:
            await self._abandon()

    def _decide(self, received: Sequence[Received], known: Known) -> Work:
        """Decide all that has come, purely."""
        turn = Turn(self._setting, self._holdings, known, self._clock.now_us())
        for live in self._resumed:
            turn.resume(live)
        self._resumed.clear()
        for record in received:
            turn.receive(record)
        # After what has come: to be told may be to be forgotten, and a start
        # that is repeated here was looked up before its first was in the log.
        while self._told:
            turn.told(self._told.popleft())
        for live in self._holdings.due(self._clock.now_us(), TURN_LIMIT):
            turn.wake(live)
        return turn.work

    async def _persist_then_send(self, work: Work) -> None:
        """The order that everything rests on: durable first, then told."""
        await self._producer.burst(work.buried)
        _crash(work.crash_points_before)
        counted = await self._log.persist(work.batch())
        _crash(work.crash_points_after)
        self.lose(work.positions.keys() - counted)
        await self._send(work.to_send(counted))
        self._watcher.watch([t for t in work.trails if t.live.shard in counted], self._now())

    async def _send(self, outgoing: Sequence[Outgoing]) -> None:
        """Hand a burst to Kafka; note each outcome as told once Kafka has it."""
        await self._acknowledged(BURSTS_IN_FLIGHT)
        half = len(outgoing) // 2 if failpoints.ARMED else 0
        sent = await self._producer.hand_over([out.record for out in outgoing[:half]])
        if half:
            await asyncio.gather(*sent)
            failpoints.hit("C10")
        sent += await self._producer.hand_over([out.record for out in outgoing[half:]])
        if sent:
            told = [out.tells for out in outgoing]
            self._unacknowledged.append(asyncio.ensure_future(self._await_burst(sent, told)))

    async def _await_burst(self, sent: list[asyncio.Future[Any]], told: list[str | None]) -> None:
        results = await asyncio.gather(*sent, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise KafkaUnavailable(f"not acknowledged: {result!r}") from result
        if any(told):
            failpoints.hit("C11")
        self._told.extend(gid for gid in told if gid is not None)

    async def _acknowledged(self, at_most: int) -> None:
        """Wait until no more than so many bursts are unacknowledged; raise if one failed."""
        while self._unacknowledged and (
            len(self._unacknowledged) > at_most or self._unacknowledged[0].done()
        ):
            await self._unacknowledged.popleft()

    async def _settle(self) -> None:
        """Wait for the batch that is being persisted, and raise what it raised."""
        if self._persisting is not None:
            await self._persisting
            self._persisting = None

    async def _abandon(self) -> None:
        """Stop what is still under way, if anything failed. What became of it, the log knows."""
        rest = [*self._unacknowledged, *([self._persisting] if self._persisting else [])]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    # ── gathering ────────────────────────────────────────────────────────────

    async def _gather(self) -> list[Received]:
        """Wait for messages, or until something else is to be done."""
        await self._obey()
        await self._acknowledged(BURSTS_IN_FLIGHT)
        self._assign()
        if not self._holdings.shards:
            await asyncio.sleep(PATIENCE_MS / 1000)
            return []
        return await self._reader.poll(wait_ms=self._patience_ms(), limit=TURN_LIMIT)

    def _patience_ms(self) -> int:
        if self._told or self._resumed:
            return 1
        next_us = self._holdings.next_timer_us()
        if next_us is None:
            return PATIENCE_MS
        return min(PATIENCE_MS, max(1, (next_us - self._now()) // 1000))

    async def _look_up(self, received: Sequence[Received]) -> Known:
        """Ask the log, once for all, what this turn's messages need and memory lacks."""
        starts: set[tuple[str, str]] = set()
        doubts: set[str] = set()
        for record in received:
            try:
                message = unseal(record.headers, record.value).message
            except Unreadable:
                continue
            if isinstance(message, Begin):
                starts.add((message.definition, message.key))
                if self._setting.definitions.newest(message.definition) is None:
                    await self._setting.definitions.refresh(self._log)
            elif isinstance(message, Inquired) and message.gid not in self._holdings.live:
                doubts.add(message.gid)
        known = Known()
        if starts:
            known.starts = await self._log.known_starts(starts)
        if doubts:
            # Begin and decision are durable before anything is sent, so a name
            # that the log lacks was never decided to commit: presumed abort.
            presumed = dict.fromkeys(doubts, Decision.ABORT)
            known.decisions = {**presumed, **await self._log.decisions(doubts)}
        return known

    # ── shards come and go ───────────────────────────────────────────────────

    async def take(self, positions: Sequence[Position]) -> None:
        """Own these shards: read what is unfinished there, and go on with it."""
        await self._order(lambda: self._take(positions))

    async def give(self, shards: Collection[int]) -> None:
        """Own these shards no more; what was decided for them is persisted and sent."""
        await self._order(lambda: self._give(shards))

    def lose(self, shards: Iterable[int]) -> None:
        """Forget shards that somebody else owns by now. Nothing is waited for."""
        if lost := sorted(self.shards.intersection(shards)):
            logger.warning("shards_lost", shards=lost)
            self._drop(lost)

    async def _order(self, what: Callable[[], Any]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._orders.append((what, done))
        await done

    async def _obey(self) -> None:
        """Carry out orders between two turns, with nothing under way."""
        while self._orders:
            await self._settle()
            what, done = self._orders.popleft()
            try:
                await what()
            except BaseException as error:
                if not done.done():
                    done.set_exception(error)
                raise
            if not done.done():
                done.set_result(None)

    async def _take(self, positions: Sequence[Position]) -> None:
        self._holdings.drop([p.shard for p in positions])
        ends = await self._readable(positions)
        for position in positions:
            requests, replies = self._places(position.shard)
            self._holdings.shards[position.shard] = Shard(
                *position, requests_target=ends[requests], replies_target=ends[replies]
            )
        await self._load([p.shard for p in positions])
        self._assigned = False
        logger.info("shards_taken", shards=sorted(p.shard for p in positions))

    async def _load(self, shards: Sequence[int]) -> None:
        """Replay what is unfinished."""
        await self._setting.definitions.refresh(self._log)
        entries = await self._log.active(shards)
        for gid, group in groupby(entries, key=lambda entry: entry.gid):
            log = list(group)
            begun = log[0].record
            assert isinstance(begun, Begun), f"{gid}: the log does not begin with its beginning"
            definition = self._setting.definitions.by_hash(begun.definition)
            assert definition is not None, f"{gid}: its definition {begun.definition} is gone"
            state = machine.recover(gid, definition, log)
            shard = int(gid.split(".")[3])
            live = Live(
                gid,
                shard,
                state,
                input_hash(begun.input),
                log[-1].seq + 1,
                machine.summary(state),
            )
            self._holdings.hold(live)
            self._resumed.append(live)

    async def _readable(self, positions: Sequence[Position]) -> dict[Place, int]:
        """Return where the topics end now; refuse offsets that they do not hold."""
        wanted = {
            place: offset
            for p in positions
            for place, offset in zip(
                self._places(p.shard), (p.requests_offset, p.replies_offset), strict=True
            )
        }
        ends = await self._reader.ends(wanted)
        begins = await self._reader.beginnings(wanted)
        for (topic, partition), offset in wanted.items():
            first, end = begins[topic, partition], ends[topic, partition]
            if not first <= offset <= end:
                raise OffsetLost(
                    f"{topic}/{partition}: the log says that {offset} is next, and the topic holds"
                    f" {first} to {end}. Was the topic recreated, or is its retention too short?"
                )
        return ends

    async def _give(self, shards: Collection[int]) -> None:
        await self._acknowledged(0)
        self._drop(shards)
        logger.info("shards_given", shards=sorted(shards))

    def _drop(self, shards: Iterable[int]) -> None:
        gone = [shard for shard in shards if shard in self._holdings.shards]
        if not gone:
            return
        self._holdings.drop(gone)
        self._resumed = [live for live in self._resumed if live.gid in self._holdings.live]
        self._assigned = False

    def _assign(self) -> None:
        """Read the shards held, and no others. Only between two polls."""
        if self._assigned:
            return
        self._assigned = True
        offsets: dict[Place, int] = {}
        for shard in self._holdings.shards.values():
            requests, replies = self._places(shard.id)
            offsets[requests], offsets[replies] = shard.requests_offset, shard.replies_offset
        self._reader.assign(offsets)

    def _places(self, shard: int) -> tuple[Place, Place]:
        topics = self._setting.topics
        return (topics.requests, shard), (topics.replies, shard)

    def _now(self) -> int:
        return self._clock.now_us()


def _crash(points: Callable[[], Iterable[str]]) -> None:
    if failpoints.ARMED:
        failpoints.hit_any(points())
