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
from contextlib import suppress
from typing import Any, Final, Protocol

import structlog

from coordinator.clock import Clock
from coordinator.core.events import Looked
from coordinator.definitions import participants
from coordinator.holdings import CROWD, Holdings, Live, Shard
from coordinator.log.store import DecisionLog, Position
from coordinator.looking_up import look_up
from coordinator.marks import Marks
from coordinator.recall import at_rest, awake
from coordinator.setting import Setting
from coordinator.taking import learn
from coordinator.turn import Known, Turn
from coordinator.work import LookFor, Outgoing, Rested, Telling, Trail, Work
from wire import failpoints
from wire.kafka import KafkaUnavailable, Place, Producer, Received, ShardReader

logger = structlog.get_logger(__name__)

TURN_LIMIT: Final = 128
"""Events a turn. More in one batch would save little, and let all transactions
travel as one crowd, with coordinator and participants waiting in turn."""

PATIENCE_MS: Final = 50
"""How long an idle engine waits for messages before it looks up."""

COMPANY_MS: Final = 20
"""How long that waits for company for which nobody waits: that an outcome is told, that a
branch has ended. A batch of its own would be a commit more, and keep the next one waiting."""

COMPANY_TURNS: Final = 8
"""How many turns it takes at most until it is written."""

MID_COMMIT_S: Final = 0.002
"""How long after a batch is sent a process dies that is to die in the middle of it."""

ACKNOWLEDGED_S: Final = 2.5
"""How long Kafka may take over a burst. An owner that cannot reach it must not keep its
shards: another one may."""

LOOK_US: Final = 10_000_000
"""How often it looks who of the sleepers is to wake soon."""

AHEAD_US: Final = 30_000_000
"""How long before its time a sleeper is read again: then its timer is as good as any other.
Less than anybody sleeps, or it would be read again at once."""

RESUMED_LIMIT: Final = 500
"""How many that were taken over are asked about in one turn. Whoever does nothing else for longer
than a lease lasts loses to another one what he has just read, and who then does the same."""

BREATH: Final = 100
"""How many are replayed before somebody else of this process may do something."""

ROUSED_LIMIT: Final = 1000
"""How many are read again at once."""

