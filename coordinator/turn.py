"""One turn of the engine: events in, work out. Synchronous, and without I/O.

Everything that can change a transaction passes here: a start, a reply, a
timer, the news that an outcome is told, a takeover. What cannot be read, or
makes no sense, is buried with its reason and blocks nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from traceback import format_tb
from typing import Any

import structlog
from msgspec import structs

from coordinator.core import lock, machine
from coordinator.core.events import Event, Letter, Looked, Published
from coordinator.core.lock import Lock
from coordinator.core.records import Begun, Decision, Entry
from coordinator.core.transition import Send, Transition
from coordinator.core.two_phase import decision_message
from coordinator.errands import Errands
from coordinator.holdings import Holdings, Live, Shard
from coordinator.locks import changed, misplaced
from coordinator.log.store import KnownStart, Place, Row
from coordinator.recall import DefinitionGone, at_rest, input_hash
from coordinator.sealing import buried, sealed
from coordinator.setting import Setting
from coordinator.telemetry import identity
from coordinator.too_large import too_large
from coordinator.work import Outgoing, Rested, Telling, Trail, Work
from sagas.model import AnyDefinition, InputRefused
from sagas.search import terms
from wire import gids
from wire.envelope import MAX_BODY_BYTES, Envelope, Unreadable, unseal
from wire.kafka import Received
from wire.messages import (
    AnyMessage,
    Arrived,
    Begin,
    Inquired,
    LockAnswer,
    LockAsk,
    LockGranted,
    LockRelease,
    Order,
    Reply,
)
from wire.messages import Outcome as OutcomeMessage

logger = structlog.get_logger(__name__)


class Nonsense(Exception):
    """A readable message that cannot be meant for this coordinator; the text says why."""


@dataclass(slots=True)
class Known:
    """What the log knows about this turn's messages and memory does not."""

    starts: Mapping[tuple[str, str], KnownStart] = field(
        default_factory=dict[tuple[str, str], KnownStart]
    )
    decisions: Mapping[str, Decision | None] = field(default_factory=dict[str, Decision | None])
    """What was decided about those that exist; None where nothing is yet."""
    over: Collection[str] = ()
    """The transactions that have ended, or never were, of those that the log was asked for."""
    doubts: Collection[str] = ()
    """The transactions whose decisions the log was asked for."""
    records: dict[str, Sequence[Entry]] = field(default_factory=dict[str, Sequence[Entry]])
    """Of those that needed no owner, and are spoken of."""
    letters: Mapping[Place, Sequence[Letter]] = field(default_factory=dict[Place, Sequence[Letter]])


