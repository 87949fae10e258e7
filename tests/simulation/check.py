"""What must be so, at every step and at the end.

The invariants know nothing of the product's memory: they see what reaches the
log, the topics and the databases, at the moment it does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from coordinator.core.records import (
    AnyRecord,
    Begun,
    ChildBegan,
    ChildEnded,
    ChildRevoked,
    Closed,
    CompensationBegan,
    Decided,
    Decision,
    Entry,
    Locked,
    Moved,
    Parked,
    StepDone,
    StepSkipped,
    StepSpread,
    UndoFailed,
    Withdrawn,
)
from coordinator.core.records import Outcome as Ending
from coordinator.core.transition import Status
from coordinator.log.store import Batch, Position
from sagas.model import (
    AnyDefinition,
    Atomic,
    Group,
    OnRefused,
    OnTimeout,
    OnUndoFailure,
    Saga,
    Step,
    SubSaga,
    Wait,
)
from tests.simulation import database as databases
from tests.simulation import log as logs
from tests.simulation.database import Database, Effect, Marker, Transaction
from tests.simulation.facts import Facts, Part, built_on, did, has_row, named, of_saga, wanted
from tests.simulation.kafka import UNREADABLE
from tests.simulation.trace import Trace, leaf, short
from wire.envelope import Record, unseal
from wire.messages import (
    AnyMessage,
    Commit,
    Compensate,
    Compensated,
    End,
    Execute,
    Executed,
    LockMessage,
    LockRelease,
    Outcome,
    Prepare,
    Result,
    Rollback,
    Settled,
    Vote,
    Voted,
)


class Check(logs.Watching, databases.Watching):
    """Everything that is watched while a run goes on. The first violation counts."""

    def __init__(
        self, trace: Trace, by_hash: Mapping[str, AnyDefinition], ring: Callable[[], None]
    ) -> None:
        self.trace, self.by_hash, self.ring = trace, by_hash, ring
        self.databases: dict[str, Database] = {}
        self.violation: tuple[str, str] | None = None
        self.lost = False
        """Whether the log was restored: it may then know that something came, not what."""
        self.facts: dict[str, Facts] = {}
        self.parts: dict[str, Facts] = {}
        """What a log that was lost said of transactions that did a step of a saga."""
        self.epochs: dict[int, int] = defaultdict(int)
        self.said_aborted: set[Part] = set()
        self.said_read_only: set[Part] = set()
        self.said_refused: set[Part] = set()
        self.said_undone: set[Part] = set()
        self.effects: Counter[Effect] = Counter()
        self.happened: Counter[tuple[str, str, bool]] = Counter()
        self.outcomes: dict[str, set[str]] = defaultdict(set)
        self.buried: set[bytes] = set()
        self.tenures_ended: Counter[str] = Counter()
        self.generation = 1
        """Of the log. What lower ones say is void, if anybody hears it at all."""
        self._offsets: dict[int, tuple[int, int]] = {}
        self.recovering = False
        """Whether a restored log is being brought up to date: two may turn out to have a lock."""
        self._holders: dict[str, set[str]] = defaultdict(set)

    def insist(self, holds: object, invariant: str, text: str) -> None:
        """Note a violation, unless it holds."""
        if not holds and self.violation is None:
            self.violation = (invariant, text)
            self.trace.note("VIOLATION", f"{invariant}: {text}")

    # ── processes ────────────────────────────────────────────────────────────

    def bug(self, name: str, group: BaseExceptionGroup[BaseException]) -> None:
        """See a process fail in a way that nobody has foreseen."""
        self.insist(
            holds=False, invariant="no unforeseen exception", text=f"{name}: {leaf(group)!r}"
        )

    def tenure_ended(self, group: BaseExceptionGroup[BaseException]) -> None:
        """See a tenure end as it may."""
        self.tenures_ended[type(leaf(group)).__name__] += 1

    # ── the log ──────────────────────────────────────────────────────────────

    def restored(self, log: logs.SimLog) -> None:
        """See the log go back: what it says now is all it says. What others know, they know."""
        self.parts |= {gid: one for gid, one in self.facts.items() if one.part_of}
        self.facts.clear()
        self.lost = True
        self.recovering = True
        self._holders.clear()
        for gid in log.rows:
            entries = log.entries(gid)
            for entry in entries:
                self._recorded(entry)
        self.facts = {**self.parts, **self.facts}
        self.epochs = defaultdict(int, {n: p.epoch for n, p in log.positions.items()})
        self._offsets.clear()

    def claimed(self, replica: str, positions: Sequence[Position]) -> None:
        for position in positions:
            self.insist(position.epoch > self.epochs[position.shard], "epochs rise", f"{position}")
            self.epochs[position.shard] = position.epoch
            self.trace.note(replica, f"owns shard {position.shard}, epoch {position.epoch}")

    def released(self) -> None:
        self.ring()

    def refused(self, why: str) -> None:
        self.insist(holds=False, invariant="a place in the log is taken once", text=why)

    def persisted(self, batch: Batch, counted: frozenset[int]) -> None:
        for position in batch.positions:
            if position.shard in counted:
                self._moved(position)
        for shard, entry in batch.entries:
            if shard in counted:
                self._recorded(entry)
        for row in (*batch.begun, *batch.changes):
            wakes = row.active or row.status is not Status.OPEN or row.wake_at_us is not None
            self.insist(wakes, "who sleeps wakes again", row.gid)

    def _moved(self, position: Position) -> None:
        shard, epoch = position.shard, position.epoch
        self.insist(
            epoch == self.epochs[shard],
            "no lower epoch writes",
            f"shard {shard}: {epoch} after {self.epochs[shard]}",
        )
        offsets = (position.requests_offset, position.replies_offset)
        before = self._offsets.get(shard, (0, 0))
        self.insist(
            offsets[0] >= before[0] and offsets[1] >= before[1],
            "offsets rise",
            f"shard {shard}: {offsets} after {before}",
        )
        self._offsets[shard] = offsets

    def _recorded(self, entry: Entry) -> None:
        gid, record = entry.gid, entry.record
        self.trace.note("log", f"{short(gid)} {entry.seq} {record}")
        if isinstance(record, Begun):
            self.insist(gid not in self.facts or gid in self.parts, "begun once", gid)
            self.parts.pop(gid, None)
            self.facts[gid] = Facts(self.by_hash[record.definition], part_of=of_saga(record))
        facts = self.facts[gid]
        self.insist(entry.seq == facts.entries, "no gap in the log", f"{gid} {entry.seq}")
        facts.entries += 1
        self._of_a_lock(facts, record, gid)
        match record:
            case Decided():
                self._decided(gid, facts, record)
            case Withdrawn() | CompensationBegan():
                facts.withdrawn |= isinstance(record, Withdrawn)
                facts.going_back |= isinstance(record, CompensationBegan)
                facts.outcome = None
            case StepDone():
                self.insist(
                    self.happened[gid, record.step, False] == 1
                    or facts.saga.steps[record.step].call is None,
                    "what is recorded as done was done",
                    f"{gid} {record.step}",
                )
                self._waited(gid, facts.saga.steps[record.step], record)
                self.insist(facts.does(record.step), "done once", f"{gid} {record}")
            case StepSkipped():
                self._skipped(gid, facts, record)
            case StepSpread() | Moved():
                fits = facts.goes_otherwise(record, self.by_hash)
                self.insist(fits, "a version fits what is done", f"{gid} {record}")
            case UndoFailed(retry_at_us=None):
                self._stuck(facts, record.step)
            case Closed() | Parked():
                self.insist(
                    "a bug" not in record.reason, "no transaction parked by a bug", record.reason
                )
                facts.tells(record.outcome)
            case _:
                self._of_a_child(gid, facts, record)

    def _stuck(self, facts: Facts, name: str) -> None:
        if facts.saga.steps[name].on_undo_failure is OnUndoFailure.CONTINUE:
            facts.stuck.add(name)

    def _skipped(self, gid: str, facts: Facts, record: StepSkipped) -> None:
        step = facts.saga.steps[record.step]
        if record.refused:
            may = step.on_refused is OnRefused.CONTINUE
            gone = may and not self.happened[gid, record.step, False]
            self.insist(gone, "gone without what was refused", f"{gid} {record.step}")
            facts.without.add(record.step)
        else:
            unwanted = not wanted(facts.saga, record.step) or facts.goes_without(record.step)
            self.insist(unwanted, "only what is not wanted is skipped", f"{gid} {record.step}")
        facts.steps_done.add(record.step)

    def _waited(self, gid: str, step: Step, record: StepDone) -> None:
        """Insist that what was waited for came, or need not."""
        if isinstance(step.work, Wait):
            without = step.work.on_timeout is OnTimeout.CONTINUE
            came = without or self.lost if record.data is None else record.data["true"]
            self.insist(came, "only the event that is meant is taken", f"{gid} {record}")

    def _of_a_lock(self, facts: Facts, record: AnyRecord, gid: str) -> None:
        facts.closes(record)
        if facts.closed:
            for who in self._holders.values():
                who.discard(gid)
        elif isinstance(record, Locked) and not record.beside:
            holders = self._holders[record.lock]
            holders.add(gid)
            alone = self.recovering or holders == {gid}
            self.insist(alone, "a lock has one holder", f"{record.lock}: {sorted(holders)}")

    def _of_a_child(self, gid: str, facts: Facts, record: AnyRecord) -> None:
        if isinstance(record, ChildBegan):
            self.insist(record.child not in facts.children, "a child begins once", gid)
            facts.children.add(record.child)
        elif isinstance(record, ChildRevoked):
            facts.returned.discard(record.child)  # it has ended, and ends once more
        elif isinstance(record, ChildEnded):
            facts.returned.add(record.child)
            child = self.facts.get(record.child)
            agreed = child is None or child.outcome == record.outcome
            agreed |= self.recovering  # what came after it has shown so
            self.insist(agreed, "a saga knows how its child has ended", f"{record}")

    def _decided(self, gid: str, facts: Facts, record: Decided) -> None:
        self.insist(facts.decision is None, "decided once", gid)
        facts.decision = record.decision
        commit = record.decision is Decision.COMMIT
        facts.tells(Ending.COMMITTED if commit else Ending.ABORTED)
        if commit:
            for branch in facts.atomic.branches:
                self.insist(
                    self._yes_is_durable(gid, branch, facts),
                    "commit only when every yes is durable",
                    f"{gid} {branch}",
                )

    def _yes_is_durable(self, gid: str, branch: str, facts: Facts) -> bool:
        database = self._database(facts, branch)
        return (
            f"{gid}.{branch}" in database.prepared
            or (gid, branch) in self.said_read_only
            or has_row(database, gid, branch, "committed")
        )

    def _database(self, facts: Facts, part: str) -> Database:
        definition = facts.definition
        if isinstance(definition, Atomic):
            return self.databases[definition.branches[part].call.participant]
        call = definition.steps[part].call
        assert call is not None, f"{part} asks nobody"
        return self.databases[call.participant]

    # ── what coordinators say ────────────────────────────────────────────────

    def sends(self, record: Record) -> None:
        """See a record at the moment that it is handed over: the log must have its reason."""
        if any(name == "twofold-reason" for name, _ in record.headers):
            self.insist(
                record.value == UNREADABLE, "nothing else is buried", str(record.headers[-2:])
            )
            return
        envelope = unseal(record.headers, record.value)
        if envelope.generation is not None and envelope.generation < self.generation:
            return
        message = envelope.message
        match message:
            case Outcome(outcome="REFUSED"):
                return
            case Outcome():
                facts = self.facts.get(message.gid)
                ok = facts is not None and message.outcome in facts.told
                self.insist(ok, "no outcome before its record", f"{message}")
            case Commit():
                facts = self.facts.get(message.gid)
                ok = facts is not None and facts.decision is Decision.COMMIT
                self.insist(ok, "no commit before its record", f"{message}")
            case Rollback():
                facts = self.facts.get(message.gid)
                ok = facts is None or facts.decision is Decision.ABORT or facts.withdrawn
                self.insist(ok, "no rollback before its record", f"{message}")
            case Prepare():
                facts = self.facts.get(message.gid)
                self.insist(facts, "no command before its record", f"{message}")
                known = facts is None or message.branch in facts.atomic.branches
                self.insist(known, "asked as its own definition says", f"{message}")
            case Execute() | Compensate():
                self._asks_step(message)
            case _:
                self._speaks_of_a_lock(message)

    def _speaks_of_a_lock(self, message: AnyMessage) -> None:
        known = isinstance(message, LockMessage)
        self.insist(known, "coordinators know what to say", f"{message}")
        if isinstance(message, LockRelease):
            facts = self.facts.get(message.gid)
            over = facts is None or facts.closed or message.gid in self.parts
            self.insist(over, "no lock is given back before the end", f"{message}")

    def _asks_step(self, message: Execute | Compensate) -> None:
        facts = self.facts.get(message.gid)
        if facts is None:
            self.insist(facts, "no command before its record", f"{message}")
            return
        step = facts.saga.steps.get(message.step)
        self.insist(step, "asked as its own definition says", f"{message}")
        if step is None:
            return
        if isinstance(message, Compensate):
            self.insist(facts.going_back, "no undo before its record", f"{message}")
        else:
            ready = facts.steps_done.issuperset(step.needs)
            self.insist(ready, "a step follows what it needs", f"{message}")

    # ── what participants say ────────────────────────────────────────────────

    def said(self, record: Record) -> None:
        """See an answer at the moment that it is handed over."""
        message = unseal(record.headers, record.value).message
        match message:
            case Voted(vote=Vote.ABORT):
                self.said_aborted.add((message.gid, message.branch))
            case Voted(vote=Vote.READ_ONLY):
                self.said_read_only.add((message.gid, message.branch))
            case Settled(end=End.ROLLED_BACK):
                self.said_aborted.add((message.gid, message.branch))
            case Settled(end=End.COMMITTED):
                name = self._database(self.facts[message.gid], message.branch)
                self.insist(
                    has_row(name, message.gid, message.branch, "committed"),
                    "an acknowledged commit is visible",
                    f"{message}",
                )
            case Settled():
                self.insist(holds=False, invariant="nobody breaks a promise", text=f"{message}")
            case Executed(result=Result.DONE):
                self.insist(
                    self.happened[message.gid, message.step, False] == 1,
                    "what is told as done was done",
                    f"{message}",
                )
            case Executed(result=Result.REFUSED):
                self.said_refused.add((message.gid, message.step))
            case Compensated(result=Result.DONE):
                self.said_undone.add((message.gid, message.step))
            case _:
                pass

    # ── participants' databases ──────────────────────────────────────────────

    def prepared(self, database: Database, name: str) -> None:
        gid, branch = named(name)
        self.trace.note(database.name, f"prepared {short(gid)} {branch}")
        self.insist(
            (gid, branch) not in self.said_aborted, "what was told as aborted stays so", name
        )
        facts = self.facts[gid]
        self.insist(
            facts.decision is not Decision.COMMIT or (gid, branch) in self.said_read_only,
            "nothing is prepared after its commit",
            name,
        )

    def committed(self, database: Database, transaction: Transaction) -> None:
        for key, row in transaction.rows.items():
            if key[0] == "branch":
                self._marked(database, key[1], key[2], row)
        for effect in transaction.effects:
            self._effect(database, effect)

    def _marked(self, database: Database, gid: str, branch: str, row: Marker) -> None:
        self.trace.note(database.name, f"{row.status} {short(gid)} {branch}")
        facts, part = self.facts[gid], (gid, branch)
        if row.status == "committed":
            alone = len(facts.atomic.branches) == 1 and facts.decision is None
            self.insist(
                alone or facts.decision is Decision.COMMIT,
                "agreement: nothing commits unless all do",
                f"{gid} {branch}, {facts.decision}",
            )
            self.insist(part not in self.said_aborted, "what was told as aborted stays so", gid)
        else:
            self.insist(
                facts.decision is not Decision.COMMIT or part in self.said_read_only,
                "agreement: nothing aborts where others commit",
                f"{gid} {branch}",
            )

    def rolled_back(self, database: Database, name: str) -> None:
        gid, branch = named(name)
        self.trace.note(database.name, f"rolled back {short(gid)} {branch}")
        facts = self.facts.get(gid)
        self.insist(
            facts is not None and (facts.decision is Decision.ABORT or facts.withdrawn),
            "a yes binds until the decision",
            name,
        )

    def _effect(self, database: Database, effect: Effect) -> None:
        gid, name, undo, _ = effect
        self.trace.note(database.name, f"{'undid' if undo else 'did'} {short(gid)} {name}")
        facts = self.facts[gid]
        self.happened[gid, name, undo] += 1
        self.insist(self.happened[gid, name, undo] == 1, "each effect once", f"{effect}")
        if isinstance(facts.definition, Atomic):
            return
        part = (gid, name)
        if not undo:
            late = part in self.said_undone or part in self.said_refused
            self.insist(not late, "a late step is refused", f"{effect}")
            self._follows(facts.definition, effect)
            return
        self.insist(self.happened[gid, name, False], "an undo follows its step", f"{effect}")
        final = any(
            self.happened[gid, step.name, False]
            for step in facts.definition.steps.values()
            if step.confirms == name
        )
        self.insist(not final, "what is confirmed is not cancelled", f"{effect}")
        for above in built_on(facts.definition, name):
            self.insist(
                not self._stands(gid, above)
                or facts.definition.steps[above].undo is None
                or above in facts.stuck,
                "undone in reverse order",
                f"{effect} before {above}",
            )

    def _follows(self, definition: Saga, effect: Effect) -> None:
        gid, name = effect.gid, effect.name
        self.insist(wanted(definition, name), "what is not wanted is not done", f"{effect}")
        if name not in definition.steps:
            return
        for need in definition.steps[name].needs:
            ready = self._is_over(gid, definition, need)
            self.insist(ready, "a step follows what it needs", f"{effect}")
        tried = definition.steps[name].confirms
        cancelled = tried is not None and self.happened[gid, tried, True]
        self.insist(not cancelled, "what is cancelled is not confirmed", f"{effect}")

    def _is_over(self, gid: str, definition: Saga, name: str) -> bool:
        """Tell whether a step was done, or was not to be: for a gate, whether all before it are."""
        step = definition.steps[name]
        if not isinstance(step.work, Group | SubSaga) and step.call is None:
            return all(self._is_over(gid, definition, need) for need in step.needs)
        skipped = not wanted(definition, name) or self.facts[gid].goes_without(name)
        # A saga that was done may be going back by now, as what is late is being done.
        was_done = isinstance(step.work, SubSaga) and name in self.facts[gid].steps_done
        done = bool(self.happened[gid, name, False]) or did(self.facts, gid, name)
        return done or was_done or skipped

    def _stands(self, gid: str, name: str) -> bool:
        """Tell whether a step is done and not undone; a saga, whether it has not gone back yet."""
        if not isinstance(self.facts[gid].saga.steps[name].work, SubSaga):
            return self.happened[gid, name, False] > self.happened[gid, name, True]
        gone, part = (Ending.COMPENSATED, Ending.ABORTED), (gid, name, False)
        return any(f.part_of == part and f.outcome not in gone for f in self.facts.values())
