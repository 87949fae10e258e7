"""Bugs in the machines: what is decided, and when."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

TWO_PHASE: Final = "coordinator/core/two_phase.py"
TWO_PHASE_TABLE: Final = "coordinator/core/two_phase_table.py"
TWO_PHASE_STATE: Final = "coordinator/core/two_phase_state.py"
SAGA: Final = "coordinator/core/saga.py"
SAGA_STATE: Final = "coordinator/core/saga_state.py"
ORDERS: Final = "coordinator/core/orders.py"
COMPENSATION: Final = "coordinator/core/compensation.py"

CORES: Final = (
    # ── what a person orders ─────────────────────────────────────────────────
    Mutant(
        "lets a person skip what it is not parked for",
        ORDERS,
        "    if state is None or state.phase not in stuck:\n",
        "    if state is None:\n",
        "a step counts as done that nobody has looked at",
    ),
    Mutant(
        "begins a child again at each takeover",
        "coordinator/core/children.py",
        "    if state.child is not None and _is_for(state.child, state):\n",
        "    if state.child is not None and state.child.undoing:\n",
        "a step is done twice",
    ),
    Mutant(
        "forgets what a lost log had begun as part of a saga",
        "recovery/rebuild.py",
        "        elif _has_begun(traces, name):\n",
        "        elif False:\n",
        "branches stay prepared for ever",
    ),
    Mutant(
        "goes back without revoking what is undecided",
        "coordinator/core/children.py",
        "        revoke = Revoke(child.gid)\n",
        "        return _noted(move, step, state, now_us)\n        revoke = Revoke(child.gid)\n",
        "a saga waits for votes that it does not want",
    ),
    Mutant(
        "forgets how a child ended while its saga was parked",
        "coordinator/core/saga_state.py",
        "        before = self.before.with_child(record) if self.before is not None else None\n",
        "        before = self.before\n",
        "a saga that a person lets go on waits for ever",
    ),
    Mutant(
        "cancels what may be confirmed",
        SAGA_STATE,
        "                stands = step.undo is None or step.name in final\n",
        "                stands = step.undo is None\n",
        "what was made final is taken back",
    ),
    Mutant(
        "confirms without what the try returned",
        SAGA,
        "result=move.state.steps[step.confirms].data if step.confirms else None",
        "result=None",
        "a confirmation does not know what it makes final",
    ),
    Mutant(
        "lets a gate that was passed count as an effect",
        SAGA_STATE,
        "            if step.has_effect and not _never_begun(step, state):\n",
        "            if not _never_begun(step, state):\n",
        "nothing happened, and it is told as compensated",
    ),
    Mutant(
        "asks for a step whose condition is false",
        SAGA,
        "        if not wanted(move.state, step, values):\n",
        "        if False:\n",
        "a step happens that was not wanted",
    ),
    Mutant(
        "asks again what is not to be asked again",
        SAGA,
        "    if unknown is not OnUnknown.RETRY:\n",
        "    if False:\n",
        "a person was to look first",
    ),
    Mutant(
        "goes on without what was refused for good",
        SAGA,
        "    if step.on_refused is OnRefused.CONTINUE:\n",
        "    if True:\n",
        "a saga ends as if a no were nothing",
    ),
    Mutant(
        "goes on past what cannot be undone",
        SAGA_STATE,
        "        return stuck and step.on_undo_failure is OnUndoFailure.PARK\n",
        "        return False\n",
        "what something stands on is undone unseen",
    ),
    Mutant(
        "closes though an undo is stuck",
        COMPENSATION,
        "    if stuck:\n",
        "    if False:\n",
        "compensated, and an effect still stands",
    ),
    Mutant(
        "starts by the clock what Kafka has not taken",
        "coordinator/schedules.py",
        "        await self._producer.burst(list(self._starts(definition, times)))\n"
        "        await self._log.advance(definition.name, times[-1])\n",
        "        await self._log.advance(definition.name, times[-1])\n"
        "        await self._producer.burst(list(self._starts(definition, times)))\n",
        "whoever dies in between has lost a start",
    ),
    Mutant(
        "asks for all elements at once",
        "sagas/each.py",
        "if index >= each.at_most else ()",
        "if False else ()",
        "a participant is asked for more at once than it can bear",
    ),
    Mutant(
        "gives each element the first one's input",
        "sagas/each.py",
        "        element = self.elements(scope)[self.index]\n",
        "        element = self.elements(scope)[0]\n",
        "one guest is invited by many letters, and the others by none",
    ),
    Mutant(
        "counts the time for all attempts from when it began",
        SAGA_STATE,
        "retry.allows(max(self.steps[step].first_us, self.clock_us), next_at_us)",
        "retry.allows(self.clock_us, next_at_us)",
        "an undo that comes late has no second attempt",
    ),
    Mutant(
        "asks a busy participant past the time for all attempts",
        SAGA,
        "    if not saga.may_try_again(step.name, step.retry, now_us + pause):\n",
        "    if False:\n",
        "nothing but the deadline would end it",
    ),
    Mutant(
        "goes back where a person was to look",
        SAGA,
        "    if failed.why is Unanswered.SILENT and step.on_unknown is OnUnknown.PARK:\n",
        "    if False:\n",
        "what nobody knows is undone unseen",
    ),
    Mutant(
        "waits for what was skipped",
        SAGA_STATE,
        "            if all(steps[need].phase in OVER for need in needs):\n",
        "            if all(steps[need].phase is StepPhase.DONE for need in needs):\n",
        "a saga goes on past a step that is not wanted",
    ),
    Mutant(
        "asks a saga's first step before it has rested",
        SAGA_STATE,
        "else born.unlocked(starts_us)",
        "else born.unlocked(at_us)",
        "what was to happen later happens at once",
    ),
    Mutant(
        "asks for votes before it has rested",
        TWO_PHASE,
        "(txn.starts_us if undecided else 0, 0))",
        "(0, 0))",
        "what was to happen later happens at once",
    ),
    Mutant(
        "lets a deadline pass while it rests",
        TWO_PHASE_STATE,
        "        return self.starts_us + self.definition.vote_timeout_us\n",
        "        return self.began_us + self.definition.vote_timeout_us\n",
        "it is aborted before anyone is asked",
    ),
    Mutant(
        "turns back at a deadline where a person was to look",
        SAGA,
        "    if saga.definition.on_deadline is OnDeadline.PARK and not saga.past_pivot:\n",
        "    if False:\n",
        "what a person was to see is undone unseen",
    ),
    Mutant(
        "goes back past a pivot that was skipped",
        SAGA_STATE,
        "        return pivot is not None and self.steps[pivot.name].phase in OVER\n",
        "        return pivot is not None and self.steps[pivot.name].phase is StepPhase.DONE\n",
        "what comes after the pivot has no undo",
    ),
    Mutant(
        "turns back a saga whose pivot is asked",
        ORDERS,
        "        if saga.pivot_is_asked or at in OVER:\n",
        "        if at in OVER:\n",
        "nobody knows whether the pivot was done",
    ),
    Mutant(
        "asks again for what was refused for good",
        ORDERS,
        "    if refused and saga.before.phase is Phase.RUNNING:\n",
        "    if refused and saga.before.phase is Phase.CLOSED:\n",
        "a no is for good",
    ),
    Mutant(
        "commits by hand what not all have voted for",
        ORDERS,
        "    if len(txn.definition.branches) > 1:\n",
        "    if len(txn.definition.branches) > 9:\n",
        "commit without a durable yes of each",
    ),
    Mutant(
        "hides what was settled by hand",
        ORDERS,
        "    for branch in () if agreed else txn.waiting_for:\n",
        "    for branch in ():\n",
        "a heuristic outcome is recorded, never hidden",
    ),
    Mutant(
        "forgets an order that was refused",
        "coordinator/core/machine.py",
        "    return orders.obeyed(state, order, now_us, step.dropped) if step.dropped else step\n",
        "    return step\n",
        "each order is in the log, refused ones included",
    ),
    Mutant(
        "skips a step, and the rest with it",
        ORDERS,
        "    return close_if_done(move.remember(done, now_us), now_us)\n",
        "    return close_if_done(move.remember(done, now_us), now_us).remember(\n"
        "        Closed(outcome=Outcome.COMMITTED), now_us\n    )\n",
        "a person speaks of one step, and all others count as done",
    ),
    Mutant(
        "skips an undo, and the rest with it",
        ORDERS,
        "        return compensation.close_if_undone(move.remember(undone, now_us), now_us)\n",
        "        return move.remember(undone, now_us).remember(\n"
        "            Closed(outcome=Outcome.COMPENSATED), now_us\n        )\n",
        "compensated, and an effect still stands",
    ),
    Mutant(
        "carries out what it refuses",
        SAGA_STATE,
        "        if order.refused:\n",
        "        if order.refused and self.before is None:\n",
        "an order that was refused changes something after all",
    ),
    Mutant(
        "turns back without a record",
        ORDERS,
        "    move = move.remember(CompensationBegan(reason=_said(order)), now_us)\n",
        "    back = move.state.evolve(CompensationBegan(reason=_said(order)), now_us)\n"
        "    move = Transition(back, move.records)\n",
        "the log is the truth: the next owner goes forward again",
    ),
    Mutant(
        "keeps the old deadline after a retry",
        SAGA_STATE,
        "replace(self.before or self, clock_us=at_us, versions=self.versions)\n",
        "replace(self.before or self, versions=self.versions)\n",
        "what a person asks for again is over as soon as it begins",
    ),
    Mutant(
        "aborts by hand what is decided",
        ORDERS,
        """    if txn.decided is not None:
        refused = f"it is decided: {txn.decided.decision}"