BURSTS_IN_FLIGHT: Final = 8
"""Bursts that Kafka has not yet acknowledged, before the next waits."""


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
        aside: ShardReader | None = None,
        clock: Clock,
        watcher: Watcher,
        crowd: int = CROWD,
        marks: Marks | None = None,
    ) -> None:
        self._setting = setting
        self._log = log
        self._producer = producer
        self._reader = reader
        self._aside = aside or reader
        """For questions: a broker answers those of the reader only after its long poll."""
        self._clock = clock
        self._watcher = watcher
        self._marks = marks
        """Without them, a log that has forgotten something is not noticed."""
        self._counted: dict[int, Position] = {}
        self._holdings = Holdings(crowd)
        self._resumed: list[Live] = []
        self._roused: list[Live] = []
        self._rested: deque[Rested] = deque()
        self._looked: deque[tuple[str, Looked]] = deque()
        self._look_at_us = 0
        self._assigned = True
        self.turns = 0
        """How often it has turned: an idle engine turns as well, one that is stuck does not."""
        self._told: deque[Telling] = deque()
        self._work = Work()
        """What is decided, and on its way to nobody yet."""
        self._persisting: asyncio.Task[None] | None = None
        self._unacknowledged: deque[asyncio.Future[Any]] = deque()
        self._orders: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._ordered = asyncio.Event()

    @property
    def shards(self) -> frozenset[int]:
        """The shards that it holds."""
        return frozenset(self._holdings.shards)

    @property
    def active(self) -> int:
        """How many transactions it has in memory."""
        return len(self._holdings.live)

    async def warm_up(self) -> None:
        """Learn beforehand what a shard that is taken would have to wait for.

        Raises:
            LogUnavailable: the log is gone.
            KafkaUnavailable: Kafka is.

        """
        definitions, topics = self._setting.definitions, self._setting.topics
        await definitions.refresh(self._log)
        called = {name for one in definitions.all_newest() for name in participants(one)}
        await self._producer.learn([topics.outcomes, *map(topics.commands, called)])
        await self._aside.ends([(topics.requests, 0), (topics.replies, 0)])

    # ── the loop ─────────────────────────────────────────────────────────────

    async def run(self, stop: asyncio.Event) -> None:
        """Turn until told to stop; then finish what is under way.

        Raises:
            LogUnavailable: the fate of a batch is unknown, or the log is gone.
            KafkaUnavailable: messages could not be read or sent.

        """
        try:
            while not stop.is_set():
                self.turns += 1
                received = await self._gather()
                known = await look_up(
                    received, self._holdings, self._setting.definitions, self._log, self._flush
                )
                self._decide(received, known)
                await self._settle()
                if self._is_due(idle=not received):
                    work, self._work = self._work, Work()
                    self._persisting = asyncio.create_task(self._persist_then_send(work))
            await self._flush()
            await self._acknowledged(0)
        finally:
            await self._abandon()

    def _decide(self, received: Sequence[Received], known: Known) -> None:
        """Decide all that has come, purely, and all of it at one time.

        What falls due meanwhile would be woken too early, do nothing, and be
        due again at once.
        """
        now_us = self._now()
        turn = Turn(self._setting, self._holdings, known, now_us)
        turn.work = self._work  # what earlier turns have left goes with what this one does
        now, self._resumed = self._resumed[:RESUMED_LIMIT], self._resumed[RESUMED_LIMIT:]
        for live in now:
            if self._holdings.live.get(live.gid) is live:  # it may have ended since
                turn.resume(live)
        for live in self._roused:
            turn.rouse(live)
        self._roused.clear()
        for record in received:
            turn.receive(record)
        # After what has come: to be told may be to be forgotten, and a start
        # that is repeated here was looked up before its first was in the log.
        while self._told:
            turn.told(self._told.popleft())
        while self._looked:
            turn.looked(*self._looked.popleft())
        while self._rested:
            turn.let_rest(self._rested.popleft())
        for shard, lock in tuple(self._holdings.locks_due(now_us, TURN_LIMIT)):
            turn.probe(shard, lock)
        for live in self._holdings.due(now_us, TURN_LIMIT):
            turn.wake(live)
            failpoints.hit("C14")

    def _is_due(self, *, idle: bool) -> bool:
        """Tell whether what is decided is written now. Nobody's last vote waits for another's end.

        What nobody waits for has time until something else is written, or
        nothing comes, or for a few turns. If we die meanwhile, whoever reads
        the same again decides the same.
        """
        waits_no_more = idle or self.turns % COMPANY_TURNS == 0
        return bool(self._work.positions) and (self._work.is_awaited or waits_no_more)

    async def _persist_then_send(self, work: Work) -> None:
        """The order that everything rests on: durable first, then told."""
        await self._producer.burst(work.buried)
        _crash(work.crash_points_before)
        counted = await self._persist(work)
        _crash(work.crash_points_after)
        self.lose(work.positions.keys() - counted)
        self._counted |= {shard: work.positions[shard] for shard in counted}
        self._rested.extend(one for one in work.rested if one.shard in counted)
        await self._send(work.to_send(counted), work.crash_points_amid)
        await self._look([one for one in work.looks if one.shard in counted])
        self._watcher.watch([t for t in work.trails if t.live.shard in counted], self._now())

    async def _persist(self, work: Work) -> frozenset[int]:
        """Persist a batch; where told to, die while nobody knows whether it is durable."""
        if not failpoints.ARMED:
            return await self._log.persist(work.batch())
        running = asyncio.ensure_future(self._log.persist(work.batch()))
        await asyncio.wait({running}, timeout=MID_COMMIT_S)
        _crash(work.crash_points_within)
        return await running

    async def _look(self, looks: Sequence[LookFor]) -> None:
        """Look into the letter box, now that whoever fills it sees who waits."""
        if not looks:
            return
        places = {(one.look.topic, one.look.key) for one in looks}
        letters = await self._log.letters(places)
        for gid, _, (step, topic, key) in looks:
            self._looked.append((gid, Looked(step, tuple(letters.get((topic, key), ())))))

    async def _send(self, outgoing: Sequence[Outgoing], amid: Callable[[], Iterable[str]]) -> None:
        """Hand a burst to Kafka; note each outcome as told once Kafka has it."""
        await self._acknowledged(BURSTS_IN_FLIGHT)
        half = len(outgoing) // 2 if failpoints.ARMED else 0
        sent = await self._producer.hand_over([out.record for out in outgoing[:half]])
        if half:
            await asyncio.gather(*sent)
            _crash(amid)
        sent += await self._producer.hand_over([out.record for out in outgoing[half:]])
        if sent:
            told = [out.tells for out in outgoing]
            self._unacknowledged.append(asyncio.ensure_future(self._await_burst(sent, told)))

    async def _await_burst(
        self, sent: list[asyncio.Future[Any]], told: Sequence[Telling | None]
    ) -> None:
        done, silent = await asyncio.wait(sent, timeout=ACKNOWLEDGED_S)
        if silent:
            raise KafkaUnavailable(f"nothing was acknowledged for {ACKNOWLEDGED_S:g} s")
        for one in done:
            error = asyncio.CancelledError() if one.cancelled() else one.exception()
            if error is not None:
                raise KafkaUnavailable(f"not acknowledged: {error!r}") from error
        if any(told):
            failpoints.hit("C11")
        self._told.extend(one for one in told if one is not None)

    async def _acknowledged(self, at_most: int) -> None:
        """Wait until no more than so many bursts are unacknowledged; raise if one failed."""
        while self._unacknowledged and (
            len(self._unacknowledged) > at_most or self._unacknowledged[0].done()
        ):
            await self._unacknowledged.popleft()

    async def _flush(self) -> None:
        """See that all that was decided is persisted, and sent."""
        await self._settle()
        if self._work.positions:
            work, self._work = self._work, Work()
            await self._persist_then_send(work)

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
            await self._order_or_patience()
            return []
        await self._rouse()
        requests = self._setting.topics.requests
        self._reader.leave((requests, shard) for shard in self._holdings.crowded)
        return await self._reader.poll(wait_ms=self._patience_ms(), limit=TURN_LIMIT)

    async def _order_or_patience(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_MS / 1000):
                await self._ordered.wait()

    def _patience_ms(self) -> int:
        if self._resumed or self._roused or self._orders:
            return 1
        unwritten = self._told or self._looked or self._work.positions
        longest = COMPANY_MS if unwritten else PATIENCE_MS
        next_us = self._holdings.next_timer_us()
        if next_us is None:
            return longest
        return min(longest, max(1, (next_us - self._now()) // 1000))

    async def _rouse(self) -> None:
        """Read those again who sleep, and are to wake soon."""
        now_us = self._now()
        if now_us < self._look_at_us:
            return
        entries = await self._log.waking(sorted(self.shards), now_us + AHEAD_US, ROUSED_LIMIT)
        found = list(at_rest(entries, self._setting.definitions))
        self._look_at_us = now_us if len(found) == ROUSED_LIMIT else now_us + LOOK_US
        for live in found:
            if live.gid not in self._holdings.live and live.shard in self._holdings.shards:
                self._holdings.hold(live)
                self._roused.append(live)

    # ── shards come and go ───────────────────────────────────────────────────

    async def take(self, positions: Sequence[Position]) -> frozenset[int]:
        """Own these shards: read what is unfinished there, and go on with it.

        Returns those that cannot be owned: a topic lacks what is next there.
        """
        return frozenset(await self._order(lambda: self._take(positions)))

    async def give(self, shards: Collection[int]) -> None:
        """Own these shards no more; what was decided for them is persisted and sent."""
        await self._order(lambda: self._give(shards))

    async def mark(self) -> None:
        """Say how far the log has come, where it has since this was last said."""
        if self._marks is None or not self._counted:
            return
        records = [self._marks.record(position) for position in self._counted.values()]
        self._counted.clear()
        sent = await self._producer.hand_over(records)
        nothing_told = [None] * len(sent)
        self._unacknowledged.append(asyncio.ensure_future(self._await_burst(sent, nothing_told)))

    def lose(self, shards: Iterable[int]) -> None:
        """Forget shards that somebody else owns by now. Nothing is waited for."""
        if lost := sorted(self.shards.intersection(shards)):
            logger.warning("shards_lost", shards=lost)
            self._drop(lost)

    async def _order(self, what: Callable[[], Any]) -> Any:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._orders.append((what, done))
        self._ordered.set()
        self._reader.wake()  # whoever gets or gives a shard waits for no message
        return await done

    async def _obey(self) -> None:
        """Carry out orders between two turns, with nothing under way."""
        self._ordered.clear()
        while self._orders:
            await self._flush()
            what, done = self._orders.popleft()
            try:
                result = await what()
            except BaseException as error:
                if not done.done():
                    done.set_exception(error)
                raise
            if not done.done():
                done.set_result(result)

    async def _take(self, positions: Sequence[Position]) -> frozenset[int]:
        self._holdings.drop([p.shard for p in positions])
        topics = self._setting.topics
        lost, ends, claims, entries = await learn(
            positions, log=self._log, reader=self._aside, marks=self._marks, topics=topics
        )
        positions = [p for p in positions if p.shard not in lost]
        for position in positions:
            _, replies = self._places(position.shard)
            self._holdings.shards[position.shard] = Shard(*position, replies_target=ends[replies])
        self._holdings.locks.load(claim for claim in claims if claim[0] not in lost)
        # What is followed was published before it was: somebody faster may have the shards by now.
        await self._setting.definitions.refresh(self._log)
        for number, live in enumerate(awake(entries, self._setting.definitions)):
            if number % BREATH == 0:
                await asyncio.sleep(0)
            if live.shard not in lost:
                self._holdings.hold(live)
                self._resumed.append(live)
        failpoints.hit("C13")
        self._assigned, self._look_at_us = False, 0
        logger.info("shards_taken", shards=sorted(p.shard for p in positions))
        return lost

    async def _give(self, shards: Collection[int]) -> None:
        await self.mark()
        await self._acknowledged(0)
        if self._told:
            # Noted before they go, or whoever comes next tells it all once more.
            self._decide([], Known())
            await self._flush()
            await self._acknowledged(0)
        self._drop(shards)
        logger.info("shards_given", shards=sorted(shards))

    def _drop(self, shards: Iterable[int]) -> None:
        gone = [shard for shard in shards if shard in self._holdings.shards]
        if not gone:
            return
        self._holdings.drop(gone)
        for shard in gone:
            self._counted.pop(shard, None)  # its next owner says more
        self._resumed = [live for live in self._resumed if live.gid in self._holdings.live]
        self._roused = [live for live in self._roused if live.gid in self._holdings.live]
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
