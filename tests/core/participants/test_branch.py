"""The table of a branch, and what holds however its askers interleave."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from participants.branch import (
    AFTER_WORK,
    ROUNDS,
    RULES,
    Answer,
    Asked,
    Came,
    Do,
    Report,
    Seen,
    Sight,
    pursue,
)
from wire.messages import End, Vote

QUESTIONS = {Asked.PREPARE, Asked.PREPARE_ALONE, Asked.PREPARE_LATE}
DECISIONS = {Asked.COMMIT, Asked.ROLLBACK}


class Turn:
    """Lets somebody else go on in between."""

    def __await__(self) -> Generator[None]:
        yield


class Base:
    """A database with one branch in it: what Postgres promises, and nothing more."""

    def __init__(self) -> None:
        self.marker: Seen | None = None
        self.reason = ""
        self.prepared = False
        self.at_work: Session | None = None  # its marker row is there, uncommitted
        self.effects = 0

    @property
    def seen(self) -> Seen:
        if self.marker is not None:
            return self.marker
        return Seen.PREPARED if self.prepared else Seen.FRESH

    def has_row(self, session: Session) -> bool:
        """Whether somebody else's row keeps this session from inserting its own."""
        return self.prepared or (self.at_work is not None and self.at_work is not session)


class Session:
    """One asker's connection. ``outcomes`` is what its handler will say."""

    def __init__(self, base: Base, outcome: Came = Came.DONE, *, slots: bool = True) -> None:
        self.base, self.outcome, self.slots = base, outcome, slots
        self.worked = 0

    async def look(self) -> Sight:
        await Turn()
        prepared = self.base.prepared
        await Turn()
        if self.base.marker is not None:
            return Sight(self.base.marker, reason=self.base.reason)
        return Sight(Seen.PREPARED if prepared else Seen.FRESH)

    async def perform(self, do: Do, reason: str, patience: int) -> Report:
        await Turn()
        match do:
            case Do.WORK:
                return await self._work(patience)
            case Do.PREPARE | Do.COMMIT_WORK:
                return self._end_work(prepare=do is Do.PREPARE)
            case Do.MARK:
                self.discard()
                await Turn()
                return self._mark(reason)
            case Do.COMMIT_PREPARED | Do.ROLL_BACK_PREPARED:
                return self._end(commit=do is Do.COMMIT_PREPARED)
            case Do.DISCARD | Do.NOTHING:
                self.discard()
                return Report(Came.TOOK)

    async def _work(self, patience: int) -> Report:
        if self.base.marker is not None:
            return Report(Came.STALE)
        if self.base.has_row(self):
            return Report(Came.BUSY if patience else Came.STALE)
        self.base.at_work = self
        await Turn()
        self.worked += 1
        return Report(self.outcome, reason="" if self.outcome is Came.DONE else str(self.outcome))

    def _mark(self, reason: str) -> Report:
        if self.base.marker is not None or self.base.has_row(self):
            return Report(Came.STALE)
        self.base.marker, self.base.reason = Seen.ROLLED_BACK, reason
        return Report(Came.TOOK)

    def _end(self, *, commit: bool) -> Report:
        if not self.base.prepared:
            return Report(Came.STALE)
        self.base.prepared = False
        if commit:
            self.base.marker = Seen.COMMITTED
            self.base.effects += 1
        return Report(Came.TOOK)

    def _end_work(self, *, prepare: bool) -> Report:
        assert self.base.at_work is self
        self.base.at_work = None
        if not self.slots:
            return Report(Came.BUSY, reason="no slot")
        if prepare:
            self.base.prepared = True
        else:
            self.base.marker = Seen.COMMITTED
            self.base.effects += 1
        return Report(Came.TOOK)

    def discard(self) -> None:
        """What the server does as well when the connection is lost."""
        if self.base.at_work is self:
            self.base.at_work = None


