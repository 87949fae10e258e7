"""What must be so when a run is over, and while it goes on in the coordinators' memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from coordinator.core import machine
from coordinator.core.records import Outcome
from coordinator.core.transition import Status
from coordinator.engine import Engine
from sagas.each import written
from sagas.model import Atomic, Group, OnRefused, Saga, SubSaga
from tests.simulation.check import Check
from tests.simulation.database import Effect
from tests.simulation.facts import Facts, did, wanted
from tests.simulation.log import SimLog
from tests.simulation.programme import Starting

PARKING = {Outcome.PARKED}


def is_over(check: Check, log: SimLog, starts: Iterable[Starting]) -> bool:
    """Tell whether everything has begun and ended, and nothing is in doubt."""
    begun = {(row.name, row.key) for row in log.rows.values()}
    return (
        all((start.definition, start.key) in begun for start in starts)
        and not any(_is_open(check, log, gid) for gid in log.rows)
        and not any(database.prepared for database in check.databases.values())
        and not _claimed(log)
    )


def what_is_open(check: Check, log: SimLog, starts: Iterable[Starting]) -> str:
    """Say what keeps a run from being over."""
    begun = {(row.name, row.key) for row in log.rows.values()}
    missing = sorted({s.key for s in starts if (s.definition, s.key) not in begun})
    active = [
        f"{row.key} {row.status}" for gid, row in log.rows.items() if _is_open(check, log, gid)
    ]
    prepared = sorted(name for d in check.databases.values() for name in d.prepared)
    said = f"never begun {missing}, open {active}, prepared {prepared}"
    return f"{said}, locks with what is over {_claimed(log)}"


def _is_open(check: Check, log: SimLog, gid: str) -> bool:
    """Tell whether something is yet to come of it; a part of what is parked waits with it."""
    row, facts = log.rows[gid], check.facts.get(gid)
    if facts is None or not facts.held:
        return row.active or row.status is Status.OPEN
    assert facts.part_of is not None, f"{gid} is kept for nobody"
    parent = facts.part_of[0]
    return log.rows[parent].status is Status.ENDED or _is_open(check, log, parent)


def _claimed(log: SimLog) -> list[str]:
    """Name the locks that what has ended still has. What is parked keeps its own.

    An old message may let it stand in a queue: that is found when it has its turn.
    """
    rows = log.rows
    return [
        lock for gid, lock in log.holders if gid not in rows or rows[gid].status is Status.ENDED
    ]


def memory(check: Check, log: SimLog, engine: Engine) -> None:
    """Compare what an owner has in mind with what the log says, where both are at rest."""
    holdings = engine._holdings  # pyright: ignore[reportPrivateUsage]  # a look, no touch
    if engine._setting.facts.generation < check.generation:  # pyright: ignore[reportPrivateUsage]
        return  # of a log that is lost
    for live in holdings.live.values():
        facts, shard = check.facts.get(live.gid), holdings.shards[live.shard]
        if facts is None or facts.entries != live.next_seq:
            continue  # on its way to the log, or no longer ours
        if shard.epoch != check.epochs[live.shard]:
            continue
        entries = log.entries(live.gid)
        versions = [check.by_hash[hash_] for hash_ in machine.followed(entries)]
        replayed = machine.recover(live.gid, facts.definition, entries, versions)
        check.insist(replayed == live.state, "replaying the log gives the state", live.gid)
        at_rest = live.state.phase in ("ended", "parked") or facts.held
        waits = bool(facts.children - facts.returned)
        wakes = at_rest or waits or machine.wake_at_us(live.state) is not None
        check.insist(wakes, "whatever is open has a next time", live.gid)


def everything(check: Check, log: SimLog, starts: Iterable[Starting]) -> None:
    """Judge a run that is over."""
    all_starts = list(starts)
    changed = {s.key for s in all_starts if s.input != {"n": 1}}
    keys: Counter[str] = Counter(row.key for row in log.rows.values())
    check.insist(max(keys.values(), default=0) <= 1, "one transaction a key", f"{keys}")
    for gid, row in log.rows.items():
        facts = check.facts[gid]
        check.insist(not _is_open(check, log, gid), "everything ends", gid)
        shown = row.outcome == facts.outcome or facts.held
        check.insist(shown, "the row shows the outcome", gid)
        told = check.outcomes[row.key] - {"REFUSED"}
        if facts.moved and row.status is Status.ENDED:
            told -= PARKING
        if facts.part_of is not None:
            check.insist(not told, "its saga alone is told", f"{gid} {told}")
            _judge(check, gid, facts)
            continue
        check.insist(told == {str(row.outcome)}, "the outcome is told, and one", f"{gid} {told}")
        refused = "REFUSED" in check.outcomes[row.key]
        check.insist(not refused or row.key in changed, "refused only if changed", gid)
        _judge(check, gid, facts)
    _money(check)


def _judge(check: Check, gid: str, facts: Facts) -> None:
    if isinstance(facts.definition, Atomic):
        _atomic(check, gid, facts, facts.definition)
    else:
        _saga(check, gid, facts, facts.definition)


def what_stands(check: Check) -> tuple[dict[str, int], list[Effect]]:
    """Return what nothing may change any more: the log, and the effects of what has an end.

    A step that may stand after its saga went back is not sealed, so a late
    copy of it may still come to stand.
    """
    records = {gid: facts.entries for gid, facts in check.facts.items()}
    effects = [
        effect
        for database in check.databases.values()
        for effect in database.ledger
        if not _may_come_late(check.facts[effect.gid], effect.name)
    ]
    return records, effects


def _may_come_late(facts: Facts, part: str) -> bool:
    if isinstance(facts.definition, Atomic) or facts.outcome is Outcome.COMMITTED:
        return False
    steps = facts.definition.steps
    # How many a step was, a log that was lost may have known alone.
    return facts.outcome in PARKING or steps[part if part in steps else written(part)].undo is None


def _atomic(check: Check, gid: str, facts: Facts, definition: Atomic) -> None:
    ends = {Outcome.COMMITTED, Outcome.ABORTED}
    check.insist(facts.outcome in ends, "nobody breaks a promise", f"{gid} {facts.outcome}")
    for branch in definition.branches:
        count = check.happened[gid, branch, False]
        wanted = 1 if facts.outcome is Outcome.COMMITTED else 0
        if (gid, branch) in check.said_read_only:
            wanted = 0
        check.insist(count == wanted, "agreement", f"{gid} {facts.outcome} {branch}: {count}")


def _saga(check: Check, gid: str, facts: Facts, definition: Saga) -> None:
    for name, step in definition.steps.items():
        if isinstance(step.work, Group | SubSaga):
            done, undone = (did(check.facts, gid, name, undoing=u) for u in (False, True))
        elif step.call is None or (step.each is not None and check.lost):
            continue  # how many it was, the lost log knew
        else:
            done, undone = check.happened[gid, name, False], check.happened[gid, name, True]
        match facts.outcome:
            case Outcome.COMMITTED:
                meant = wanted(definition, name) and not facts.goes_without(name)
                # The no of a part, and of what was too large to ask, only the log knew.
                forgot = check.lost and step.on_refused is OnRefused.CONTINUE
                meant = done if forgot else meant
                holds = (done, undone) == (int(meant), 0)
            case Outcome.COMPENSATED:
                holds = done == undone if step.undo else undone == 0
            case Outcome.ABORTED:
                holds = (done, undone) == (0, 0)
            case _:
                holds = undone <= done <= 1
        check.insist(
            holds, "the outcome is true", f"{gid} {facts.outcome} {name}: {done} - {undone}"
        )


def _money(check: Check) -> None:
    total = 0
    for database in check.databases.values():
        for effect in database.ledger:
            facts = check.facts[effect.gid]
            left_out = facts.short and facts.outcome is Outcome.COMMITTED
            if facts.outcome not in PARKING and not left_out:
                total += effect.amount
    check.insist(total == 0, "money is neither made nor lost", f"{total}")
