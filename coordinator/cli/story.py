"""All that can be said of one transaction, from its log: for people, and as JSON.

Pure: the log and the time in, words out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from coordinator.cli import plain
from coordinator.core import machine
from coordinator.core.machine import State
from coordinator.core.records import Begun, ChildEnded, CompensationBegan, Decision, Entry, StepDone
from coordinator.core.saga_state import Phase as SagaPhase
from coordinator.core.saga_state import SagaState, StepPhase, StepState
from coordinator.core.two_phase_state import Phase, TwoPhase
from coordinator.core.waiting import over_us
from coordinator.telemetry import identity
from sagas.model import AnyDefinition, Gate, Step
from sagas.private import HIDDEN, Veil
from wire.messages import Json


class Part(NamedTuple):
    """One step or branch: where it stands, since when, and what comes next."""

    name: str
    call: str
    state: str
    attempt: int | None = None
    attempts: int | None = None
    since_us: int | None = None
    next_try_us: int | None = None
    timeout_us: int | None = None
    note: str = ""
    result: Json = None


@dataclass(frozen=True, slots=True)
class Story:
    """A transaction as its log tells it."""

    state: State
    definition: AnyDefinition
    entries: Sequence[Entry]
    now_us: int

    @classmethod
    def of(
        cls,
        gid: str,
        definition: AnyDefinition,
        entries: Sequence[Entry],
        now_us: int,
        versions: Sequence[AnyDefinition] = (),
    ) -> Story:
        """Replay the log; ``versions`` are all by which it has gone, if it was moved."""
        state = machine.recover(gid, definition, entries, versions)
        return cls(state, state.definition, entries, now_us)

    @property
    def trace(self) -> str | None:
        context = identity.parse(self.state.begun.traceparent)
        return context.trace if context else None

    @property
    def waits(self) -> str:
        return self._veiled(plain.why(self.state, self.now_us))

    @property
    def input(self) -> Json:
        """What it began with, without what is sensitive."""
        private, given = self.definition.private, self.state.begun.input
        return given if private is None else private.shown(given)

    @property
    def deadline_us(self) -> int | None:
        """When time runs out, if it still can."""
        running = self.state.phase in (
            SagaPhase.LOCKING,
            SagaPhase.RUNNING,
            Phase.PREPARING,
            Phase.DELEGATED,
        )
        return self.state.deadline_us if running else None

    @property
    def output(self) -> Json:
        if isinstance(self.state, SagaState):
            return self._veiled(self.state.output)
        return self._veiled(self.state.decided.output if self.state.decided else None)

    @property
    def parts(self) -> list[Part]:
        state = self.state
        parts = self._steps(state) if isinstance(state, SagaState) else _branches(state)
        return [self._without_secrets(part) for part in parts]

    def _without_secrets(self, part: Part) -> Part:
        private = self.definition.private
        if private is None:
            return part
        hidden = part.name in private.parts and part.result is not None
        return part._replace(result=HIDDEN if hidden else self._veiled(part.result))

    @property
    def awaited(self) -> list[str]:
        """Name the transactions that do a step, or undo it, and have not ended."""
        steps = self.state.steps.values() if isinstance(self.state, SagaState) else ()
        children = (step.child for step in steps)
        return [child.gid for child in children if child is not None and child.outcome is None]

    def history(self) -> Iterator[tuple[Entry, str]]:
        """Tell each record as a sentence."""
        for entry in self.entries:
            yield entry, self._veiled(plain.sentence(entry.record, entry.at_us))

    def _veiled(self, value: Json) -> Json:
        """Hide what is sensitive, wherever it has got to."""
        return value if self._veil is None else self._veil.json(value)

    @property
    def _veil(self) -> Veil | None:
        private, state = self.definition.private, self.state
        if private is None:
            return None
        if isinstance(state, SagaState):
            results = {name: step.data for name, step in state.steps.items()}
        else:
            results = dict(state.results)
        return private.veil(state.begun.input, results)

    def _record(self, entry: Entry) -> Json:
        """Return a record as an object."""
        record, private = msgspec.to_builtins(entry.record), self.definition.private
        if private is None:
            return record
        if isinstance(entry.record, Begun):
            record["input"] = self.input
        elif isinstance(entry.record, StepDone | ChildEnded) and entry.record.step in private.parts:
            record["data"] = HIDDEN
        return self._veiled(record)

    def _steps(self, saga: SagaState) -> Iterator[Part]:
        changed = _changes(self.entries)
        for name, state in saga.steps.items():
            step = saga.definition.steps[name]
            if not isinstance(step.work, Gate):
                yield _step(saga, step, state, changed, self.now_us)

    def as_json(self) -> dict[str, Any]:
        """Return the same as an object; times are RFC 3339, in UTC."""
        began_us = self.entries[0].at_us
        return {
            "phase": str(self.state.phase),
            "waits": self.waits,
            "deadline_at": _moment(self.deadline_us),
            "trace_id": self.trace,
            "input": self.input,
            "output": self.output,
            "parts": [_part_as_json(part) for part in self.parts],
            "history": [
                {
                    "seq": entry.seq,
                    "at": plain.moment(entry.at_us),
                    "after_ms": (entry.at_us - began_us) // 1000,
                    "said": said,
                    "record": self._record(entry),
                }
                for entry, said in self.history()
            ],
        }


# ── steps ────────────────────────────────────────────────────────────────────

_TURNED = ""
"""The place in the changes of the moment when the saga turned back."""


def _changes(entries: Sequence[Entry]) -> Mapping[str, int]:
    """Tell when each step last changed."""
    changed: dict[str, int] = {}
    for entry in entries:
        if isinstance(entry.record, CompensationBegan):
            changed[_TURNED] = entry.at_us
        step = getattr(entry.record, "step", None)
        if step is not None:
            changed[step] = entry.at_us
    return changed


def _step(
    saga: SagaState, step: Step, state: StepState, changed: Mapping[str, int], now_us: int
) -> Part:
    asked = plain.asked_of(step, state)
    part = Part(step.name, str(plain.work_of(asked)), str(state.phase), note=state.reason)
    since_us = changed.get(step.name)
    match state.phase:
        case StepPhase.WAITING:
            over = saga.phase not in (SagaPhase.LOCKING, SagaPhase.RUNNING)
            needs = plain.names(step.needs)
            note = f"needs {needs}" if needs and not over else ""
            return part._replace(state="never asked" if over else "waiting", note=note)
        case StepPhase.RUNNING if saga.phase is not SagaPhase.RUNNING:
            return part._replace(
                state="unknown", attempt=state.attempt, note="was asked when the saga was parked"
            )
        case StepPhase.TO_UNDO:
            note = "after what was built on it"
            return part._replace(since_us=changed.get(_TURNED), note=note)
        case StepPhase.STANDING:
            return part._replace(since_us=changed.get(_TURNED), note="its effect may stand")
        case StepPhase.DONE:
            return part._replace(attempt=state.attempt, since_us=since_us, result=state.data)
        case StepPhase.RUNNING if state.waits is not None:
            return part._replace(
                state="waits",
                since_us=state.since_us,
                timeout_us=over_us(step, state, None),
                note=state.waits.key,
            )
        case StepPhase.RUNNING | StepPhase.UNDOING if state.child is not None:
            return part._replace(since_us=since_us, note=f"by {state.child.gid}")
        case StepPhase.RUNNING | StepPhase.UNDOING:
            part = part._replace(attempt=state.attempt, attempts=asked.retry.attempts)
            if state.since_us > now_us:
                return part._replace(since_us=since_us, next_try_us=state.since_us)
            timeout_us = state.since_us + asked.timeout_us
            return part._replace(since_us=state.since_us, timeout_us=timeout_us)
        case _:
            return part._replace(since_us=since_us)


# ── branches ─────────────────────────────────────────────────────────────────

_WANTED = {
    Phase.PREPARING: "vote wanted",
    Phase.DELEGATED: "asked to commit",
    Phase.WITHDRAWING: "asked how it ended",
    Phase.COMMITTING: "told to commit",
    Phase.ABORTING: "told to roll back",
}


def _branches(txn: TwoPhase) -> Iterator[Part]:
    for name, branch in txn.definition.branches.items():
        part = Part(name, str(branch.call), "")
        if name in txn.hazards:
            end = txn.hazards[name]
            yield part._replace(state=str(end), note="ended by somebody else")
        elif name in txn.waiting_for:
            limit = txn.deadline_us if txn.phase in (Phase.PREPARING, Phase.DELEGATED) else None
            yield part._replace(state=_WANTED[txn.phase], timeout_us=limit)
        else:
            yield part._replace(state=_ended(txn, name))


def _ended(txn: TwoPhase, branch: str) -> str:
    if txn.decided is None:
        return "unknown"
    committed = txn.decided.decision is Decision.COMMIT
    if branch not in txn.decided.awaited:
        return "committed, or read only" if committed else "did nothing"
    return "committed" if committed else "rolled back"


# ── JSON ─────────────────────────────────────────────────────────────────────


def _part_as_json(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "call": part.call,
        "state": part.state,
        "attempt": part.attempt,
        "attempts": part.attempts,
        "since": _moment(part.since_us),
        "next_try_at": _moment(part.next_try_us),
        "timeout_at": _moment(part.timeout_us),
        "note": part.note,
        "result": part.result,
    }


def _moment(at_us: int | None) -> str | None:
    return None if at_us is None else plain.moment(at_us)