def finish(coroutine: Coroutine[Any, Any, Answer | None]) -> Answer | None:
    """Run to the end, alone."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as stop:
        return stop.value


def ask(
    base: Base, asked: Asked, outcome: Came = Came.DONE, *, slots: bool = True
) -> Answer | None:
    expected = Seen.PREPARED if asked in DECISIONS else Seen.FRESH
    return finish(pursue(asked, expected, Session(base, outcome, slots=slots)))


# ── the tables ───────────────────────────────────────────────────────────────


def test_every_pair_is_there() -> None:
    """No state and no command is left unsaid."""
    assert RULES.keys() == set(product(Seen, Asked))


def test_every_end_of_work_is_there() -> None:
    """A late Prepare never works, so it has none."""
    ends = {Came.DONE, Came.READ_ONLY, Came.REFUSED, Came.FAILED, Came.BUSY}
    assert AFTER_WORK.keys() == set(product({Asked.PREPARE, Asked.PREPARE_ALONE}, ends))
    assert RULES[Seen.FRESH, Asked.PREPARE_LATE].do is not Do.WORK


def test_questions_get_votes_and_decisions_get_ends() -> None:
    for (_, asked), found in RULES.items():
        if found.answer is not None:
            assert isinstance(found.answer, Vote if asked in QUESTIONS else End)


def test_work_is_done_only_where_nothing_is_known() -> None:
    """Twice the work would be twice the effect."""
    where = {pair for pair, found in RULES.items() if found.do is Do.WORK}
    assert where == {(Seen.FRESH, Asked.PREPARE), (Seen.FRESH, Asked.PREPARE_ALONE)}


def test_only_a_decision_ends_what_is_prepared() -> None:
    """A yes binds."""
    ends = {Do.COMMIT_PREPARED, Do.ROLL_BACK_PREPARED}
    assert {pair: found.do for pair, found in RULES.items() if found.do in ends} == {
        (Seen.PREPARED, Asked.COMMIT): Do.COMMIT_PREPARED,
        (Seen.PREPARED, Asked.ROLLBACK): Do.ROLL_BACK_PREPARED,
    }


def test_committed_is_claimed_only_of_what_is_committed() -> None:
    """Not found is no proof."""
    for (seen, _), found in RULES.items():
        if found.answer in {End.COMMITTED, Vote.COMMITTED}:
            assert seen is Seen.COMMITTED or found.do is Do.COMMIT_PREPARED


def test_rolled_back_is_claimed_only_with_a_marker() -> None:
    for (seen, _), found in RULES.items():
        if found.answer in {End.ROLLED_BACK, Vote.ABORT} and seen is not Seen.ELSEWHERE:
            assert seen is Seen.ROLLED_BACK or found.do is Do.MARK


# ── one asker at a time ──────────────────────────────────────────────────────


def test_a_refusal_keeps_its_reason() -> None:
    base = Base()

    assert ask(base, Asked.PREPARE, Came.REFUSED) == Answer(Vote.ABORT, None, "refused")
    assert ask(base, Asked.PREPARE) == Answer(Vote.ABORT, None, "refused")
    assert ask(base, Asked.ROLLBACK) == Answer(End.ROLLED_BACK, None, "refused")


def test_a_rollback_has_no_reason_of_its_own() -> None:
    """The coordinator knows why; its reason must not be overwritten."""
    base = Base()
    ask(base, Asked.PREPARE)

    assert ask(base, Asked.ROLLBACK) == Answer(End.ROLLED_BACK)
    assert ask(base, Asked.ROLLBACK) == Answer(End.ROLLED_BACK)
    assert ask(base, Asked.PREPARE) == Answer(Vote.ABORT, None, "it was rolled back before")


def test_without_a_slot_the_branch_is_busy_and_may_come_again() -> None:
    base = Base()

    assert ask(base, Asked.PREPARE, slots=False) == Answer(Vote.BUSY, None, "no slot")
    assert base.seen is Seen.FRESH
    assert ask(base, Asked.PREPARE) == Answer(Vote.COMMIT)


class Restless(Session):
    """A database that is never as it was seen."""

    async def perform(self, do: Do, reason: str, patience: int) -> Report:
        del do, reason, patience
        self.worked += 1
        return Report(Came.STALE)


@pytest.mark.parametrize("asked", Asked)
def test_endless_contention_ends(asked: Asked) -> None:
    """A question is put off; a decision is met with silence, since it will be repeated."""
    session = Restless(Base())

    answer = finish(pursue(asked, Seen.FRESH, session))

    assert session.worked == ROUNDS
    assert answer == (None if asked in DECISIONS else Answer(Vote.BUSY, None, "contended"))


# ── many askers at once ──────────────────────────────────────────────────────


class Interleavings(RuleBasedStateMachine):
    """Askers of one branch, each a process that may die, interleaved at will.

    The coordinator is assumed to decide once, and to commit only what voted yes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.base = Base()
        self.running: list[tuple[Asked, Session, Coroutine[Any, Any, Answer | None]]] = []
        self.decision: Asked | None = None
        self.voted_commit = self.rolled_back = False
        self.committed_by_itself = False

    def _begin(self, asked: Asked, session: Session) -> None:
        expected = Seen.PREPARED if asked in DECISIONS else Seen.FRESH
        self.running.append((asked, session, pursue(asked, expected, session)))

    @precondition(lambda self: len(self.running) < 4)
    @rule(
        late=st.booleans(),
        slots=st.booleans(),
        outcome=st.sampled_from([Came.DONE, Came.DONE, Came.REFUSED, Came.BUSY]),
    )
    def question(self, late: bool, slots: bool, outcome: Came) -> None:  # noqa: FBT001
        asked = Asked.PREPARE_LATE if late else Asked.PREPARE
        self._begin(asked, Session(self.base, outcome, slots=slots))

    @precondition(lambda self: len(self.running) < 4)
    @rule(commit=st.booleans())
    def decide(self, commit: bool) -> None:  # noqa: FBT001
        if self.decision is None:
            self.decision = Asked.COMMIT if commit and self.voted_commit else Asked.ROLLBACK
        self._begin(self.decision, Session(self.base))

    @precondition(lambda self: self.running)
    @rule(choice=st.integers(0, 3), steps=st.integers(1, 4))
    def go_on(self, choice: int, steps: int) -> None:
        for _ in range(steps):
            if not self.running:
                return
            index = choice % len(self.running)
            asked, session, coroutine = self.running[index]
            try:
                coroutine.send(None)
            except StopIteration as stop:
                del self.running[index]
                session.discard()
                self._hear(asked, stop.value)

    @precondition(lambda self: self.running)
    @rule(choice=st.integers(0, 3))
    def die(self, choice: int) -> None:
        """A kill -9: the server rolls back what was not prepared."""
        _, session, coroutine = self.running.pop(choice % len(self.running))
        coroutine.close()
        session.discard()

    def _hear(self, asked: Asked, answer: Answer | None) -> None:
        match answer:
            case None:
                return
            case Answer(Vote.COMMIT):
                # A yes binds: it is there, or was ended by a decision.
                assert self.base.prepared or self.decision is not None
                self.voted_commit = True
            case Answer(Vote.ABORT | End.ROLLED_BACK):
                assert self.base.marker is Seen.ROLLED_BACK
                self.rolled_back = True
            case Answer(Vote.COMMITTED | End.COMMITTED):
                assert self.base.marker is Seen.COMMITTED
                assert self.base.effects == 1
            case Answer(End.HAZARD):
                raise AssertionError(f"nobody interfered, and {asked} is a hazard")
            case _:
                pass

    @invariant()
    def what_is_rolled_back_stays_so(self) -> None:
        """From its acknowledgement on, nothing of this name is prepared."""
        if self.rolled_back:
            assert not self.base.prepared
            assert self.base.effects == 0

    @invariant()
    def the_effect_is_once(self) -> None:
        assert self.base.effects <= 1
        if self.decision is not Asked.COMMIT:
            assert self.base.effects == 0

    def teardown(self) -> None:
        """When nobody interferes any more, the decision gets through."""
        for _, session, coroutine in self.running:
            coroutine.close()
            session.discard()
        if self.decision is not None:
            answer = ask(self.base, self.decision)
            ends = {Asked.COMMIT: End.COMMITTED, Asked.ROLLBACK: End.ROLLED_BACK}
            assert answer is not None
            assert answer.answer is ends[self.decision]
            assert not self.base.prepared


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=600, stateful_step_count=40, deadline=None)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [Asked.PREPARE_ALONE, Asked.PREPARE_ALONE, Asked.PREPARE_LATE, Asked.ROLLBACK]
            ),
            st.sampled_from([Came.DONE, Came.REFUSED, Came.BUSY, Came.FAILED]),
        ),
        max_size=6,
    ),
    st.lists(st.integers(0, 5), max_size=60),
)
@settings(max_examples=600, deadline=None)
def test_a_lone_branch_decides_once_whoever_asks(
    asks: list[tuple[Asked, Came]], order: list[int]
) -> None:
    """All who are told an end are told the same one, and the effect agrees."""
    base = Base()
    running = [
        (pursue(asked, Seen.FRESH if asked in QUESTIONS else Seen.PREPARED, session), session)
        for asked, outcome in asks
        for session in [Session(base, outcome)]
    ]
    answers: list[Answer | None] = []
    turns = [*order, *range(1000)]
    for turn in turns:
        if not running:
            break
        coroutine, session = running[turn % len(running)]
        try:
            coroutine.send(None)
        except StopIteration as stop:
            session.discard()
            running.remove((coroutine, session))
            answers.append(stop.value)
    told = {answer.answer for answer in answers if answer is not None} - {Vote.BUSY}
    yes, no = {Vote.COMMITTED, End.COMMITTED}, {Vote.ABORT, End.ROLLED_BACK}
    assert not (told & yes and told & no)
    assert base.effects == bool(told & yes)
    assert not base.prepared, "there is no second phase that would end it"
