"""An atomic transaction: what its branches may do, and what must be true of it.

Its branches are alike, so a state stands for all in which only their names
are exchanged.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from operator import le, lt
from typing import Any, Final

from msgspec.structs import replace

from coordinator.core.records import Decided, Decision, Ended, Hazard, Parked, Withdrawn, decode
from coordinator.core.records import encode as encode_record
from coordinator.core.two_phase import TwoPhase
from participants.branch import Answer, Asked, Report, Seen
from tests.core.coordinator.builders import GID, atomic, branch, constant
from tests.search.database import (
    SETTLES_NOTHING,
    Base,
    Deed,
    History,
    Wishes,
    perform,
    sight,
)
from tests.search.explore import Step, Violation
from tests.search.fair import Fairness
from tests.search.log import NOW, Log
from tests.search.owner import FAR, LONG_AGO, Core, Kind
from tests.search.shard import Ending, Faults, Numbers, Part, Shard, State, bits, describe
from wire.messages import Commit, End, Inquired, Prepare, Rollback, Settled, Vote, Voted

ME: Final = 0


# ── what can matter again ────────────────────────────────────────────────────


def _simplify(txn: TwoPhase) -> TwoPhase:
    decided = txn.decided
    return replace(
        txn,
        began_us=NOW,
        decided=None if decided is None else Decided(
            decision=decided.decision, awaited=decided.awaited
        ),
        decided_us=0,
        reason="",
        results={},
        asked={name: (FAR, 1) for name, (due_us, _) in txn.asked.items() if due_us > NOW},
        tell_at_us=FAR if txn.tell_at_us > NOW else 0,
    )  # fmt: skip


def _durable(txn: TwoPhase) -> Hashable:
    decided = txn.decided and (txn.decided.decision, txn.decided.awaited)
    return txn.phase, decided, tuple(sorted(txn.hazards.items())), txn.outcome


def _key(txn: TwoPhase) -> Hashable:
    return (
        _durable(txn),
        tuple(sorted(txn.votes.items())),
        tuple(sorted(txn.settled)),
        tuple(sorted(txn.asked)),
        txn.tell_at_us,
        txn.told,
    )


KIND: Final = Kind(_simplify, _key, _durable)


# ── the world ────────────────────────────────────────────────────────────────


class Atomic(Shard):
    """Some branches, each with a database of its own, and one asker at a time."""

    participant = "branch"

    def __init__(self, name: str, count: int, faults: Faults) -> None:
        names = tuple("abcd"[:count])
        definition = atomic(*(branch(n, data=constant(None)) for n in names))
        super().__init__(Core(definition, names, KIND), faults)
        self.name = name
        self.alone = count == 1
        self.bases: Numbers[Any] = Numbers(Base())
        self._ends: dict[Part, list[tuple[int, Ending]]] = {}
        self._read_only, self._yes = (
            1 << self.core.messages.number(Voted(gid=GID, branch=names[0], vote=vote))[1]
            for vote in (Vote.READ_ONLY, Vote.COMMIT)
        )
        self._owner_marks: dict[int, tuple[int, ...]] = {}
        self._mark_numbers: Numbers[Any] = Numbers()
        self._log_marks: dict[int, tuple[int, ...]] = {}
        self._renamed: dict[Any, int] = {}
        self._truths: dict[tuple[int, int, int], tuple[bool, bool]] = {}

        self._wish = Wishes()
        self._fair = Fairness(self)

    def start(self) -> State:
        """Return the first state."""
        return self.beginning(0)

    def steps(self, state: State) -> Iterator[Step]:
        """Yield all that can happen next."""
        yield from self.owner_steps(state)
        yield from self.branch_steps(state)

    def timers(self, view: int) -> Iterable[tuple[Hashable, TwoPhase]]:
        """Yield: everything unanswered is asked again; the time for all votes is over."""
        txn: TwoPhase = self.core[view]
        yield "it asks again", replace(txn, asked={}, tell_at_us=0)
        yield "the deadline passes", replace(txn, began_us=LONG_AGO)

    # ── branches ─────────────────────────────────────────────────────────────

    def branch_steps(self, state: State) -> Iterator[Step]:
        """Yield what branches may do with any message that was ever sent to them."""
        faults, parts = state.faults, state.parts
        for part, place in enumerate(parts):
            ends = self._ends.get(place)
            if ends is None:
                ends = self._ends[place] = list(self._answers(*place))
            for number, end in ends:
                if end.crashes > faults.crashes or end.moods > faults.moods:
                    continue
                left = faults
                if end.crashes or end.moods:
                    left = faults._replace(
                        crashes=faults.crashes - end.crashes, moods=faults.moods - end.moods
                    )
                after = (*parts[:part], (end.base, place[1] | end.said), *parts[part + 1 :])
                action = ("branch", part, number, end.how)
                yield Step(action, State(state.owner, state.log, after, left))

    def _answers(self, base: int, said: int) -> Iterator[tuple[int, Ending]]:
        """Yield how each command may end, unless that changes nothing."""
        for number in bits(said & self.core.messages.commands):
            for end in self.ends(0, base, number):
                if end.base == base and not end.said & ~said:
                    continue
                yes, read_only = (said | end.said) & self._yes, (said | end.said) & self._read_only
                if read_only and (yes or self.bases[end.base].prepared):
                    continue  # a handler writes whenever it runs, or never
                yield number, end

    def ends(self, part: int, base: int, number: int) -> Iterator[Ending]:
        """Yield how a command may end: the database, the answer, and the faults it took."""
        found: set[Any] = set()
        for asked in askings(self.core.messages[part, number]):
            for after, answer, crashes, moods, how in self._run(self.bases[base], asked, ()):
                said = 0
                if answer is not None:
                    said = 1 << self.core.messages.number(reply(self.core.names[part], answer))[1]
                end = Ending(self.bases.number(after), said, how, moods, crashes)
                if end._replace(how="") not in found:
                    found.add(end._replace(how=""))
                    yield end

    def _run(
        self, base: Base, asked: Asked, history: History
    ) -> Iterator[tuple[Base, Answer | None, int, int, str]]:
        """Let one asker go on to its end, or die before any of its deeds."""
        wanted = self._wish(asked, history)
        if isinstance(wanted, Answer | None):
            yield base.without(ME), wanted, 0, 0, f"{asked}: {wanted and wanted.answer}"
            return
        if history:
            yield base.without(ME), None, 1, 0, f"{asked}: it dies half way"
        if isinstance(wanted, Deed):
            for after, came in perform(base, ME, wanted):
                cost = int(came in SETTLES_NOTHING and not base.prepared)
                for end, answer, crashes, moods, how in self._run(
                    after, asked, (*history, Report(came))
                ):
                    yield end, answer, crashes, moods + cost, how
        else:
            yield from self._run(base, asked, (*history, sight(base, base.prepared)))

    def asks(self, part: int, base: int, said: int) -> tuple[Inquired, ...]:
        """Whoever is, or was, in doubt may have inquired."""
        if self.bases[base].prepared or said & self._yes:
            return (Inquired(gid=GID, branch=self.core.names[part], participant=""),)
        return ()

    # ── names ────────────────────────────────────────────────────────────────

    def canonical(self, state: State) -> tuple[State, tuple[int, ...]]:
        """Put the branches in an order of what can be seen of them."""
        parts = tuple((base, self.answered(0, base, said)) for base, said in state.parts)
        state = State(state.owner, state.log, parts, state.faults)
        if all(map(lt, parts, parts[1:])):
            return state, ()
        marks = tuple(
            zip(
                parts,
                self._marks_of_owner(state.owner),
                self._marks_of_log(state.log),
                strict=True,
            )
        )
        if all(map(le, marks, marks[1:])):
            return state, ()
        order = tuple(sorted(range(len(marks)), key=marks.__getitem__))
        parts = tuple(state.parts[i] for i in order)
        owner, log = self._rename_owner(state.owner, order), self._rename_log(state.log, order)
        return State(owner, log, parts, state.faults), order

    def _marks_of_owner(self, number: int) -> tuple[int, ...]:
        found = self._owner_marks.get(number)
        if found is None:
            found = tuple(
                self._mark_numbers.number(self._mark_in_view(number, n)) for n in self.core.names
            )
            self._owner_marks[number] = found
        return found

    def _marks_of_log(self, number: int) -> tuple[int, ...]:
        found = self._log_marks.get(number)
        if found is None:
            found = tuple(
                self._mark_numbers.number(self._mark_in_log(self.logs[number], n))
                for n in self.core.names
            )
            self._log_marks[number] = found
        return found

    def _mark_in_view(self, number: int, name: str) -> Hashable:
        owner = self.owners[number]
        if owner is None or owner.view < 0:
            return ()
        txn: TwoPhase = self.core[owner.view]
        awaited = txn.decided is not None and name in txn.decided.awaited
        end, vote = txn.hazards.get(name, ""), txn.votes.get(name, "")
        return vote, name in txn.settled, end, name in txn.asked, awaited

    def _mark_in_log(self, log: Log, name: str) -> Hashable:
        return tuple(
            name in record.awaited
            if isinstance(record, Decided)
            else getattr(record, "branch", None) == name
            for record in log.facts
        )

    def _rename_owner(self, number: int, order: tuple[int, ...]) -> int:
        owner = self.owners[number]
        if owner is None or owner.view < 0:
            return number
        place = (number, order)
        if place not in self._renamed:
            to = self._names(order)
            txn: TwoPhase = self.core[owner.view]
            view = self.core.number(
                replace(
                    txn,
                    decided=txn.decided and _renamed(txn.decided, to),
                    hazards={to[n]: end for n, end in txn.hazards.items()},
                    votes={to[n]: vote for n, vote in txn.votes.items()},
                    settled=frozenset(to[n] for n in txn.settled),
                    asked={to[n]: at for n, at in txn.asked.items()},
                )
            )
            self._renamed[place] = self.owners.number(owner._replace(view=view))
        return self._renamed[place]

    def _rename_log(self, number: int, order: tuple[int, ...]) -> int:
        place = ("log", number, order)
        if place not in self._renamed:
            log, to = self.logs[number], self._names(order)
            records = tuple(encode_record(_renamed(decode(text), to)) for text in log.records)
            self._renamed[place] = self.logs.number(log._replace(records=records))
        return self._renamed[place]

    def _names(self, order: tuple[int, ...]) -> dict[str, str]:
        names = self.core.names
        return {names[old]: names[new] for new, old in enumerate(order)}

    # ── what must be true ────────────────────────────────────────────────────

    def check_log(self, log: Log, action: tuple[Any, ...]) -> None:
        """Decided once, and nobody has interfered."""
        super().check_log(log, action)
        if sum(isinstance(r, Decided) for r in log.facts) > 1:
            raise Violation("decided twice", action)
        if any(isinstance(r, Hazard | Parked) for r in log.facts):
            raise Violation("a hazard, though nobody has interfered", action)

    def check(self, state: State) -> None:
        """Check every branch against the log, and all branches against each other."""
        committed = rolled_back = False
        for base, said in state.parts:
            place = (state.log, base, said)
            ends = self._truths.get(place)
            if ends is None:
                self._check_branch(self.logs[state.log], self.bases[base], self._all(said))
                ends = self._truths[place] = self._is_over(base, said)
            committed |= ends[0]
            rolled_back |= ends[1]
        if committed and rolled_back:
            raise Violation("one branch has committed, and another has rolled back")
        self._fair.check(state)

    def _all(self, said: int) -> list[Any]:
        return [self.core.messages[0, number] for number in bits(said)]

    def _is_over(self, base: int, said: int) -> tuple[bool, bool]:
        marker = self.base(base).marker
        read_only = any(isinstance(m, Voted) and m.vote is Vote.READ_ONLY for m in self._all(said))
        return marker is Seen.COMMITTED, marker is Seen.ROLLED_BACK and not read_only

    def base(self, number: int) -> Base:
        """Return what a branch's database says."""
        found: Base = self.bases[number]
        return found

    def _check_branch(self, log: Log, base: Any, said: list[Any]) -> None:
        base = base if isinstance(base, Base) else base.base
        facts = log.facts
        decision = next((r.decision for r in facts if isinstance(r, Decided)), None)
        asked_back = decision is Decision.ABORT or any(isinstance(r, Withdrawn) for r in facts)
        votes = {m.vote for m in said if isinstance(m, Voted)}
        ends = {m.end for m in said if isinstance(m, Settled)}
        commit, abort = decision is Decision.COMMIT, decision is Decision.ABORT
        holds = base.prepared or base.marker is Seen.COMMITTED
        truths = {
            "Commit is sent, and not decided": not _said(said, Commit) or commit,
            "Rollback is sent, and not decided": not _said(said, Rollback) or asked_back,
            "committed, and not decided": base.marker is not Seen.COMMITTED or commit or self.alone,
            "decided to commit without a durable yes": not commit
            or holds
            or Vote.READ_ONLY in votes,
            "decided to abort, and committed": not abort or base.marker is not Seen.COMMITTED,
            "rolled back by nobody, after a yes": Vote.COMMIT not in votes
            or base.marker is not Seen.ROLLED_BACK
            or asked_back,
            "prepared or committed after its rollback was acknowledged": not holds
            or not (End.ROLLED_BACK in ends or Vote.ABORT in votes),
            "acknowledged as committed, and it is not": base.marker is Seen.COMMITTED
            or not (End.COMMITTED in ends or Vote.COMMITTED in votes),
            "two effects": base.effects <= 1,
            "a hazard, though nobody has interfered": End.HAZARD not in ends,
            "ended, and a branch does not know": not any(isinstance(r, Ended) for r in facts)
            or self._knows_its_end(base, decision, votes),
        }
        for text, so in truths.items():
            if not so:
                raise Violation(text)

    def _knows_its_end(self, base: Base, decision: Decision | None, votes: set[Vote]) -> bool:
        end = Seen.COMMITTED if decision is Decision.COMMIT else Seen.ROLLED_BACK
        return base.marker is end or Vote.READ_ONLY in votes

    # ── in words ─────────────────────────────────────────────────────────────

    def tell(self, action: tuple[Any, ...], names: tuple[int, ...]) -> str:
        """Say in words what happened."""
        match action:
            case ("branch", part, number, how):
                name = self.named(part, names)
                said = describe(self.core.messages[part, number])
                return f"branch {name} is given {said}; {how}"
            case _:
                return self.tell_owner(action, names)


def _said(said: list[Any], kind: type) -> bool:
    return any(isinstance(message, kind) for message in said)


def _renamed(record: Any, to: dict[str, str]) -> Any:
    if isinstance(record, Decided):
        awaited = tuple(sorted(to[name] for name in record.awaited))
        return Decided(decision=record.decision, awaited=awaited)
    return record


def askings(message: Any) -> tuple[Asked, ...]:
    """Tell how a command may be understood: clocks differ, and some know no one phase."""
    match message:
        case Prepare(one_phase=True):
            return Asked.PREPARE_ALONE, Asked.PREPARE, Asked.PREPARE_LATE
        case Prepare():
            return Asked.PREPARE, Asked.PREPARE_LATE
        case Commit():
            return (Asked.COMMIT,)
        case _:
            return (Asked.ROLLBACK,)


def reply(name: str, answer: Answer) -> Voted | Settled:
    """Put an answer into a message."""
    if isinstance(answer.answer, Vote):
        return Voted(gid=GID, branch=name, vote=answer.answer)
    return Settled(gid=GID, branch=name, end=answer.answer)