class Turn:
    """One turn. Make it, feed it, take its work."""

    def __init__(self, setting: Setting, holdings: Holdings, known: Known, now_us: int) -> None:
        self._setting = setting
        self._holdings = holdings
        self._known = known
        self._now_us = now_us
        self._let_go: dict[str, Live] = {}
        self._errands = Errands(
            setting.definitions, holdings, self._hold, self._react, setting.facts.generation
        )
        self.work = Work()

    # ── what comes in ────────────────────────────────────────────────────────

    def receive(self, received: Received) -> None:
        """Take one record, and move past it."""
        shard = self._holdings.shards.get(received.partition)
        if shard is None or not self._is_next(shard, received):
            return
        envelope: Envelope | None = None
        try:
            envelope = unseal(received.headers, received.value)
            if received.topic == self._setting.topics.requests:
                self._request(shard, envelope, received)
            else:
                self._reply(shard, envelope.message)
        except (Unreadable, Nonsense) as error:
            self.work.buried.append(buried(self._setting, received, envelope, str(error)))
        self.work.positions[shard.id] = shard.position

    def resume(self, live: Live) -> None:
        """Ask again for what a transaction that was just taken over still lacks."""
        if live.gid not in self._holdings.live:
            return  # the saga that it is a part of has been resumed, and ended it
        self._apply(live, machine.resume(live.state, self._now_us))
        epoch = self._holdings.shards[live.shard].epoch
        self.work.trails.append(Trail(live, live.state, (), resumed=True, epoch=epoch))

    def rouse(self, live: Live) -> None:
        """Have somebody ready whose time is near."""
        self._apply(live, machine.resume(live.state, self._now_us))

    def let_rest(self, rested: Rested) -> None:
        """Forget somebody of whom the log says by now that it sleeps, if that is still so."""
        live = self._holdings.live.get(rested.gid)
        if live is not None and live.next_seq == rested.next_seq and not live.summary.active:
            self._holdings.forget(live)

    def wake(self, live: Live) -> None:
        """Let time do what it does to a transaction."""
        self._apply(live, machine.wake(live.state, self._now_us))

    def told(self, telling: Telling) -> None:
        """Note that an outcome is on its topic, if it is the one that is to be there."""
        live = self._holdings.live.get(telling.gid)
        if live is not None and live.state.tell_at_us == telling.again_us:
            self._react(live, Published())

    def looked(self, gid: str, event: Looked) -> None:
        """Hear what lay in the letter box."""
        live = self._holdings.live.get(gid)
        if live is not None:
            self._react(live, event)

    # ── requests ─────────────────────────────────────────────────────────────

    def _request(self, shard: Shard, envelope: Envelope, received: Received) -> None:
        begin = envelope.message
        if not isinstance(begin, Begin):
            raise Nonsense(f"a {type(begin).__name__} is no request")
        if not gids.is_start_key(begin.key):
            raise Nonsense(gids.KEY_RULE)
        if gids.shard_of_start(begin.definition, begin.key, self._setting.facts.shards) != shard.id:
            raise Nonsense(f"the key {begin.key!r} belongs to another partition than {shard.id}")
        definition = self._setting.definitions.newest(begin.definition)
        if definition is None:
            raise Nonsense(f"no definition named {begin.definition!r} is published")
        place, digest = (begin.definition, begin.key), input_hash(begin.input)
        before = self._holdings.starts.get(place) or self._known.starts.get(place)
        if before is not None:
            if before.input_hash != digest:
                self._refuse(shard, begin, definition, before.gid, "its input is another one")
            return
        try:
            definition.check_input(begin.input)
        except InputRefused as error:
            self._refuse(shard, begin, definition, "", str(error))
            return
        if missing := self._setting.absent(definition):
            reason = f"no instance of {' or '.join(missing)} lives, and it needs one"
            self._refuse(shard, begin, definition, "", reason)
            return
        unique = gids.unique_of_start(
            received.timestamp_ms, received.partition, received.offset, begin.key, definition.hash
        )
        self._begin(
            shard, definition, begin, unique=unique, cause=envelope.traceparent, digest=digest
        )

    def _begin(
        self,
        shard: Shard,
        definition: AnyDefinition,
        begin: Begin,
        *,
        unique: str,
        cause: str | None,
        digest: str,
    ) -> None:
        facts = self._setting.facts
        gid = str(gids.Gid(facts.name, facts.generation, shard.id, unique))
        context, parent = identity.root(gid, unique, cause, sampled=self._setting.sample())
        begun = Begun(
            definition=definition.hash,
            name=definition.name,
            version=definition.version,
            key=begin.key,
            input=begin.input,
            traceparent=context,
            parent_span=parent,
        )
        self._hold(gid, shard.id, definition, begun, digest)

    def _hold(
        self, gid: str, shard: int, definition: AnyDefinition, begun: Begun, digest: str
    ) -> None:
        """Let a transaction begin, and keep it in mind."""
        first = machine.begin(gid, definition, begun, self._now_us)
        summary = machine.summary(first.state)
        live = Live(gid, shard, first.state, digest, 0, summary)
        self.work.begun[gid] = Row(
            gid,
            shard,
            definition.name,
            definition.hash,
            begun.key,
            digest,
            self._now_us,
            *summary,
            search=terms(definition.index, begun.input, definition.private),
        )
        self._holdings.hold(live)
        self._apply(live, first)

    def _refuse(
        self, shard: Shard, begin: Begin, definition: AnyDefinition, gid: str, reason: str
    ) -> None:
        """Refuse a start where its starter can see it."""
        known = f"the key {begin.key!r} has begun {gid} already, and " if gid else ""
        message = OutcomeMessage(
            gid=gid,
            definition=definition.name,
            version=definition.version,
            key=begin.key,
            outcome="REFUSED",
            reason=known + reason,
        )
        record = sealed(self._setting, Send(None, message, begin.key), None)
        self._tell(Outgoing(shard.id, record), definition)

    # ── orders ───────────────────────────────────────────────────────────────

    def _order(self, shard: Shard, order: Order) -> None:
        """Do what a person says, or write down why not. The same order is obeyed once."""
        self._refuse_strangers(shard, order.gid)
        live = self._recall(order.gid) or self._called_back(order.gid)
        if live is None:
            raise Nonsense(f"the log has no transaction {order.gid}")
        if order.id in live.orders:
            step: Transition[Any] = Transition(live.state)
        else:
            live.orders.add(order.id)
            to = self._setting.definitions.of_version(live.state.begun.name, order.to)
            step = machine.obey(live.state, order, self._now_us, to)
        self._apply(live, step)

    def _recall(self, gid: str) -> Live | None:
        """Find a transaction, be it that it needed no owner; None if the log knows none."""
        live = self._holdings.live.get(gid)
        if live is not None or gid not in self._known.records:
            return live
        live = self._let_go.get(gid)
        if live is None:
            try:
                [live] = at_rest(self._known.records[gid], self._setting.definitions)
            except DefinitionGone as error:
                raise Nonsense(str(error)) from error
        self._holdings.hold(live)
        return live

    def _called_back(self, gid: str) -> Live | None:
        """Find a transaction that was held when the log would have been asked, and is no more."""
        live = self._let_go.get(gid)
        if live is not None:
            self._holdings.hold(live)
        return live

    # ── replies ──────────────────────────────────────────────────────────────

    def _reply(self, shard: Shard, message: AnyMessage) -> None:
        if isinstance(message, Order):
            self._order(shard, message)
            return
        if isinstance(message, Arrived):
            self._arrived(shard, message)
            return
        if isinstance(message, LockAsk | LockRelease):
            self._lock(shard, message)
            return
        if not isinstance(message, Reply | LockAnswer):
            raise Nonsense(f"a {type(message).__name__} is no reply")
        live = self._holdings.live.get(message.gid)
        if live is None or live.shard != shard.id:
            self._refuse_strangers(shard, message.gid)
            live = self._recall(message.gid)
        if live is not None:
            self._react(live, message)
        elif isinstance(message, Inquired):
            self._answer_from_log(shard, message)
        elif isinstance(message, LockGranted) and message.gid in self._known.over:
            release = LockRelease(gid=message.gid, lock=message.lock)
            self._let_leave(shard, Send(None, release, message.gid))

    def _lock(self, shard: Shard, message: LockAsk | LockRelease) -> None:
        """Let somebody claim a lock, or give it back."""
        if why := misplaced(message, self._setting.facts, shard.id):
            raise Nonsense(why)
        before = self._holdings.locks.get(message.lock)
        self._apply_lock(shard, before, lock.react(before, message, self._now_us))

    def probe(self, shard: int, before: Lock) -> None:
        """Ask a lock's holder whether it still lives."""
        self._apply_lock(self._holdings.shards[shard], before, lock.probe(before, self._now_us))

    def _apply_lock(self, shard: Shard, before: Lock, move: Transition[Any]) -> None:
        self._holdings.locks.keep(shard.id, move.state)
        for change in changed(shard.id, before, move.state):
            self.work.claims[change.lock, change.gid] = change
        for send in move.sends:
            self._let_leave(shard, send)

    def _let_leave(self, shard: Shard, send: Send) -> None:
        self.work.outgoing.append(Outgoing(shard.id, sealed(self._setting, send, None)))
        self._touch(shard.id)

    def _arrived(self, shard: Shard, message: Arrived) -> None:
        """Open a letter for somebody who waits for it, if it still does."""
        self._refuse_strangers(shard, message.gid)
        live = self._recall(message.gid)
        letters = self._known.letters.get((message.topic, message.key), ())
        if live is not None:
            self._react(live, Looked(message.step, tuple(letters), told=True))

    def _refuse_strangers(self, shard: Shard, gid: str) -> None:
        name = gids.parse(gid)
        if name is None or name.cluster != self._setting.facts.name:
            raise Nonsense(f"{gid!r} is no transaction of this cluster")
        if name.shard != shard.id:
            raise Nonsense(f"{gid} belongs to partition {name.shard}, not {shard.id}")

    def _answer_from_log(self, shard: Shard, inquired: Inquired) -> None:
        """Answer a branch in doubt of a transaction that has ended, or never was.

        Begin and decision are durable before anything is sent, so a name that
        the log lacks was never decided to commit: presumed abort. But not if
        the log was not asked, since the transaction was in memory when this
        turn began, and has ended since: the branch will ask again. And not of
        another generation: that log is lost, and may have decided to commit.
        """
        if not self._setting.definitions.names_participant(inquired.participant):
            raise Nonsense(f"no definition knows a participant {inquired.participant!r}")
        known, name = self._known, gids.parse(inquired.gid)
        assert name is not None, "strangers are refused before"
        if inquired.gid not in known.doubts:
            return
        if (
            inquired.gid not in known.decisions
            and name.generation != self._setting.facts.generation
        ):
            logger.warning("in_doubt_of_another_generation", gid=inquired.gid)
            return
        decision = known.decisions.get(inquired.gid, Decision.ABORT)
        if decision is None:
            return
        message = decision_message(inquired.gid, inquired.branch, decision)
        record = sealed(self._setting, Send(inquired.participant, message, inquired.gid), None)
        self.work.outgoing.append(Outgoing(shard.id, record))

    # ── transitions ──────────────────────────────────────────────────────────

    def _react(self, live: Live, event: Event) -> None:
        try:
            step = machine.react(live.state, event, self._now_us)
        except Exception as error:  # a bug of ours: it parks one transaction, not the shard
            if live.state.definition.private is None:
                logger.exception("transaction_parked_by_a_bug", gid=live.gid)
            else:  # what an error says may be about a value
                where = format_tb(error.__traceback__)[-1]
                logger.error("transaction_parked_by_a_bug", gid=live.gid, where=where)  # noqa: TRY400
            step = machine.park(live.state, f"a bug of the coordinator: {error!r}", self._now_us)
        self._apply(live, step)

    def _apply(self, live: Live, step: Transition[Any]) -> None:
        """Note a transition's records and messages; keep, or let go of, its state."""
        if step.dropped and live.summary.active:
            return  # nothing has changed, and it has its timer
        refusals = self._note(live, step)
        while refusals:  # one may lead to the next, a thousand times
            refusals += self._note(live, machine.react(live.state, refusals.pop(0), self._now_us))
        self._keep(live)
        self._errands.run()

    def _keep(self, live: Live) -> None:
        """Hold a transaction for as long as it needs an owner."""
        if live.summary.active:
            self._holdings.set_timer(live)
        elif live.summary.wake_at_us is not None:
            # The log must say so first: until then, a message finds it here.
            live.wake_us = None
            self.work.rested.append(Rested(live.gid, live.shard, live.next_seq))
            self._touch(live.shard)
        else:
            self._holdings.forget(live)
            self._let_go[live.gid] = live

    def _note(self, live: Live, step: Transition[Any]) -> list[Event]:
        before = live.state if live.next_seq else None
        self.work.note_waits(live, before, step)
        live.state = step.state
        entries: list[Entry] = []
        for seq, record in enumerate(step.records, live.next_seq):
            entries.append(entry := Entry(live.gid, seq, self._now_us, record))
            self.work.entries.append((live.shard, entry))
        live.next_seq += len(entries)
        self._errands.note(live, step)
        refusals = [no for send in step.sends if (no := self._send(live, send)) is not None]
        if entries or step.sends or step.looks:
            self.work.trails.append(Trail(live, before, tuple(entries)))
            self._touch(live.shard)
        self._show(live)
        return refusals

    def _show(self, live: Live) -> None:
        """Bring the transaction's row up to its state."""
        summary = machine.shown(live.state, self._now_us)
        if summary == live.summary:
            return
        live.summary = summary
        self.work.note_row(live, self._now_us)
        self._touch(live.shard)

    def _send(self, live: Live, send: Send) -> Event | None:
        """Let a message leave, or say what its receiver would have: too large."""
        message, root = send.message, live.state.begun.traceparent
        record = sealed(self._setting, send, root)
        size = len(record.value or b"") + len(record.key or b"")
        if size > MAX_BODY_BYTES:
            if not isinstance(message, OutcomeMessage):
                return too_large(message, size)
            told = structs.replace(message, output=None, reason=f"its output has {size} bytes")
            record = sealed(self._setting, send._replace(message=told), root)
        if isinstance(message, OutcomeMessage):
            telling = Telling(live.gid, live.state.tell_at_us)
            self._tell(Outgoing(live.shard, record, telling), live.state.definition)
        else:
            self.work.outgoing.append(Outgoing(live.shard, record))
        return None

    def _tell(self, outcome: Outgoing, definition: AnyDefinition) -> None:
        """Tell an outcome to all who want to hear it. One burst: all have it, or hear it again."""
        if (topic := definition.start.reply_to) is not None:
            also = structs.replace(outcome.record, topic=topic)
            self.work.outgoing.append(Outgoing(outcome.shard, also))
        self.work.outgoing.append(outcome)

    # ── places ───────────────────────────────────────────────────────────────

    def _is_next(self, shard: Shard, received: Received) -> bool:
        """Move past a record; False if it was read before."""
        if received.topic == self._setting.topics.requests:
            if received.offset < shard.requests_offset:
                return False
            shard.requests_offset = received.offset + 1
        else:
            if received.offset < shard.replies_offset:
                return False
            shard.replies_offset = received.offset + 1
        return True

    def _touch(self, shard: int) -> None:
        """See that a shard is written; where something was read, `receive` says how far."""
        if shard not in self.work.positions:
            self.work.positions[shard] = self._holdings.shards[shard].position
