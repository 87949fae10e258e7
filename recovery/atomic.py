"""What a log that has forgotten must be told of one atomic transaction. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from coordinator.core import two_phase
from coordinator.core.records import Decided, Decision, Outcome, Parked
from coordinator.core.transition import Transition
from coordinator.core.two_phase_state import Phase, TwoPhase
from recovery.traces import COMMITTED, FINAL, PREPARED, Part, Sent, Traces
from sagas.model import Atomic
from wire.messages import Json

NOT_COMMITTED: Final = "the log was restored, and nothing shows that any branch had committed"
HAD_COMMITTED: Final = "the log was restored; a branch had committed, or was told to"
NOT_KEPT: Final = "; what its branches had returned is not known, so it has no output"

Move: TypeAlias = Transition[Any]


def decided(move: Move, traces: Traces, now_us: int) -> Move:
    state: TwoPhase = move.state
    if state.phase in (Phase.PARKED, Phase.ENDED):
        return move
    if state.decided is None:
        decision = _decision(state, traces, now_us)
        if decision is None:
            return move
        move = move.remember(decision, now_us)
    told = traces.told
    if told is not None and Outcome(told.outcome) not in FINAL:
        # Somebody has ended a branch by hand, or was to: that is for a person again.
        parked = Parked(reason=told.reason, outcome=Outcome(told.outcome))
        move = move.remember(parked, now_us)
    return move


def _decision(state: TwoPhase, traces: Traces, now_us: int) -> Decided | None:
    told = traces.told
    if told is not None and told.outcome == Outcome.COMMITTED:
        return Decided(
            decision=Decision.COMMIT,
            awaited=_touched(state, traces),
            reason=told.reason,
            output=told.output,
        )
    if Sent.COMMIT in traces.sent or COMMITTED in traces.branches.values():
        output, complaint = _returned(state, traces)
        return Decided(
            decision=Decision.COMMIT,
            awaited=_touched(state, traces),
            reason=HAD_COMMITTED + complaint,
            output=output,
        )
    if state.starts_us > now_us and not traces:
        return None  # it rests: nobody was asked
    if told is None and len(state.definition.branches) == 1:
        return None  # it decides for itself, and may be about to: it is asked again
    reason = told.reason if told is not None else NOT_COMMITTED
    return Decided(decision=Decision.ABORT, awaited=tuple(state.definition.branches), reason=reason)


def _returned(state: TwoPhase, traces: Traces) -> tuple[Json, str]:
    """Return what it returned; or, where that cannot be known, nothing of it, and why."""
    results = kept(state.definition, traces)
    if results is None:
        return None, NOT_KEPT if state.definition.output is not None else ""
    output, complaint = two_phase.output_of(replace(state, results=results))
    return output, f"; {complaint}" if complaint else ""


def kept(definition: Atomic, traces: Traces) -> Mapping[str, Json] | None:
    """Return what its branches have returned, if each of them can be asked."""
    if any(traces.branches.get(name) != COMMITTED for name in definition.branches):
        return None
    return {name: traces.results.get(name) for name in definition.branches}


def _touched(state: TwoPhase, traces: Traces) -> tuple[str, ...]:
    """Name the branches that have something to commit.

    One without a trace only read; so did one that is rolled back, by a late
    copy of its Prepare, since whoever has said yes waits for the decision.
    """
    held = {name for name, seen in traces.branches.items() if seen in (PREPARED, COMMITTED)}
    return tuple(name for name in state.definition.branches if name in held)


def result(part: Part | None) -> Json:
    """Return what a group has returned, if its branches have kept it."""
    definition = part.definition if part is not None else None
    if part is None or not isinstance(definition, Atomic) or definition.output is None:
        return None
    results = kept(definition, part.traces)
    return definition.output({"branches": results}) if results is not None else None
