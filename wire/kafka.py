"""Kafka: the only module that imports aiokafka.

Kafka is at-least-once transport here and nothing more: no transactions, and
no promise rests on a consumer group. What is sent is acknowledged by all
in-sync replicas; what is read is handed out as it came, as bytes.

aiokafka ships no types, so its objects are Any in here, and nowhere else.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeAlias, cast

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka import TopicPartition as _TopicPartition
from aiokafka import partitioner as _partitioner
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.structs import OffsetAndMetadata

from wire.closing import close
from wire.envelope import MAX_BODY_BYTES, Record

logger = structlog.get_logger(__name__)

Place: TypeAlias = tuple[str, int]
"""A topic and one of its partitions."""

REQUEST_TIMEOUT_MS: Final = 15_000
FETCH_MS: Final = 25
"""How long a fetch of chosen partitions waits for something to come. A broker answers one
request of a connection after the other, so this is also what a new assignment waits for."""

QUIET_S: Final = 1.5
"""How long a reader may be quiet before it asks whether it should be."""
ANSWER_S: Final = 6.0
"""How long Kafka may take to say so."""
OWNER_ANSWER_S: Final = 2.0
"""The same, for whoever owns shards: who cannot reach Kafka must not keep them."""

GROUP_BEAT_MS: Final = 200
"""How often a member of a group asks whether somebody has come or gone. Until all members know,
nobody reads what has to change hands."""

POLL_MS: Final = 100
POLL_LIMIT: Final = 500
"""How much is read at once of what is read to its end."""


class KafkaUnavailable(Exception):
    """Kafka could not be reached, or did not acknowledge. What was sent may or may not be there."""


class Received(msgspec.Struct, frozen=True):
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp_ms: int


_kafkas: Any = _partitioner


@functools.lru_cache(maxsize=4096)
def _hashed(key: bytes) -> int:
    return int(_kafkas.murmur2(key)) & 0x7FFFFFFF


def partition_of(key: bytes | None, partitions: Sequence[int], available: Sequence[int]) -> int:
    """Choose as Kafka's own clients do, so that others find our keys where they expect them.

    All that is said of a transaction has one key, and aiokafka hashes in
    plain Python: so it is done once.
    """
    if key is None:
        return int(_kafkas.DefaultPartitioner()(key, partitions, available))
    return partitions[_hashed(key) % len(partitions)]


class _Client:
    """What is started before it is used, and closed afterwards: a context."""

    _inner: Any

    async def start(self) -> None:
        """Connect, or raise KafkaUnavailable."""
        await _start(self._inner)

    async def stop(self) -> None:
        """Close, in bounded time and without complaint."""
        await close(self._inner.stop())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


class Producer(_Client):
    """Sends bursts of records, each acknowledged by all in-sync replicas."""

    def __init__(self, bootstrap: str) -> None:
        # Without linger a burst still travels as few batches: its records
        # queue up in the same turn of the loop.
        self._inner: Any = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=256 * 1024,
            max_request_size=MAX_BODY_BYTES + 100_000,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            partitioner=cast("Any", partition_of),
        )

    async def learn(self, topics: Iterable[str]) -> None:
        """Find out where these topics are now, and not when there is something to send."""
        try:
            await asyncio.gather(*(self._inner.partitions_for(topic) for topic in topics))
        except KafkaError as error:
            raise KafkaUnavailable(str(error)) from error

    async def hand_over(self, records: Sequence[Record]) -> list[asyncio.Future[Any]]:
        """Queue records for sending, in order; the futures end with their acknowledgement.

        Raises:
            KafkaUnavailable: a record could not be queued.

        """
        sent: list[asyncio.Future[Any]] = []
        try:
            for record in records:
                future = await self._inner.send(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=record.headers,
                )
                sent.append(future)
        except KafkaError as error:
            raise KafkaUnavailable(str(error)) from error
        return sent

    async def burst(self, records: Sequence[Record]) -> None:
        """Send records, in order, and wait until all are acknowledged.

        Raises:
            KafkaUnavailable: at least one was not; it may be there all the same.

        """
        if not records:
            return
        sent = await self.hand_over(records)
        results = await asyncio.gather(*sent, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise KafkaUnavailable(str(result) or type(result).__name__) from result


class _Reader(_Client):
    """What both readers share: polling, and the bytes as they came."""

    _quiet_since = 0.0
    _behind = False
    _left: frozenset[Place] = frozenset()
    _getting: asyncio.Future[Any] | None = None
    _answer_s = ANSWER_S

    async def stop(self) -> None:
        """Close, in bounded time and without complaint.

        A fetcher of aiokafka that is told to end while it lets go of its
        partitions does not notice. Closing makes it let go, so it is told before.
        """
        fetcher = self._inner._fetcher  # noqa: SLF001  # there is no other way
        if fetcher is not None:
            fetcher._fetch_task.cancel()  # noqa: SLF001
        await super().stop()

    def leave(self, places: Iterable[Place]) -> None:
        """Read no more of these partitions for now, and of all others again.

        To be said before each poll, since a new assignment forgets it.
        """
        left = frozenset(places)
        if not left and not self._left:
            return
        for place in self._inner.assignment():
            if (place.topic, place.partition) in left:
                self._inner.pause(place)
            else:
                self._inner.resume(place)
        self._left = left

    async def poll(self, *, wait_ms: int, limit: int) -> list[Received]:
        """Return what has come, at most ``limit``, after at most ``wait_ms``."""
        try:
            found = await self._get(self._inner.getmany(timeout_ms=wait_ms, max_records=limit))
        except KafkaError as error:
            raise KafkaUnavailable(str(error)) from error
        await self._watch(anything=bool(found))
        return [
            Received(r.topic, r.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
            for records in found.values()
            for r in records
        ]

    def wake(self) -> None:
        """End the waiting of a poll: there is something else to do."""
        if self._getting is not None:
            self._getting.cancel()

    async def _get(self, getting: Coroutine[Any, Any, dict[Any, Any]]) -> dict[Any, Any]:
        """Wait for records, or to be woken. What was found is not lost by that.

        aiokafka awaits nothing after it has taken records out: what can still
        be cancelled has none.
        """
        task = self._getting = asyncio.ensure_future(getting)
        try:
            await asyncio.wait({task})
        finally:
            self._getting = None
            task.cancel()
        return {} if task.cancelled() else task.result()

    async def _watch(self, *, anything: bool) -> None:
        """Raise KafkaUnavailable if there is something to read, and it does not come.

        A fetcher of aiokafka can die in silence, e.g. when its broker was
        killed. A reader that has been quiet for a while therefore asks where
        its partitions end.
        """
        now = time.monotonic()
        if anything:
            self._quiet_since, self._behind = now, False
        elif now - self._quiet_since > QUIET_S:
            self._quiet_since = now
            before, self._behind = self._behind, await self.is_behind()
            if before and self._behind:
                raise KafkaUnavailable("the reader makes no progress, though there is something")

    async def is_behind(self) -> bool:
        """Tell whether there is something to read that has not come; or raise KafkaUnavailable."""
        places = [p for p in self._inner.assignment() if (p.topic, p.partition) not in self._left]
        if not places:
            return False
        try:
            async with asyncio.timeout(self._answer_s):
                ends = await self._inner.end_offsets(places)
                return any([ends[place] > await self._inner.position(place) for place in places])
        except TimeoutError as error:
            raise KafkaUnavailable(f"it has not answered for {self._answer_s:g} s") from error
        except IllegalStateError:  # a rebalance came in between
            return False
        except KafkaError as error:
            raise KafkaUnavailable(str(error)) from error


class ShardReader(_Reader):
    """Reads chosen partitions from chosen offsets. Nobody's group, nobody's rebalance."""

    _answer_s = OWNER_ANSWER_S

    def __init__(self, bootstrap: str) -> None:
        self._inner: Any = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=FETCH_MS,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )

    def assign(self, offsets: Mapping[Place, int]) -> None:
        """Read these partitions from these offsets, and no others."""
        places = {_TopicPartition(*place): offset for place, offset in offsets.items()}
        if not places:
            self._inner.unsubscribe()
            return
        self._inner.assign(list(places))
        for place, offset in places.items():
            self._inner.seek(place, offset)

    async def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """Tell where each partition ends: the offset of its next record."""
        return await self._bounds(places, self._inner.end_offsets)

    async def beginnings(self, places: Iterable[Place]) -> dict[Place, int]:
        """Tell where each partition begins: the offset of its oldest kept record."""
        return await self._bounds(places, self._inner.beginning_offsets)

    async def since(self, places: Iterable[Place], at_ms: int) -> dict[Place, int]:
        """Tell where each partition's records from a time on begin; its end, if there are none."""
        places = list(places)
        try:
            found = await self._inner.offsets_for_times(
                {_TopicPartition(*place): at_ms for place in places}
            )
        except KafkaError as error:
            raise KafkaUnavailable(str(error)) from error
        ends = await self.ends(places)
        there = {(tp.topic, tp.partition): at.offset for tp, at in found.items() if at is not None}
        return {**ends, **there}

    async def read(self, begins: Mapping[Place, int], ends: Mapping[Place, int]) -> list[Received]:
        """Read what is between two offsets of each partition: all of it, and no more."""
        self.assign({p: offset for p, offset in begins.items() if offset < ends[p]})
        found: list[Received] = []
        while await self._has_before(ends):
            found += await self.poll(wait_ms=POLL_MS, limit=POLL_LIMIT)
        self.assign({})
        return [r for r in found if r.offset < ends[r.topic, r.partition]]

    async def _has_before(self, ends: Mapping[Place, int]) -> bool:
        """Tell whether a partition is not yet read to its end. Offsets can have gaps."""
        return any(
            [
                await self._inner.position(tp) < ends[tp.topic, tp.partition]
                for tp in self._inner.assignment()
            ]
        )

    @staticmethod
    async def _bounds(places: Iterable[Place], ask: Callable[..., Any]) -> dict[Place, int]:
        try:
            found = await ask([_TopicPartition(*place) for place in places])
        except KafkaError as error:
            raise KafkaUnavailable(str(error)) from error
        return {(tp.topic, tp.partition): offset for tp, offset in found.items()}


