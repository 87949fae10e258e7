"""One shard with one transaction: its owners, the log between them, and all that was said.

The first owner may be deposed at any moment, and not know it. What it then
does is tried at once, and again after everything that its successor writes:
the log must refuse it, whatever it is, so it is followed no further. A batch
may be written though its owner is told that it was not, or not be written.

What happens at the participants is the worlds' own business.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from coordinator.core.events import Published
from coordinator.core.records import Begun, Decided, Decision
from coordinator.core.transition import Status, Summary
from coordinator.core.two_phase import decision_message
from coordinator.log.store import LogUnavailable
from tests.core.coordinator.builders import GID
from tests.search.explore import Step, Violation
from tests.search.log import Log, claim, persist
from tests.search.owner import NOTHING, Core, Move
from wire.messages import Inquired

V = TypeVar("V", bound=Hashable)
Action: TypeAlias = tuple[Any, ...]

_NOBODY: Final = Summary(Status.OPEN, None, active=False)


class Owner(NamedTuple):
    """A coordinator: the epoch it holds, and what it knows."""

    epoch: int
    view: int
    tells: bool = False
    """An outcome that it sent is not acknowledged yet."""


class Faults(NamedTuple):
    """What may still go wrong. Messages and timers do as they like in any case."""

    takeovers: int = 1
    crashes: int = 1
    """Participants that die between two deeds."""
    unknown: int = 1
    """Batches whose owner is told that they failed."""
    moods: int = 1
    """Answers that settle nothing: busy, or failed."""


Part: TypeAlias = tuple[int, int]
"""A participant: the number of what its database says, and the messages, as bits, of its part."""

NONE: Final = 0
"""No owner."""


class State(NamedTuple):
    """All that there is. Owner, log and databases are numbers of what they stand for."""

    owner: int
    log: int
    parts: tuple[Part, ...]
    faults: Faults


class Ending(NamedTuple):
    """How a command may end at a participant: the database, the answers, and what it took."""

    base: int
    said: int
    how: str
    moods: int = 0
    crashes: int = 0


class Numbers(list[V]):
    """Values by their numbers, and numbers by their values."""

    def __init__(self, *first: V) -> None:
        super().__init__()
        self._of: dict[V, int] = {}
        for value in first:
            self.number(value)

    def number(self, value: V) -> int:
        """Number a value."""
        found = self._of.setdefault(value, len(self))
        if found == len(self):
            self.append(value)
        return found


class Effect(NamedTuple):
    """What an owner's move came to."""

    owner: int
    log: int
    said: tuple[tuple[int, int], ...]
    durable: bool
    """Whether it had to be written, and was."""