""",
        """    if txn.decided is not None and txn.decided.decision is Decision.ABORT:
        refused = f"it is decided: {txn.decided.decision}"
""",
        "decided twice",
    ),
    # ── two-phase commit ─────────────────────────────────────────────────────
    Mutant(
        "takes silence for a yes",
        TWO_PHASE,
        'Transition(txn), Decision.ABORT, f"no vote in time',
        'Transition(txn), Decision.COMMIT, f"no vote in time',
        "commit without a durable yes of each",
    ),
    Mutant(
        "does not wait for the last vote",
        TWO_PHASE,
        """    if txn.waiting_for:
        return Transition(txn)
    return decide(""",
        """    if len(txn.waiting_for) > 1:
        return Transition(txn)
    return decide(""",
        "commit without a durable yes of each",
    ),
    Mutant(
        "decides without a record",
        TWO_PHASE,
        "    return step.remember(record, now_us)\n\n\n# ── one phase",
        "    return Transition(txn.evolve(record, now_us))\n\n\n# ── one phase",
        "the log is the truth: a decision lives in memory only",
    ),
    Mutant(
        "decides again after a late no",
        TWO_PHASE_TABLE,
        "    drop((_P.COMMITTING, _P.ABORTING), _ALL_VOTES,"
        ' "late or repeated: the decision stands"),\n',
        """    drop(
        (_P.COMMITTING, _P.ABORTING),
        tuple(v for v in _ALL_VOTES if v is not Kind.VOTED_ABORT),
        "late or repeated: the decision stands",
    ),
    on(_P.COMMITTING, Kind.VOTED_ABORT, vote_against, "one no is final"),
    on(_P.ABORTING, Kind.VOTED_ABORT, vote_against, "one no is final"),
""",
        "decided twice: check, then act (seata#3619, conductor#3491)",
    ),
    Mutant(
        "spares the silent their rollback",
        TWO_PHASE,
        "if txn.votes.get(b) not in free)",
        "if txn.votes.get(b, Vote.ABORT) not in free)",
        "a slow prepare finishes after the abort, and nobody tells it (gpdb#10393, seata#3220)",
    ),
    Mutant(
        "forgets early",
        TWO_PHASE,
        "    if txn.waiting_for or not (txn.told or txn.begun.parent):\n",
        "    if not (txn.told or txn.begun.parent):\n",
        "it ends before all have heard (gpdb#9942)",
    ),
    Mutant(
        "asks once",
        TWO_PHASE,
        "        if due_us <= now_us:\n",
        "        if due_us <= now_us and times == 0:\n",
        "a lost message is never sent again (seata#3558)",
    ),
    Mutant(
        "takes a lone branch's silence for a no",
        TWO_PHASE,
        "    return Transition(txn).remember(Withdrawn(reason=reason), now_us)\n",
        "    return decide(txn, Decision.ABORT, reason, now_us)\n",
        "reported aborted, and it has committed by itself",
    ),
    Mutant(
        "takes a late commit of a lone branch for nothing",
        TWO_PHASE_TABLE,
        "    on(_P.WITHDRAWING, Kind.SETTLED_COMMITTED, learn_commit, ",
        "    on(_P.WITHDRAWING, Kind.SETTLED_COMMITTED, learn_abort, ",
        "reported aborted, and it has committed by itself",
    ),
    Mutant(
        "tells the outcome once",
        TWO_PHASE,
        "    if _telling(txn) and txn.outcome is not None and tell_at_us <= now_us:\n",
        "    if _telling(txn) and txn.outcome is not None and not step.state.settled"
        " and tell_at_us == 0 and step.records:\n",
        "the next owner tells nobody",
    ),
    Mutant(
        "does not wake for phase two",
        TWO_PHASE,
        "    times = [_next_question(txn, name)[0] for name in txn.waiting_for]\n"
        "    if txn.votes_in_time",
        "    times = [txn.tell_at_us] if _telling(txn) else []\n    if txn.votes_in_time",
        "stuck committing, never retried (seata#3558)",
    ),
    Mutant(
        "recovers as undecided",
        TWO_PHASE_STATE,
        "                    phase=Phase.COMMITTING if committing else Phase.ABORTING,\n",
        "                    phase=Phase.COMMITTING"
        " if committing and self.votes else Phase.ABORTING,\n",
        "recovery aborts what was decided to commit (gpdb#9942)",
    ),
    # ── sagas going forward ──────────────────────────────────────────────────
    Mutant(
        "starts a step too early",
        SAGA_STATE,
        "            if all(steps[need].phase in OVER for need in needs):\n",
        "            if any(steps[need].phase in OVER for need in needs):\n",
        "a step runs before all that it needs",
    ),
    Mutant(
        "goes back past the pivot",
        SAGA,
        "    if move.state.past_pivot:\n",
        "    if move.state.past_pivot and move.state.told:\n",
        "after the pivot there is no way back",
    ),
    Mutant(
        "goes back from a silent pivot",
        SAGA,
        "    if step.pivot:\n",
        "    if step.pivot and why is Unanswered.FAILED:\n",
        "nobody knows whether the pivot was done",
    ),
    Mutant(
        "interrupts the pivot at the deadline",
        SAGA,
        "    return saga.phase is Phase.RUNNING and not saga.pivot_is_asked\n",
        "    return saga.phase is Phase.RUNNING\n",
        "nobody knows whether the pivot was done",
    ),
    Mutant(
        "fails without going back",
        SAGA,
        """    move = move.remember(CompensationBegan(reason=reason), now_us)
""",
        """    return move.remember(Closed(outcome=Outcome.ABORTED, reason=reason), now_us)
""",
        "failed, and what was done stays (dtm#272)",
    ),
    Mutant(
        "leaves the unknown alone",
        SAGA_STATE,
        "        happened = (StepPhase.RUNNING, StepPhase.DONE, StepPhase.EXHAUSTED)\n",
        "        happened = (StepPhase.DONE,)\n",
        "a step whose outcome is unknown is not undone",
    ),
    Mutant(
        "waits for an answer for ever",
        SAGA,
        "    times = [at_us for at_us in asking if at_us is not None]\n",
        "    times: list[int] = []\n",
        "running for ever after a lost message (seata#5170)",
    ),
    Mutant(
        "asks for more attempts than allowed",
        SAGA,
        "    elif tried >= step.retry.attempts:\n",
        "    elif tried > step.retry.attempts:\n",
        "retries are bounded",
    ),
    Mutant(
        "never tells again",
        SAGA,
        "    return saga.outcome is not None and saga.phase is not Phase.ENDED and not saga.told\n",
        "    return saga.outcome is not None and saga.phase is Phase.PARKED and not saga.told\n",
        "closed, and nobody hears of it",
    ),
    # ── sagas going back ─────────────────────────────────────────────────────
    Mutant(
        "undoes in any order",
        SAGA_STATE,
        "            if name in below or self.steps[name].phase in standing or",
        "            if name in below and self.steps[name].phase in standing or",
        "undo runs in reverse order of dependency",
    ),
    Mutant(
        "undoes below a step that is stuck or being undone",
        SAGA_STATE,
        "(StepPhase.TO_UNDO, StepPhase.UNDOING)\n        below",
        "(StepPhase.TO_UNDO,)\n        below",
        "undo runs in reverse order of dependency",
    ),
    Mutant(
        "closes while an undo is under way",
        COMPENSATION,
        "phases & {StepPhase.TO_UNDO, StepPhase.UNDOING} and",
        "phases & {StepPhase.TO_UNDO} and",
        "compensated, and an effect still stands",
    ),
    Mutant(
        "takes a failed undo for done",
        COMPENSATION,
        '    return _attempt_failed(saga, event, Unanswered.SILENT, "no answer in time", now_us)\n',
        "    record = StepUndone(step=event.step, attempt=event.attempt)\n"
        "    return close_if_undone(Transition(saga).remember(record, now_us), now_us)\n",
        "compensated, and an effect still stands (eventuate-tram-sagas#75)",
    ),
    Mutant(
        "lets secrets into reasons",
        "coordinator/core/transition.py",
        "            record = record if veiled == said else replace(record, reason=veiled)\n",
        "",
        "a participant that says which card it refuses has it in lists, traces and outcomes",
    ),
    Mutant(
        "takes texts for equal that differ after a zero character",
        "sagas/expressions.py",
        'if "\\0" in value else ""',
        'if "\\0\\0" in value else ""',
        "who writes an event passes for somebody else",
    ),
    Mutant(
        "lets one be found by what is sensitive",
        "sagas/search.py",
        "        if any(names[: len(path)] == path for path in hidden):\n            continue\n",
        "",
        "a card whose schema stands elsewhere in the file is in every row, and in an index",
    ),
)