class GroupReader(_Reader):
    """Reads topics as a member of a consumer group; offsets are committed by hand."""

    def __init__(
        self,
        bootstrap: str,
        topics: Iterable[str],
        *,
        group: str,
        on_assigned: Callable[[set[Place]], None] | None = None,
        on_revoked: Callable[[set[Place]], None] | None = None,
    ) -> None:
        self._inner: Any = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=500,
            session_timeout_ms=6_000,
            heartbeat_interval_ms=GROUP_BEAT_MS,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        self._listener = _Listener(on_assigned, on_revoked)
        self._topics = sorted(topics)

    async def start(self) -> None:
        self.subscribe(self._topics)
        await super().start()

    def subscribe(self, topics: Iterable[str]) -> None:
        """Read these topics from now on, and no others."""
        self._topics = sorted(topics)
        if self._topics:
            self._inner.subscribe(topics=self._topics, listener=self._listener)
        else:
            self._inner.unsubscribe()

    def leave_topics(self, topics: Collection[str]) -> None:
        """Read no more of these topics for now, and of all others again. See `leave`."""
        mine = {(place.topic, place.partition) for place in self._inner.assignment()}
        self.leave(place for place in mine if place[0] in topics)

    async def commit(self, offsets: Mapping[Place, int]) -> None:
        """Note the next offset to read of each partition; a lost partition is only logged."""
        if not offsets:
            return
        try:
            await self._inner.commit(
                {_TopicPartition(*p): OffsetAndMetadata(o, "") for p, o in offsets.items()}
            )
        except (CommitFailedError, IllegalStateError) as error:
            # The partition is somebody else's by now: it will read these
            # records again, and every message may come twice.
            logger.warning("offsets_not_committed", reason=str(error))
        except KafkaError as error:
            raise KafkaUnavailable(str(error)) from error


