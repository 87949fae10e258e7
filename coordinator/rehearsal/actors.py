"""Participants that answer by a script, and keep their word as real ones must.

An effect happens once, whatever is repeated; an undo before its step refuses
the step; a decision ends what was prepared. The script says the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from sagas.each import written
from wire.messages import (
    Command,
    Commit,
    Compensate,
    Compensated,
    End,
    Execute,
    Executed,
    Json,
    Prepare,
    Reply,
    Result,
    Rollback,
    Settled,
    Vote,
    Voted,
)


class Act(StrEnum):
    """What becomes of one command."""

    DONE = "done"
    LATE = "its answer is late"  # done, and heard of only after the deadline
    LOST = "its answer is lost"  # done, and nobody hears of it
    NOTHING = "nothing happens"
    REFUSED = "refused"
    BUSY = "busy"
    FAILED = "failed"
    READ_ONLY = "only reads"
    EARLY = "it is there already"  # an event, before anybody waits for it


class Part(StrEnum):
    """What a command asks for."""

    DO = "do"
    UNDO = "undo"
    END = "end"  # commit or roll back


class Answer(NamedTuple):
    """What becomes of a command, in words and in time. ``data`` replaces what is usual."""

    act: Act
    data: Json = None
    reason: str = "as scripted"
    after_us: int = 20_000


DONE: Final = Answer(Act.DONE)
Script = Mapping[tuple[str, Part], tuple[Answer, ...]]
"""For a step or branch: what becomes of command after command; the last is repeated."""


class Asked(NamedTuple):
    """A command that has left the coordinator, when and to whom, and what became of it."""

    at_us: int
    participant: str
    command: Command
    answer: Answer


def target(command: Command) -> tuple[str, Part]:
    """Tell which step or branch a command is for, and what it asks of it."""
    match command:
        case Execute():
            return command.step, Part.DO
        case Compensate():
            return command.step, Part.UNDO
        case Prepare():
            return command.branch, Part.DO
        case Commit() | Rollback():
            return command.branch, Part.END


STANDS: Final = "stands"
UNDONE: Final = "undone"
SEALED: Final = "sealed"
PREPARED: Final = "prepared"
READ: Final = "read"

_RESULTS: Final = {Act.REFUSED: Result.REFUSED, Act.BUSY: Result.BUSY, Act.FAILED: Result.FAILED}
_VOTES: Final = {
    Act.REFUSED: Vote.ABORT,
    Act.FAILED: Vote.ABORT,
    Act.BUSY: Vote.BUSY,
}


@dataclass
class Actors:
    """All participants of one transaction."""

    script: Script
    data: Mapping[str, Json]
    """What each step or branch returns."""
    marks: dict[str, str] = field(default_factory=dict[str, str])
    """What stands of each, as its own database knows it."""
    asked: list[Asked] = field(default_factory=list[Asked])
    _counts: dict[tuple[str, Part], int] = field(default_factory=dict[tuple[str, Part], int])

    def answer(
        self, participant: str, command: Command, now_us: int
    ) -> tuple[Answer, Reply | None]:
        """Do what is asked, as far as the script lets it; no reply is silence."""
        name, part = target(command)
        answers = self.script.get((name, part), self.script.get((written(name), part), (DONE,)))
        count = self._counts[target(command)] = self._counts.get(target(command), 0) + 1
        answer = answers[min(count, len(answers)) - 1]
        self.asked.append(Asked(now_us, participant, command, answer))
        doing = answer._replace(act=Act.DONE) if answer.act is Act.LATE else answer
        match command:
            case Execute():
                return answer, self._execute(command, doing)
            case Compensate():
                return answer, self._compensate(command, doing)
            case Prepare():
                return answer, self._prepare(command, doing)
            case Commit() | Rollback():
                return answer, self._end(command, doing)

    def _data(self, name: str, answer: Answer) -> Json:
        usual = self.data.get(name, self.data.get(written(name)))
        return usual if answer.data is None else answer.data

    def _execute(self, command: Execute, answer: Answer) -> Executed | None:
        name, act = command.step, answer.act
        result = Result.DONE
        if name not in self.marks and act in (Act.DONE, Act.LOST):
            self.marks[name] = STANDS
        if act in (Act.LOST, Act.NOTHING):
            return None
        if name not in self.marks:
            result = _RESULTS[act]
        elif self.marks[name] != STANDS:
            result = Result.REFUSED
        return Executed(
            gid=command.gid,
            step=name,
            attempt=command.attempt,
            result=result,
            data=self._data(name, answer) if result is Result.DONE else None,
            reason="" if result is Result.DONE else answer.reason,
        )

    def _compensate(self, command: Compensate, answer: Answer) -> Compensated | None:
        name, act = command.step, answer.act
        undone = self.marks.get(name) in (STANDS, UNDONE)
        if act in (Act.DONE, Act.LOST):
            self.marks[name] = UNDONE if undone else SEALED
        if act in (Act.LOST, Act.NOTHING):
            return None
        result = _RESULTS.get(act, Result.DONE)
        return Compensated(
            gid=command.gid,
            step=name,
            attempt=command.attempt,
            result=result,
            undone=undone,
            reason="" if result is Result.DONE else answer.reason,
        )

    def _prepare(self, command: Prepare, answer: Answer) -> Voted | None:
        name, act = command.branch, answer.act
        if name not in self.marks and act in (Act.DONE, Act.LOST):
            self.marks[name] = STANDS if command.one_phase else PREPARED
        if act in (Act.LOST, Act.NOTHING):
            return None
        if name not in self.marks and act is Act.READ_ONLY:
            self.marks[name] = READ
        told = {
            PREPARED: Vote.COMMIT,
            STANDS: Vote.COMMITTED,
            SEALED: Vote.ABORT,
            READ: Vote.READ_ONLY,
        }
        vote = told[self.marks[name]] if name in self.marks else _VOTES[act]
        return Voted(
            gid=command.gid,
            branch=name,
            vote=vote,
            data=self._data(name, answer),
            reason=answer.reason if vote in (Vote.ABORT, Vote.BUSY) else "",
        )

    def _end(self, command: Commit | Rollback, answer: Answer) -> Settled | None:
        name, act = command.branch, answer.act
        if act is not Act.NOTHING:
            self._settle(name, commit=isinstance(command, Commit))
        if act in (Act.LOST, Act.NOTHING):
            return None
        ends = {STANDS: End.COMMITTED, SEALED: End.ROLLED_BACK}
        end = ends.get(self.marks.get(name, ""), End.HAZARD)
        return Settled(gid=command.gid, branch=name, end=end)

    def _settle(self, name: str, *, commit: bool) -> None:
        """Only what was prepared can be committed; what has committed is not rolled back."""
        mark = self.marks.get(name)
        if commit and mark == PREPARED:
            self.marks[name] = STANDS
        elif not commit and mark != STANDS:
            self.marks[name] = SEALED
