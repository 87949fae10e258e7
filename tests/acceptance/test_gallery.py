"""Every scenario of the gallery on real servers, in the middle of which each owner is killed.

Beside it, what is in `words/`: with both, each word of the language runs
(tests/core/sagas/test_words.py sees to that).

All begin at once, by events. One of two coordinators is killed, and the other
takes over: what was asked is asked twice. Then that one is killed too, and
what it had asked is lost. While nobody lives, as much time passes for each
transaction as in its rehearsal: its log is moved into the past, days if need
be. So waits and deadlines are as long as the gallery has them; what is changed
of it is in `plays.CHANGED`. And what the scenario says happens meanwhile,
happens now. An heir finds all of it.

Each must then have ended as its rehearsal, with each effect done once, and
undone once where the rehearsal undoes it. A scenario's `crash` is a kill
everywhere here. `start.every` starts by hand here: the clock has a test of its
own in test_language.py.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

import asyncpg
import pytest
from msgspec.structs import replace

from compose.demo.stage import Client
from compose.local.cluster import Cluster
from compose.local.stack import LocalStack
from coordinator.rehearsal.arrivals import News
from coordinator.rehearsal.script import happening
from coordinator.triggers import seal_start
from participants import worker
from participants.settings import Settings
from tests.acceptance.actors import STAGE, Door, Theatre, carried, cast, databases
from tests.acceptance.plays import AT_ONCE_US, FOLDERS, Play, definitions, plays, published
from wire import gids
from wire.envelope import Envelope, Record, seal
from wire.kafka import Producer, ShardReader, partition_counts
from wire.messages import Action, Begin, Order, Outcome
from wire.topics import Topics

SHARDS: Final = 8
PATIENCE_S: Final = 60.0
DATABASES: Final = sorted(databases(definitions().values()))
HOLDER: Final = """\
saga: hold
version: 1
start: {topic: gallery.holders, key: event.lock}
lock: {key: "${ input.lock }"}
steps:
  until: {approve: {}}
"""

MOVE: Final = """
    WITH its AS (UPDATE twofold.transaction
                    SET began_at = began_at - $2::interval, wake_at = wake_at - $2::interval
                  WHERE gid = $1 OR starts_with(start_key, $1) RETURNING gid)
    UPDATE twofold.decision_log SET at = at - $2::interval WHERE gid IN (SELECT gid FROM its)
"""
FOUND: Final = "SELECT start_key, gid, status FROM twofold.transaction"
INDEXED: Final = "SELECT start_key FROM twofold.transaction WHERE search IS NOT NULL"
OWNERS: Final = "SELECT DISTINCT owner FROM twofold.lease WHERE until > clock_timestamp()"
WAITING: Final = """
    SELECT start_key FROM twofold.transaction JOIN twofold.decision_log USING (gid)
     WHERE kind = 'wait-began'
"""
LEFT: Final = """
    SELECT 'lock ' || lock FROM twofold.claim
    UNION ALL SELECT 'wait ' || step FROM twofold.waiting
    UNION ALL SELECT 'prepared ' || gid FROM pg_prepared_xacts
    UNION ALL SELECT status || ' ' || gid FROM twofold.transaction WHERE status <> 'ended'