class Shard:
    """The owners' half of a world."""

    participant = "step"

    def __init__(self, core: Core, faults: Faults) -> None:
        self.core, self.faults = core, faults
        self.owners = Numbers[Any](None)
        self.logs = Numbers[Log](Log())
        self._effects: dict[tuple[int, int, Move], Effect | None] = {}
        self._durable: dict[int, Hashable] = {}
        self._taken: dict[int, tuple[int, int]] = {}
        self._answered: dict[tuple[int, int, int], int] = {}
        self._moves: dict[Any, list[tuple[Action, Move]]] = {}

    def beginning(self, nothing: int) -> State:
        """Return the first state: an owner, and a request that waits in its topic."""
        log, owner = self.take_over(0)
        parts = ((nothing, 0),) * len(self.core.names)
        return State(owner, log, parts, self.faults)

    # ── what can happen to owners ────────────────────────────────────────────

    def owner_steps(self, state: State) -> Iterator[Step]:
        """Yield all that owners may do."""
        if state.faults.takeovers:
            log, owner = self.take_over(state.log)
            fewer = state.faults._replace(takeovers=state.faults.takeovers - 1)
            yield from self.resume(State(owner, log, state.parts, fewer), ("takeover",))
            self._try_deposed(state, log)
        if state.owner != NONE:
            for action, move in self.moves(state):
                yield from self.apply(state, move, action)

    def moves(self, state: State) -> Iterator[tuple[Action, Move]]:
        """Yield what the present owner may do. What changes nothing is left out."""
        owner: Owner = self.owners[state.owner]
        if owner.view == NOTHING and self.logs[state.log].row is None:
            yield ("begins",), self.core.begin()
        if owner.tells:
            move = self.core.react(owner.view, Published(), "published")
            if move is not None:
                yield ("published",), move
        for part, (base, said) in enumerate(state.parts):
            place = (owner.view, part, self.log_matters(state.log, owner), base, said)
            moves = self._moves.get(place)
            if moves is None:
                moves = list(self._hears(owner, state.log, part, base, said))
                self._moves[place] = moves
            yield from moves
        if owner.view != NOTHING:
            place = (owner.view, "timers")
            if place not in self._moves:
                self._moves[place] = list(self._timers(owner.view))
            yield from self._moves[place]

    def log_matters(self, log: int, owner: Owner) -> int:
        """Name the log, where the owner answers from it."""
        return log if owner.view == NOTHING else -1

    def _hears(
        self, owner: Owner, log: int, part: int, base: int, said: int
    ) -> Iterator[tuple[Action, Move]]:
        known = self.core.messages
        replies = [known[part, number] for number in bits(said & known.replies)]
        for reply in (*replies, *self.asks(part, base, said)):
            yield from self._hears_one(owner, log, part, reply)

    def hears(self, state: State, part: int, reply: Any) -> Iterator[tuple[Action, Move]]:
        """Yield what the present owner may do about a reply."""
        yield from self._hears_one(self.owners[state.owner], state.log, part, reply)

    def _hears_one(
        self, owner: Owner, log: int, part: int, reply: Any
    ) -> Iterator[tuple[Action, Move]]:
        if owner.view == NOTHING:
            move = self._from_log(self.logs[log], part, reply)
            if move is not None:
                yield ("hears", part, reply, False), move
            return
        for late in self.moments():
            key = self.core.messages.number(reply)
            move = self.core.react(owner.view, reply, key, late=late)
            if move is not None:
                yield ("hears", part, reply, late), move

    def _timers(self, view: int) -> Iterator[tuple[Action, Move]]:
        for timer, woken in self.timers(view):
            move = self.core.wake(view, timer, woken)
            if move is not None:
                yield ("timer", timer), move

    def timers(self, view: int) -> Iterable[tuple[Hashable, Any]]:
        """Yield the timers that may fire, each with the view in which it is due."""
        raise NotImplementedError

    def moments(self) -> tuple[bool, ...]:
        """Tell whether it matters to a reply that the deadline has passed."""
        return (False,)

    def asks(self, part: int, base: int, said: int) -> Sequence[Any]:
        """Return what a participant may ask by itself."""
        del part, base, said
        return ()

    def _from_log(self, log: Log, part: int, reply: Any) -> Move | None:
        """Answer a branch in doubt about what needs no owner any more, as turn.py does."""
        decided = [r.decision for r in log.facts if isinstance(r, Decided)]
        if not isinstance(reply, Inquired) or (log.row is not None and not decided):
            return None
        decision = decided[0] if decided else Decision.ABORT
        answer = decision_message(GID, self.core.names[part], decision)
        said = (self.core.messages.number(answer),)
        return Move(NOTHING, (), said, tells=False, summary=_NOBODY, durable=None)

    # ── answers that only repeat ─────────────────────────────────────────────

    def ends(self, part: int, base: int, number: int) -> Iterator[Ending]:
        """Yield how a command may end."""
        raise NotImplementedError

    def answered(self, part: int, base: int, said: int) -> int:
        """Add the answers to all commands that cannot change the database any more.

        A repeated command gets them whenever it comes, and more that was said
        never makes less possible: so nothing is lost where it comes at once.
        """
        place = (part, base, said)
        found = self._answered.get(place)
        if found is None:
            found = said
            for number in bits(said & self.core.messages.commands):
                ends = [e for e in self.ends(part, base, number) if not e.moods and not e.crashes]
                if all(end.base == base for end in ends):
                    for end in ends:
                        found |= end.said
            self._answered[place] = found
        return found

    # ── durable first, then told ─────────────────────────────────────────────

    def apply(self, state: State, move: Move, action: Action) -> Iterator[Step]:
        """Yield what may become of the owner's move."""
        faults = state.faults
        effect = self._effect(state.log, state.owner, move, action)
        if effect is None:
            yield Step((*action, "refused"), State(NONE, state.log, state.parts, faults))
            return
        parts = heard(state.parts, effect.said) if effect.said else state.parts
        yield Step(action, State(effect.owner, effect.log, parts, faults))
        if faults.unknown and effect.durable:
            fewer = faults._replace(unknown=faults.unknown - 1)
            for log in {state.log, effect.log}:
                again, owner = self.take_over(log)
                end = "fails" if log == state.log else "told that it failed"
                back = State(owner, again, state.parts, fewer)
                yield from self.resume(back, (*action, end))

    def _effect(self, log: int, number: int, move: Move, action: Action) -> Effect | None:
        """Write what is to be written, if the log takes it; None if it does not."""
        place = (log, number, move)
        if place not in self._effects:
            owner: Owner = self.owners[number]
            after = self.owners.number(
                owner._replace(
                    view=move.view,
                    tells=(owner.tells or move.tells) and move.view != NOTHING,
                )
            )
            shown = move.durable is None or move.summary == self.logs[log].row
            if shown and not (move.records or move.said or move.tells):
                self._effects[place] = Effect(after, log, (), durable=False)
            else:
                written = self._write(log, owner, move)
                if written is not None and move.durable is not None:
                    self._insist_on_replay(written, move, action)
                self._effects[place] = (
                    None if written is None else Effect(after, written, move.said, durable=True)
                )
        return self._effects[place]

    def _write(self, log: int, owner: Owner, move: Move) -> int | None:
        """Persist; None if it does not count."""
        try:
            before = self.logs[log]
            after, counted = persist(before, owner.epoch, move.records, move.summary)
        except LogUnavailable:
            return None
        return self.logs.number(after) if counted else None

    def _insist_on_replay(self, log: int, move: Move, action: Action) -> None:
        if log not in self._durable:
            self.check_log(self.logs[log], action)
            self._durable[log] = self.core.durable(self.logs[log].entries)
        if self._durable[log] != move.durable:
            raise Violation("the log says something else than its owner knows", action)

    def check_log(self, log: Log, action: Action) -> None:
        """Insist on what must be true of every log. Raises Violation."""
        facts = log.facts
        if sum(isinstance(r, Begun) for r in facts) != 1 or not isinstance(facts[0], Begun):
            raise Violation("a transaction has not one beginning", action)

    # ── takeover ─────────────────────────────────────────────────────────────

    def take_over(self, log: int) -> tuple[int, int]:
        """Claim the shard and read its log; return the log and the owner, by number."""
        if log not in self._taken:
            after, epoch, entries = claim(self.logs[log])
            view = self.core.recover(entries) if entries else NOTHING
            owner = Owner(epoch, view)
            self._taken[log] = self.logs.number(after), self.owners.number(owner)
        return self._taken[log]

    def resume(self, state: State, action: Action) -> Iterator[Step]:
        """Let a new owner go on with what it has found in the log."""
        owner: Owner = self.owners[state.owner]
        if owner.view == NOTHING:
            yield Step(action, state)
            return
        calm = state._replace(faults=state.faults._replace(unknown=0))
        for step in self.apply(calm, self.core.resume(owner.view), action):
            yield Step(step.action, step.state._replace(faults=state.faults))

    def _try_deposed(self, state: State, log: int) -> None:
        """Let the owner that was just deposed do all that it could do: nothing must count."""
        if state.owner == NONE:
            return
        for action, move in self.moves(state):
            effect = self._effect(log, state.owner, move, action)
            if effect is not None and effect.durable:
                text = "an owner writes after the next one has taken over"
                raise Violation(text, ("deposed", *action))

    def tell(self, action: Action, names: tuple[int, ...]) -> str:
        """Say in words what happened."""
        raise NotImplementedError

    # ── in words ─────────────────────────────────────────────────────────────

    def tell_owner(self, action: Action, names: tuple[int, ...]) -> str:
        """Say what an owner did."""
        end = f": {action[-1]}" if action[-1] in _ENDS else ""
        match action:
            case ("takeover", *_):
                return "the next owner takes over"
            case ("fairly", *rest):
                lines = [self.tell(step, names) for step in rest]
                return "\n      ".join(("from now on nothing is lost:", *lines))
            case ("deposed", *rest):
                return f"the next owner takes over; {self.tell_owner(tuple(rest), names)}"
            case ("hears", part, reply, late, *_):
                moment = ", past the deadline," if late else ""
                name = self.named(part, names)
                what = f"hears{moment} from {name}: {describe(reply)}"
            case ("timer", timer, *_):
                what = f"is woken: {self.tell_timer(timer, names)}"
            case ("published", *_):
                what = "learns that the outcome is on its topic"
            case _:
                what = "begins the transaction"
        return f"the owner {what}{end}"

    def named(self, part: int, names: tuple[int, ...]) -> str:
        """Name a branch, or a step."""
        return self.core.names[names[part]]

    def tell_timer(self, timer: Any, names: tuple[int, ...]) -> str:
        """Name a timer."""
        del names
        return str(timer)


_ENDS: Final = ("refused", "fails", "told that it failed")


def heard(parts: tuple[Part, ...], said: Iterable[tuple[int, int]]) -> tuple[Part, ...]:
    """Add messages to what was ever said."""
    changed = list(parts)
    for part, number in said:
        database, before = changed[part]
        changed[part] = database, before | 1 << number
    return tuple(changed)


def bits(mask: int) -> Iterator[int]:
    """Yield the members of a set."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def describe(message: Any) -> str:
    """Say a message in a few words."""
    words = [type(message).__name__]
    for name in ("attempt", "vote", "end", "result"):
        value = getattr(message, name, None)
        if value is not None:
            words.append(str(value))
    if getattr(message, "one_phase", False):
        words.append("in one phase")
    if getattr(message, "undone", None) is False:
        words.append("nothing to undo")
    return " ".join(words)
