"""One run: a world made from a seed, troubled for a while, healed, and judged."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from unittest.mock import patch

import structlog

from coordinator import engine as engine_module
from coordinator.core import machine
from coordinator.core.events import Letter
from coordinator.core.records import Outcome as Ending
from coordinator.core.waiting import letter_key
from coordinator.definitions import family
from coordinator.engine import Engine
from coordinator.letterbox import deliver
from coordinator.log.store import ClusterFacts
from sagas.model import Atomic, Branch
from tests.simulation import ending, programme
from tests.simulation import log as logs
from tests.simulation.check import Check
from tests.simulation.coordinators import Coordinator
from tests.simulation.database import Database
from tests.simulation.faults import Fault, Faults, Plan
from tests.simulation.kafka import Broker
from tests.simulation.log import SimLog, at_once
from tests.simulation.loop import VirtualLoop
from tests.simulation.moving import Moving
from tests.simulation.nemesis import Nemesis
from tests.simulation.participants import Worker
from tests.simulation.process import Process
from tests.simulation.programme import Starting
from tests.simulation.restoring import UNDER_WAY_S, Restoring
from tests.simulation.trace import Trace
from wire.envelope import Envelope, Record, Unreadable, seal, unseal
from wire.gids import parse, shard_of_start
from wire.kafka import Received
from wire.messages import Begin, Inquired, Outcome
from wire.topics import Topics

START_US: Final = 1_700_000_000_000_000
TROUBLE_S: Final = 5.0
HEALED_WITHIN_S: Final = 60.0
RESEND_S: Final = 1.5
TICK_S: Final = 0.25
REPLAYED_EACH: Final = 4
"""Every fourth seed ends with a replay of all that was said, which takes its time."""

structlog.configure(
    wrapper_class=structlog.make_filtering_bound_logger(50), cache_logger_on_first_use=True
)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    seed: int
    digest: str
    violation: tuple[str, str] | None
    transactions: int
    struck: Counter[Fault] = field(default_factory=Counter[Fault])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    virtual_s: float = 0.0
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Product:
    """What is tested. A test of the simulator replaces a part by one with a bug."""

    engine: Callable[..., Engine] = Engine
    log: type[SimLog] = SimLog


class World:
    """Everything that there is in one run."""

    def __init__(self, plan: Plan, product: Product, loop: VirtualLoop, *, telling: bool) -> None:
        self.loop = loop
        self.chance = random.Random(plan.seed)
        self.product = product
        self.trace = Trace(self.loop, telling=telling)
        self.faults = Faults(plan, self.trace.note)
        chance = self.chance
        count = chance.randint(2, 3)
        self.programme = programme.draw(plan.seed, count, self.faults)
        self.published = list(self.programme.definitions)
        self.check = Check(self.trace, self.programme.by_hash, self._ring)
        facts = ClusterFacts("sim", chance.randint(2, 4), 1)
        self.shards, self.topics = facts.shards, Topics("sim")
        self.log = product.log(facts, self.now_us, self.check)
        self.broker = Broker(
            topics=self.topics, shards=self.shards, faults=self.faults, trace=self.trace
        )
        self.broker.on_append.append(self._hear)
        self.databases = {f"p{n}": Database(f"p{n}", self.check) for n in range(count)}
        self.check.databases = self.databases
        self.inputs: defaultdict[str, set[str]] = defaultdict(set)
        self.coordinators: list[Coordinator] = []
        self.workers: dict[str, list[Process]] = {name: [] for name in self.databases}
        self._lives = 0
        for _ in range(chance.randint(2, 3)):
            self.start_coordinator()
        for name in self.databases:
            self.start_worker(name)
        self.nemesis = Nemesis(self, self.faults)
        self.restoring = Restoring(self)
        self.moving = Moving(self)

    def now_us(self) -> int:
        """The time of the log's clock."""
        return START_US + int(self.loop.time() * 1_000_000)

    def _ring(self) -> None:
        for coordinator in self.coordinators:
            coordinator.bell.set()

    # ── processes ────────────────────────────────────────────────────────────

    def _process(self, name: str, crash: Fault) -> Process:
        self._lives += 1
        return Process(
            f"{name}-{self._lives}", faults=self.faults, trace=self.trace, crash_at_io=crash
        )

    def start_coordinator(self) -> None:
        """Start one more coordinator."""
        rate = 1.0
        if self.faults.strikes(Fault.CLOCK_OFF):
            rate = self.faults.between(Fault.CLOCK_OFF, 0.8, 1.25)
        process = self._process("coordinator", Fault.COORDINATOR_CRASHED_AT_IO)
        coordinator = Coordinator(
            process,
            server=self.log,
            broker=self.broker,
            faults=self.faults,
            check=self.check,
            published=self.published,
            chance=self.chance,
            now_us=self.now_us,
            rate=rate,
            make_engine=self.product.engine,
        )
        self.coordinators.append(coordinator)
        process.run(coordinator.live())

    def start_worker(self, name: str) -> None:
        """Start one more process of a participant."""
        off_us = 0
        if self.faults.strikes(Fault.CLOCK_OFF):
            off_us = int(self.faults.between(Fault.CLOCK_OFF, -2e6, 2e6))
        process = self._process(name, Fault.PARTICIPANT_CRASHED_AT_IO)
        worker = Worker(
            process,
            database=self.databases[name],
            broker=self.broker,
            faults=self.faults,
            check=self.check,
            programme=self.programme,
            chance=self.chance,
            now_us=lambda: self.now_us() + off_us,
        )
        self.workers[name].append(process)
        process.run(worker.live())

    # ── clients ──────────────────────────────────────────────────────────────

    def _hear(self, received: Received) -> None:
        if received.topic == self.topics.dead_letters:
            self.check.buried.add(dict(received.headers)["twofold-origin"])
        elif received.topic == self.topics.outcomes:
            envelope = unseal(received.headers, received.value)
            outcome, generation = envelope.message, envelope.generation
            assert isinstance(outcome, Outcome)
            if generation is not None and generation >= self.check.generation:
                self.check.outcomes[outcome.key].add(outcome.outcome)
        elif received.topic == self.topics.requests:
            with suppress(Unreadable):
                begin = unseal(received.headers, received.value).message
                assert isinstance(begin, Begin)
                self.inputs[begin.key].add(str(begin.input))

    def begin(self, start: Starting) -> None:
        """Send a start."""
        begin = Begin(definition=start.definition, key=start.key, input=start.input)
        record = seal(
            Envelope(begin),
            topic=self.topics.requests,
            source="/client",
            key=start.key,
            partition=shard_of_start(start.definition, start.key, self.shards),
        )
        self.broker.append(record)

    def _tell_news(self, key: str, number: int) -> None:
        """Put an event into the letter box, and before it one that only looks like it."""
        at_us = self.now_us()
        place = letter_key("event.of", key)
        news = [
            Letter(programme.NEWS, place, 0, 2 * number + i, at_us, {"of": key, "true": bool(i)})
            for i in range(2)
        ]
        for record in at_once(deliver(self.log, news, self.topics)):
            self.broker.append(record)

    def _insist_on(self, start: Starting) -> None:
        """Send a start until its outcome is heard."""
        if not self.check.outcomes[start.key]:
            self.begin(start)
            self.loop.call_later(RESEND_S, self._insist_on, start)

    # ── the run ──────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Let it all happen."""
        first: set[str] = set()
        for start in self.programme.starts:
            send = self.begin if start.key in first else self._insist_on
            first.add(start.key)
            self.loop.call_later(start.at_s, send, start)
        for number, start in enumerate(self.programme.starts):
            after_s = start.at_s + self.chance.uniform(-1, 3)
            self.loop.call_later(max(0, after_s), self._tell_news, start.key, number)
        restoring = asyncio.create_task(self.restoring.run())
        while self.loop.time() < TROUBLE_S and self._goes_on():
            self.nemesis.strike()
            self.moving.strike()
            await asyncio.sleep(TICK_S)
        self.nemesis.heal()
        await restoring
        await self._until(self._is_over, "everything ends in time")
        self._judge()
        if self.faults.plan.seed % REPLAYED_EACH == 0 and self.check.violation is None:
            await self._replay()
            self._judge()
        elif self.faults.plan.seed % REPLAYED_EACH == 1 and self.check.violation is None:
            await self._forget()

    def _judge(self) -> None:
        if self.check.violation is None:
            ending.everything(self.check, self.log, self.programme.starts)

    async def _replay(self) -> None:
        """Let everything that was ever said be said again.

        An order that is still under way would be written down, whatever it orders.
        """
        if self.faults.struck[Fault.MOVED]:
            await asyncio.sleep(UNDER_WAY_S)
        await self._until(self._is_read, "everything is read")
        buried, unreadable = len(self.check.buried), self.broker.unreadable
        # A recovery goes on behind the replies, whatever is among them.
        all_buried = buried == unreadable or Fault.LOG_RESTORED in self.faults.struck
        self.check.insist(all_buried, "what is unreadable is buried", f"{buried}")
        before = ending.what_stands(self.check)
        self.trace.note("nemesis", "replays everything")
        for log in tuple(self.broker.logs.values()):
            heard = {self.topics.outcomes, self.topics.dead_letters}
            if log and log[0].topic not in heard:
                for received in random.Random(self.faults.plan.seed).sample(log, len(log)):
                    self.broker.again(received)
        await self._until(self._is_read, "everything is read")
        await self._until(self._is_over, "everything ends in time")
        await self._until(self._is_refused, "another input is refused")
        after = ending.what_stands(self.check)
        self.check.insist(before == after, "what is over stays so", f"{before} {after}")

    async def _forget(self) -> None:
        """Purge what has ended, and let every branch ask once more how it is to end.

        A start that is still under way would begin anew, for its key is forgotten.
        """
        await asyncio.sleep(UNDER_WAY_S)
        await self._until(self._is_read, "everything is read")
        before = ending.what_stands(self.check)
        keep = {part.name: 0 for definition in self.published for part in family(definition)}
        gone = logs.at_once(self.log.purge(keep, self.now_us(), limit=1_000))
        self.trace.note("nemesis", f"purges {gone} transactions")
        for gid, facts in self.check.facts.items():
            kept = (facts.outcome is Ending.PARKED or facts.held) and gid not in self.check.parts
            self.check.insist((gid in self.log.rows) == kept, "what is parked is kept", gid)
            if isinstance(facts.definition, Atomic):
                for branch in facts.definition.branches.values():
                    self.broker.keep(self._doubt(gid, branch))
        await self._until(self._is_read, "everything is read")
        after = ending.what_stands(self.check)
        self.check.insist(before == after, "what is over stays so", f"{before} {after}")

    def _doubt(self, gid: str, branch: Branch) -> Record:
        inquired = Inquired(gid=gid, branch=branch.name, participant=branch.call.participant)
        name = parse(gid)
        assert name is not None
        return seal(
            Envelope(inquired),
            topic=self.topics.replies,
            source="/client",
            key=gid,
            partition=name.shard,
        )

    async def _until(self, so: Callable[[], bool], invariant: str) -> None:
        give_up_at = self.loop.time() + HEALED_WITHIN_S
        while not so() and self._goes_on():
            late = self.loop.time() > give_up_at
            text = ending.what_is_open(self.check, self.log, self.programme.starts)
            self.check.insist(not late, invariant, text)
            await asyncio.sleep(TICK_S)

    def _is_read(self) -> bool:
        """Tell whether nothing waits in any topic."""
        for place, log in self.broker.logs.items():
            topic, partition = place
            if topic in (self.topics.outcomes, self.topics.dead_letters):
                continue
            position, read = self.log.positions[partition], self.broker.committed[place]
            if topic == self.topics.requests:
                read = position.requests_offset
            elif topic == self.topics.replies:
                read = position.replies_offset
            if read < len(log):
                return False
        return True

    def _is_refused(self) -> bool:
        """Tell whether all who started anew with another input know that it is another."""
        changed = (key for key, inputs in self.inputs.items() if len(inputs) > 1)
        return all("REFUSED" in self.check.outcomes[key] for key in changed)

    def _is_over(self) -> bool:
        return ending.is_over(self.check, self.log, self.programme.starts)

    def _goes_on(self) -> bool:
        self.nemesis.replace_the_dead()
        for coordinator in self.coordinators:
            if coordinator.process.alive and coordinator.engine is not None:
                ending.memory(self.check, self.log, coordinator.engine)
        return self.check.violation is None

    async def end(self) -> None:
        """Stop everything that still runs."""
        for coordinator in self.coordinators:
            coordinator.process.kill()
        for processes in self.workers.values():
            for process in processes:
                process.kill()
        this = asyncio.current_task()
        others = [task for task in self.loop.tasks if task is not this and not task.done()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def _short_sleep() -> Generator[None]:
    """Let whoever waits sleep, and an idle engine look up less often: for one run only."""
    with (
        patch.object(engine_module, "PATIENCE_MS", 500),
        patch.object(engine_module, "AHEAD_US", 200_000),
        patch.object(engine_module, "LOOK_US", 100_000),
        patch.object(machine, "SLEEP_US", 300_000),
    ):
        yield


def simulate(plan: Plan, *, product: Product | None = None, telling: bool = False) -> Result:
    """Run one seed."""
    loop = VirtualLoop()
    try:
        with _short_sleep():
            run = _run(plan, product or Product(), loop, telling=telling)
            return loop.run_until_complete(run)
    finally:
        loop.close()


async def _run(plan: Plan, product: Product, loop: VirtualLoop, *, telling: bool) -> Result:
    world = World(plan, product, loop, telling=telling)
    try:
        await world.run()
    finally:
        digest, virtual_s = world.trace.digest, world.loop.time()
        await world.end()
    outcomes = Counter(str(row.outcome) for row in world.log.rows.values())
    return Result(
        plan.seed,
        digest,
        world.check.violation,
        len(world.log.rows),
        world.faults.struck,
        outcomes,
        virtual_s,
        tuple(world.trace.lines),
    )
