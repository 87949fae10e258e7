"""Participants that keep their word, and a network that does not.

A participant answers from its barrier, as real ones must: an effect happens
once, an undo before its step refuses the step, a decision ends what was
prepared. Its mood says what it answers while it is free to choose.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from coordinator.core.transition import Send
from tests.core.coordinator.builders import (
    GID,
    Story,
    compensated,
    executed,
    settled,
    voted,
)
from wire.messages import (
    Command,
    Commit,
    Compensate,
    Compensated,
    End,
    Execute,
    Executed,
    Inquired,
    Outcome,
    Prepare,
    Reply,
    Result,
    Rollback,
    Settled,
    Vote,
    Voted,
)


@dataclass
class Branches:
    """The participants of an atomic transaction. A mood is a list of votes, the last repeated."""

    moods: dict[str, list[Vote]]
    ends: dict[str, str] = field(default_factory=dict[str, str])

    def answer(self, command: Command) -> Reply:
        match command:
            case Prepare():
                return self._prepare(command)
            case Commit():
                return self._commit(command.branch)
            case Rollback():
                return self._roll_back(command.branch)
            case Execute() | Compensate():
                raise AssertionError(f"{command!r} is nothing for a branch")

    def inquiries(self) -> list[Reply]:
        """Ask for every branch in doubt, as a resolver does."""
        doubtful = [name for name, end in self.ends.items() if end == "prepared"]
        return [Inquired(gid=GID, branch=name, participant=name) for name in doubtful]

    def _prepare(self, command: Prepare) -> Voted:
        name, mood = command.branch, self.moods[command.branch]
        remembered = {
            "prepared": Vote.COMMIT,
            "committed": Vote.COMMITTED if command.one_phase else Vote.COMMIT,
            "rolled back": Vote.ABORT,
        }
        if name in self.ends:
            return voted(name, remembered[self.ends[name]])
        vote = mood.pop(0) if len(mood) > 1 else mood[0]
        if vote is Vote.COMMITTED and not command.one_phase:
            vote = Vote.COMMIT
        became = {
            Vote.COMMIT: "prepared",
            Vote.ABORT: "rolled back",
            Vote.COMMITTED: "committed",
        }
        if vote in became:
            self.ends[name] = became[vote]
        return voted(name, vote)

    def _commit(self, name: str) -> Settled:
        end = self.ends.get(name)
        assert end in ("prepared", "committed"), f"{name} must commit, and is {end}"
        self.ends[name] = "committed"
        return settled(name, End.COMMITTED)

    def _roll_back(self, name: str) -> Settled:
        if self.ends.get(name) == "committed":
            return settled(name, End.COMMITTED)
        self.ends[name] = "rolled back"
        return settled(name, End.ROLLED_BACK)


@dataclass
class Workers:
    """The participants of a saga. A mood is a list of results, the last repeated."""

    moods: dict[str, list[Result]]
    undo_moods: dict[str, list[Result]]
    barrier: dict[str, str] = field(default_factory=dict[str, str])
    effects: Counter[str] = field(default_factory=Counter[str])

    def answer(self, command: Command) -> Reply:
        match command:
            case Execute():
                return self._execute(command)
            case Compensate():
                return self._compensate(command)
            case _:
                raise AssertionError(f"{command!r} is nothing for a worker")

    def inquiries(self) -> list[Reply]:
        return []

    def _execute(self, command: Execute) -> Executed:
        name, mood = command.step, self.moods[command.step]
        result = Result.DONE if self.barrier.get(name) == "done" else Result.REFUSED
        if name not in self.barrier:
            result = mood.pop(0) if len(mood) > 1 else mood[0]
            if result is Result.DONE:
                self.barrier[name] = "done"
                self.effects[name] += 1
            elif result is Result.REFUSED:
                self.barrier[name] = "refused"
        return executed(name, result, command.attempt, data=name)

    def _compensate(self, command: Compensate) -> Compensated:
        name, mood = command.step, self.undo_moods[command.step]
        if self.barrier.get(name) != "done":
            self.barrier[name] = "sealed"
            return compensated(name, attempt=command.attempt, undone=False)
        result = mood.pop(0) if len(mood) > 1 else mood[0]
        if result is Result.DONE:
            self.barrier[name] = "sealed"
            self.effects[name] -= 1
        return compensated(name, result, command.attempt)


@dataclass
class World:
    """A story, its participants, and what is on the way between them."""

    story: Story
    others: Branches | Workers
    flying: list[Send | Reply] = field(default_factory=list[Send | Reply])
    heard: list[Reply] = field(default_factory=list[Reply])
    """What the present owner has heard."""
    noticed: int = 0

    def collect(self) -> None:
        """Let what the story has sent since last time take off."""
        self.flying += self.story.sent[self.noticed :]
        self.noticed = len(self.story.sent)

    def deliver(self, index: int, *, again: bool = False) -> None:
        """Let something arrive; ``again`` leaves a copy on the way."""
        item = self.flying[index]
        if not again:
            del self.flying[index]
        if not isinstance(item, Send):
            self.hear(item)
        elif isinstance(item.message, Outcome):
            self.story.publish()
        else:
            assert isinstance(item.message, Command)
            self.flying.append(self.others.answer(item.message))
        self.collect()

    def hear(self, reply: Reply) -> None:
        self.heard.append(reply)
        self.story.hear(reply)
        self.collect()

    def crash(self) -> None:
        self.heard.clear()
        self.story.take_over()
        self.collect()

    def sleep(self) -> None:
        self.story.sleep()
        self.collect()

    def settle_down(self, bound: int = 600) -> None:
        """Deliver everything, let time pass, until nothing is left to do."""
        for _ in range(bound):
            if self.flying:
                self.deliver(0)
            elif self.story.state.phase in ("ended", "parked"):
                return
            else:
                self.flying += self.others.inquiries()
                self.sleep()
        raise AssertionError(f"no end after {bound} turns: {self.story.state}")

    def replay_everything(self) -> None:
        """Say everything again that was ever said to participants, and hear the answers."""
        for send in list(self.story.sent):
            if isinstance(send.message, Command):
                self.story.hear(self.others.answer(send.message))