"""


@dataclass
class Seen:
    """What came of all plays."""

    gids: Mapping[str, str] = field(default_factory=dict[str, str])
    outcomes: Mapping[str, Outcome] = field(default_factory=dict[str, Outcome])
    asked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """By key and label, what each command carried."""
    over_at_kill: list[set[str]] = field(default_factory=list[set[str]])
    """What had ended when an owner was killed."""
    effects: Counter[tuple[str, str, str]] = field(default_factory=Counter[tuple[str, str, str]])
    """How often each was done, or undone, by key and name."""
    at_the_end: Counter[tuple[str, str, str]] = field(default_factory=Counter[tuple[str, str, str]])
    """The same, once people have ended what was parked."""
    left: list[str] = field(default_factory=list[str])
    contradictions: list[tuple[Outcome, Outcome]] = field(
        default_factory=list[tuple[Outcome, Outcome]]
    )
    indexed: set[str] = field(default_factory=set[str])
    """Keys of what can be searched for."""
    replies: set[str] = field(default_factory=set[str])
    """Keys of what was told on topics that definitions name."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """The stack, the log and the topics; no coordinator runs yet."""
    directory = tmp_path_factory.mktemp("gallery")
    files = directory / "definitions"
    files.mkdir()
    for file in (file for folder in FOLDERS for file in folder.glob("*.yaml")):
        (files / file.name).write_text(published(file))
    (files / "hold.yaml").write_text(HOLDER)
    with (
        LocalStack.start(
            directory / "stack", databases=("twofold", *DATABASES), progress=lambda _: None
        ) as stack,
        Cluster(stack, directory / "cluster", definitions=[files], participants=()) as cluster,
    ):
        cluster.run("migrate", "migrate")
        cluster.run("topics", "topics", f"--definitions={files}")
        yield cluster


@pytest.fixture(scope="module")
async def seen(cluster: Cluster) -> AsyncGenerator[Seen]:
    """Play everything, once."""
    stack = cluster.stack
    theatre = Theatre(plays(), stack.postgres.dsn("twofold"))
    async with (
        Client(stack.kafka.bootstrap) as client,
        Producer(stack.kafka.bootstrap) as producer,
        services(theatre, stack),
    ):
        yield await Performance(cluster, theatre, client, producer).run()


@asynccontextmanager
async def services(theatre: Theatre, stack: LocalStack) -> AsyncGenerator[None]:
    """Serve all participants of the gallery, in this process."""
    settings = Settings(bootstrap=stack.kafka.bootstrap, postgres=stack.postgres.dsn(STAGE))
    one = worker.Worker(cast(theatre, definitions().values()), settings, migrate=True)
    stop = asyncio.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "Service", partial(Door, theatre))
        running = asyncio.create_task(one.run(stop))
        try:
            yield
        finally:
            stop.set()
            await running


class Performance:
    """Two coordinators, all plays at once, and a death between the acts."""

    def __init__(
        self, cluster: Cluster, theatre: Theatre, client: Client, producer: Producer
    ) -> None:
        self.cluster, self.theatre = cluster, theatre
        self.client, self.producer = client, producer
        self.plays, self.seen = plays(), Seen()
        self.held = [play for play in self.plays.values() if play.part.held]

    async def run(self) -> Seen:
        await self.begin()
        await self.until_played()
        await self.kill("coordinator-0")
        await self.until(self.one_owner)
        self.theatre.act = 1
        await self.until_played()
        await self.until(self.waiting)
        await self.kill("coordinator-1")
        self.theatre.lost += 1
        await self.time_passes()
        await self.happens()
        self.theatre.act = 2
        await asyncio.to_thread(self.cluster.launch_coordinator, "heir")
        await self.ends()
        await self.persons_end_it()
        return self.seen

    # ── the acts ─────────────────────────────────────────────────────────────

    async def begin(self) -> None:
        """Start all, but first what holds the locks that others want."""
        for n in range(2):
            await asyncio.to_thread(self.cluster.launch_coordinator, f"coordinator-{n}")
        await asyncio.to_thread(self.cluster.await_ready)
        locks = [{"lock": lock} for play in self.held for lock in play.locks]
        await self.producer.burst([_event("gallery.holders", lock) for lock in locks])
        await self.until(self.holding)
        await self.producer.burst([_start(play) for play in self.plays.values()])
        await self.until(self.begun)

    async def holding(self) -> Any:
        rows = await self.ask("SELECT lock FROM twofold.claim WHERE held_at IS NOT NULL")
        return len(rows) == sum(len(play.locks) for play in self.held) or rows

    async def begun(self) -> Any:
        """See that all are there, and by which names."""
        self.seen.gids = {key: gid for key, gid, _ in await self.ask(FOUND)}
        return self.plays.keys() - self.seen.gids.keys() or True

    async def until_played(self) -> None:
        """Wait until all that this act has was asked for, and what comes next is at the door."""

        async def played() -> Any:
            act, asked = self.theatre.act, self.theatre.asked
            missing = {key: play.seen(act) - asked[key].keys() for key, play in self.plays.items()}
            return {key: labels for key, labels in missing.items() if labels} or True

        await self.until(played)

    async def waiting(self) -> Any:
        """See that who waits for an event or a person has begun to: that time is to pass."""
        begun = {row[0] for row in await self.ask(WAITING)}
        return {play.key for play in self.plays.values() if play.waits} - begun or True

    async def kill(self, name: str) -> None:
        """Kill a coordinator, and note what was not in the middle."""
        await asyncio.to_thread(self.cluster.kill, name)
        ended = {key for key, _, status in await self.ask(FOUND) if status == "ended"}
        self.seen.over_at_kill.append(ended & self.plays.keys())

    async def one_owner(self) -> Any:
        owners = await self.ask(OWNERS)
        shards = await self.ask("SELECT FROM twofold.lease WHERE until > clock_timestamp()")
        return (len(owners) == 1 and len(shards) == SHARDS) or owners

    async def time_passes(self) -> None:
        """Let each be as old as its rehearsal was when it ended. Nobody lives who would mind."""
        connection = await _connect(self.cluster.stack, "twofold")
        try:
            for key, play in self.plays.items():
                await connection.execute(
                    MOVE, self.seen.gids[key], timedelta(microseconds=play.told.took_us)
                )
        finally:
            await connection.close()

    async def happens(self) -> None:
        """Let happen what is to happen before the end, in its order."""
        for key, play in self.plays.items():
            for part in sorted(play.part.meanwhile, key=lambda one: one.after):
                if part.after <= play.told.took_us:
                    await self.producer.burst([self.record(key, happening(part))])
        await self.release(play for play in self.held if play.part.held <= play.told.took_us)

    async def ends(self) -> None:
        """Hear all outcomes, and look what has been done."""
        places = {key: (play.definition.name, key) for key, play in self.plays.items()}
        silent = await self.client.hear(list(places.values()), seconds=PATIENCE_S)
        assert silent == [], await self.story(silent)
        await self.until(self.at_rest)
        self.seen.outcomes = {key: self.client.outcomes[place] for key, place in places.items()}
        self.seen.asked = {
            key: {said: carried(command) for said, command in asked.items()}
            for key, asked in self.theatre.asked.items()
        }
        self.seen.effects = await self.effects()

    async def at_rest(self) -> Any:
        """See that what is open waits for a person: outcomes are told before branches end."""
        waits = {*(play.key for play in self.plays.values() if play.told.outcome == "PARKED")}
        waits |= {lock for play in self.held for lock in play.locks}
        open_ones = {key for key, _, status in await self.ask(FOUND) if status != "ended"}
        return open_ones - waits or True

    async def persons_end_it(self) -> None:
        """Let people see to what is parked, let go all locks, and let come what comes too late."""
        for key, play in self.plays.items():
            late = [part for part in play.part.meanwhile if part.after > play.told.took_us]
            await self.producer.burst([self.record(key, happening(part)) for part in late])
            if play.told.outcome == "PARKED":
                await self.producer.burst([self.record(key, self.seen_to(play))])
        await self.release(play for play in self.held if play.part.held > play.told.took_us)
        try:
            await self.until(self.nothing_left)
        except AssertionError:
            self.seen.left = [row[0] for row in await self.ask(LEFT)]
        self.seen.at_the_end = await self.effects()
        self.seen.indexed = {row[0] for row in await self.ask(INDEXED)}
        self.seen.contradictions = self.client.contradictions
        for topic in {one.start.reply_to for one in definitions().values()} - {None}:
            self.seen.replies |= await _told_on(self.cluster.stack, str(topic))

    def seen_to(self, play: Play) -> Order:
        """Go on without the step that it is parked for or, if that is none, be done with it."""
        word, _, _ = self.seen.outcomes[play.key].reason.replace(":", " ").partition(" ")
        action, step = (Action.SKIP, word) if word in play.steps else (Action.COMMIT, "")
        return Order(gid="", id="x", action=action, actor="ada", reason="seen to", step=step)

    async def nothing_left(self) -> Any:
        return await self.ask(LEFT) or True

    # ── how ──────────────────────────────────────────────────────────────────

    async def release(self, plays: Iterable[Play]) -> None:
        """Let go the locks that these want, or wanted."""
        for lock in (lock for play in plays for lock in play.locks):
            order = Order(
                gid="", id="y", action=Action.APPROVE, actor="ada", reason="done", step="until"
            )
            await self.producer.burst([self.record(lock, order)])

    def record(self, key: str, what: News | Order) -> Record:
        """Write what happens to a transaction, as whoever does it would."""
        if isinstance(what, News):
            return _event(what.topic, what.body)
        gid = self.seen.gids[key]
        parsed = gids.parse(gid)
        assert parsed is not None, gid
        return seal(
            Envelope(replace(what, gid=gid)),
            topic=Topics().replies,
            source="/tests",
            key=gid,
            partition=parsed.shard,
        )

    async def ask(self, query: str) -> list[Any]:
        """Ask the decision log's database."""
        return await _ask(self.cluster.stack, "twofold", query)

    async def until(self, so: Any) -> None:
        """Wait until this is True, and fail with what it was last."""
        given_up = time.monotonic() + PATIENCE_S
        while (found := await so()) is not True:
            assert time.monotonic() < given_up, found
            await asyncio.sleep(0.1)

    async def effects(self) -> Counter[tuple[str, str, str]]:
        """Count what was done and undone in all databases."""
        query = "SELECT key, name, what FROM effect"
        rows = [row for one in DATABASES for row in await _ask(self.cluster.stack, one, query)]
        return Counter((row[0], row[1], row[2]) for row in rows)

    async def story(self, places: Iterable[tuple[str, str]]) -> str:
        """Say what an operator would look at first."""
        told = [
            await asyncio.to_thread(self.cluster.run, "show", "show", *place)
            for place in list(places)[:3]
        ]
        return "\n".join(told)