class _Listener(ConsumerRebalanceListener):
    def __init__(
        self,
        on_assigned: Callable[[set[Place]], None] | None,
        on_revoked: Callable[[set[Place]], None] | None,
    ) -> None:
        self._assigned, self._revoked = on_assigned, on_revoked

    def on_partitions_assigned(self, assigned: Iterable[_TopicPartition]) -> None:
        if self._assigned:
            self._assigned({(tp.topic, tp.partition) for tp in assigned})

    def on_partitions_revoked(self, revoked: Iterable[_TopicPartition]) -> None:
        if self._revoked:
            self._revoked({(tp.topic, tp.partition) for tp in revoked})


async def partition_counts(bootstrap: str, topics: Iterable[str]) -> dict[str, int]:
    """Tell how many partitions each topic has; 0 for one that is not there."""
    async with _admin(bootstrap) as admin:
        described = await admin.describe_topics(list(topics))
        return {
            topic["topic"]: 0 if topic["error_code"] else len(topic["partitions"])
            for topic in described
        }


async def committed(bootstrap: str, group: str) -> dict[Place, int]:
    """Tell which offset is next for a consumer group, in each partition where it has said so."""
    async with _admin(bootstrap) as admin:
        found = await admin.list_consumer_group_offsets(group)
        return {(tp.topic, tp.partition): at.offset for tp, at in found.items() if at.offset >= 0}


async def create_topics(
    bootstrap: str, wanted: Mapping[str, int], *, replication: int, config: Mapping[str, str]
) -> None:
    """Create topics with these numbers of partitions; one that is there is left as it is."""
    async with _admin(bootstrap) as admin:
        answer = await admin.create_topics(
            [
                NewTopic(name, partitions, replication, topic_configs=dict(config))
                for name, partitions in wanted.items()
            ]
        )
        for name, code, *_ in answer.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise KafkaUnavailable(f"topic {name} could not be created: {error.__name__}")


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncGenerator[Any]:
    inner: Any = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS
    )
    try:
        await inner.start()
        yield inner
    except KafkaError as error:
        raise KafkaUnavailable(str(error)) from error
    finally:
        await close(inner.close())


async def _start(inner: Any) -> None:
    """Start a client of aiokafka, or leave nothing of it.

    One that is cancelled half way has joined its group, and would go on to
    say that it lives, holding partitions that nobody reads.
    """
    try:
        await inner.start()
    except KafkaError as error:
        await close(inner.stop())
        raise KafkaUnavailable(str(error)) from error
    except BaseException:
        await close(inner.stop())
        raise
