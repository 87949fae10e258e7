"""Participants that answer by a script, and keep their word as real ones must.

An effect happens once, whatever is repeated; an undo before its step refuses
the step; a decision ends what was prepared. The script says the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from wire.messages import (
    AnyMessage,
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


class Part(StrEnum):
    """What a command asks for."""

    DO = "do"
    UNDO = "undo"
    END = "end"  # commit or roll back


Script = Mapping[tuple[str, Part], tuple[Act, ...]]
"""For a step or branch: what becomes of command after command; the last is repeated."""

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
_SAID: Final = "as scripted"


@dataclass
class Actors:
    """All participants of one transaction."""

    script: Script
    data: Mapping[str, Json]
    """What each step or branch returns."""
    marks: dict[str, str] = field(default_factory=dict[str, str])
    """What stands of each, as its own database knows it."""
    commands: int = 0
    late: bool = False
    """Whether the last answer is on its way until after the deadline."""
    _asked: dict[tuple[str, Part], int] = field(default_factory=dict[tuple[str, Part], int])

    def answer(self, command: AnyMessage) -> Reply | None:
        """Do what is asked, as far as the script lets it; None is silence."""
        self.commands += 1
        match command:
            case Execute():
                return self._execute(command)
            case Compensate():
                return self._compensate(command)
            case Prepare():
                return self._prepare(command)
            case Commit() | Rollback():
                return self._end(command)
            case _:
                raise AssertionError(f"{command!r} is no command")

    def _next(self, name: str, part: Part) -> Act:
        acts = self.script.get((name, part), (Act.DONE,))
        count = self._asked[name, part] = self._asked.get((name, part), 0) + 1
        act = acts[min(count, len(acts)) - 1]
        self.late = act is Act.LATE
        return Act.DONE if self.late else act

    def _execute(self, command: Execute) -> Executed | None:
        name, act = command.step, self._next(command.step, Part.DO)
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
            data=self.data.get(name) if result is Result.DONE else None,
            reason="" if result is Result.DONE else _SAID,
        )

    def _compensate(self, command: Compensate) -> Compensated | None:
        name, act = command.step, self._next(command.step, Part.UNDO)
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
            reason="" if result is Result.DONE else _SAID,
        )

    def _prepare(self, command: Prepare) -> Voted | None:
        name, act = command.branch, self._next(command.branch, Part.DO)
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
            data=self.data.get(name),
            reason=_SAID if vote in (Vote.ABORT, Vote.BUSY) else "",
        )

    def _end(self, command: Commit | Rollback) -> Settled | None:
        name, act = command.branch, self._next(command.branch, Part.END)
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