def _event(topic: str, body: Mapping[str, Any]) -> Record:
    return Record(topic, b"gallery", json.dumps(body).encode(), [])


def _start(play: Play) -> Record:
    """Write the event that starts it."""
    if play.definition.start.topic is not None:
        return _event(play.definition.start.topic, play.input)
    begin = Begin(definition=play.definition.name, key=play.key, input=play.input)
    return seal_start(begin, topics=Topics(), shards=SHARDS, source="/tests", traceparent=None)


async def _connect(stack: LocalStack, database: str) -> Any:
    return await asyncpg.connect(stack.postgres.dsn(database))


async def _ask(stack: LocalStack, database: str, query: str) -> list[Any]:
    connection = await _connect(stack, database)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def _told_on(stack: LocalStack, topic: str) -> set[str]:
    """Read the keys of all that a topic holds."""
    count = (await partition_counts(stack.kafka.bootstrap, [topic]))[topic]
    async with ShardReader(stack.kafka.bootstrap) as reader:
        reader.assign(dict.fromkeys([(topic, n) for n in range(count)], 0))
        found: set[str] = set()
        while more := await reader.poll(wait_ms=500, limit=500):
            found |= {(record.key or b"").decode() for record in more}
    return found


# ── what must be true ────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", plays(), ids=lambda key: str(plays()[key]))
async def test_it_ends_as_in_its_rehearsal(seen: Seen, key: str) -> None:
    """The outcome, what it tells, what stands, and what was undone: each effect once."""
    play, told = plays()[key], seen.outcomes[key]
    assert (told.outcome, told.output) == (play.told.outcome, play.told.output), told.reason
    assert (play.part.expect.reason or "") in told.reason

    counts = {place[1:]: n for place, n in seen.effects.items() if place[0] == key}
    assert set(counts.values()) <= {1}, counts
    done = {name for name, what in counts if what == "done"}
    undone = {name for name, what in counts if what == "undone"}
    assert play.marks(done, undone) == (set(play.told.stands), set(play.told.undone))


@pytest.mark.parametrize("key", plays(), ids=lambda key: str(plays()[key]))
async def test_it_asks_what_its_rehearsal_asks(seen: Seen, key: str) -> None:
    """Each command, with what it carries. Who is told to roll back depends on who voted first."""
    rehearsed = {said: carried(command) for said, command in plays()[key].commands.items()}
    found = (seen.asked.get(key, {}), rehearsed)
    asked, wanted = ({s: c for s, c in one.items() if "rollback " not in s} for one in found)
    assert asked == wanted


async def test_each_owner_died_in_the_middle_of_everything(seen: Seen) -> None:
    """So what is shown here is shown of takeovers."""
    at_once = {
        key
        for key, play in plays().items()
        if not play.told.asked and play.told.took_us < AT_ONCE_US
    }
    assert seen.over_at_kill == [at_once, at_once]


async def test_nothing_is_left(seen: Seen) -> None:
    """No lock, no wait, nothing prepared or open; and what people ended was not done twice."""
    assert seen.left == []
    assert set(seen.at_the_end.values()) == {1}
    assert not [pair for pair in seen.contradictions if pair[0].outcome != "PARKED"]


async def test_outcomes_are_told_where_the_definition_says(seen: Seen) -> None:
    """On `start.reply_to` as well."""
    assert seen.replies == {key for key, play in plays().items() if play.definition.start.reply_to}


async def test_what_is_indexed_can_be_searched_for(seen: Seen) -> None:
    """Nothing else is."""
    assert seen.indexed == {key for key, play in plays().items() if play.definition.index}
