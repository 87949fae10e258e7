"""Sagas that are parked are moved to a version that mends them, or that does not fit."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from coordinator.core.transition import Status
from sagas import graph
from sagas.model import (
    Call,
    EvaluationFailed,
    Expression,
    OnRefused,
    OnUndoFailure,
    Retry,
    Saga,
    Scope,
    Step,
)
from tests.simulation.faults import Fault
from wire.envelope import MAX_BODY_BYTES, Envelope, seal
from wire.messages import Action, Order

if TYPE_CHECKING:
    from coordinator.log.store import Row
    from tests.simulation.world import World

SECOND: Final = 1_000_000
MISTAKEN: Final = 0.3
VERSION: Final = 3
_MUCH: Final = "much " * (MAX_BODY_BYTES // 4)


def mistaken(saga: Saga, seed: int) -> Saga:
    """Let a step of some sagas be asked with what has no value, or fits in no topic."""
    chance = random.Random(f"{seed} {saga.hash} mistaken")
    calls = [step for step in saga.steps.values() if step.call is not None]
    if not calls or chance.random() >= MISTAKEN:
        return saga
    wrong = calls[-1]
    data = chance.choice((_no_value, _too_much))
    return _with(saga, {**saga.steps, wrong.name: replace(wrong, data=data)})


def mended(saga: Saga, seed: int) -> Saga:
    """Make the version to which it may be moved: some words are others, and some steps."""
    chance = random.Random(f"{seed} {saga.hash} mended")
    steps = {name: _retold(step, chance) for name, step in saga.steps.items()}
    if chance.random() < 0.5:
        steps["z"] = _last(steps, chance)
    harms = (_another_with, _unwanted, _renamed, _reordered, _put_before)
    harm = chance.choice((None, None, None, *harms))
    if harm is not None:
        steps = harm(steps, chance)
    hash_ = f"sha256:{saga.name}-{VERSION}"
    lock = None if chance.random() < 0.1 else saga.lock
    made = replace(saga, version=VERSION, hash=hash_, lock=lock, deadline_us=8 * SECOND)
    return _with(made, steps)


def _with(saga: Saga, steps: Mapping[str, Step]) -> Saga:
    needs = {step.name: step.needs for step in steps.values()}
    return replace(saga, steps=steps, dependents=graph.dependents(needs))


def _retold(step: Step, chance: random.Random) -> Step:
    """Let a step have other times, and be gone without less often."""
    if chance.random() < 0.2:
        step = replace(step, on_refused=OnRefused.COMPENSATE)
    if chance.random() < 0.2:
        step = replace(step, on_undo_failure=OnUndoFailure.CONTINUE)
    return replace(step, timeout_us=SECOND // 2, retry=replace(step.retry, attempts=5))


def _last(steps: Mapping[str, Step], chance: random.Random) -> Step:
    """Make a step after all others."""
    return Step(
        name="z",
        needs=tuple(steps),
        condition=None,
        work=Call(f"p{chance.randrange(2)}", "do"),
        data=_nothing,
        key=None,
        timeout_us=SECOND,
        retry=Retry(attempts=5, first_us=SECOND // 10, factor=2, max_us=SECOND),
        on_unknown=next(iter(steps.values())).on_unknown.RETRY,
        undo=None,
        pivot=False,
    )


def _another_with(steps: Mapping[str, Step], chance: random.Random) -> dict[str, Step]:
    """Let one step be asked with something more."""
    able = [step for step in steps.values() if step.call]
    if not able:
        return dict(steps)
    step = chance.choice(able)
    return {**steps, step.name: replace(step, data=_more(step.data))}


def _unwanted(steps: Mapping[str, Step], chance: random.Random) -> dict[str, Step]:
    """Let one step not be wanted any more."""
    step = chance.choice(list(steps.values()))
    return {**steps, step.name: replace(step, condition=_never)}


def _renamed(steps: Mapping[str, Step], chance: random.Random) -> dict[str, Step]:
    """Give one step another name, as one has to that was refused."""
    confirmed = {step.confirms for step in steps.values()}
    able = [s.name for s in steps.values() if s.call and not s.confirms and s.name not in confirmed]
    if not able:
        return dict(steps)
    old = chance.choice(able)
    new = f"{old}m"
    return {
        new if name == old else name: replace(
            step,
            name=new if name == old else name,
            needs=tuple(new if need == old else need for need in step.needs),
        )
        for name, step in steps.items()
    }


def _reordered(steps: Mapping[str, Step], chance: random.Random) -> dict[str, Step]:
    """Let one step before the pivot wait for one less."""
    needs = {step.name: step.needs for step in steps.values()}
    pivots = {step.name for step in steps.values() if step.pivot}
    able = [
        name
        for name, before in needs.items()
        if before and name not in pivots and not pivots & graph.ancestors(needs, name)
    ]
    if not able:
        return dict(steps)
    name = chance.choice(able)
    return {**steps, name: replace(steps[name], needs=steps[name].needs[1:])}


def _put_before(steps: Mapping[str, Step], chance: random.Random) -> dict[str, Step]:
    """Put a step before another one, and before what is past the pivot already."""
    name = chance.choice(list(steps))
    first = replace(_last({name: steps[name]}, chance), name="y", needs=steps[name].needs)
    made: dict[str, Step] = {}
    for step in steps.values():
        if step.name == name:
            made |= {"y": first, name: replace(step, needs=(*step.needs, "y"))}
        else:
            made[step.name] = step
    return made


def _no_value(_scope: Scope) -> Any:
    raise EvaluationFailed("it has no value")


def _too_much(_scope: Scope) -> Any:
    return _MUCH


def _never(_scope: Scope) -> Any:
    return False


def _nothing(scope: Scope) -> Any:
    return {"key": scope["txn"]["key"], "amount": 0}


def _more(data: Expression) -> Expression:
    def give(scope: Scope) -> Any:
        return {**data(scope), "more": True}

    return give


class Moving:
    """The person who moves what is parked, now and then, and often more than once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._orders = 0

    def strike(self) -> None:
        """Order it of some. A log that is lost has lost its orders: there, of none."""
        faults = self._world.faults
        if faults.struck[Fault.LOG_RESTORED]:
            return
        for row in tuple(self._parked()):
            if faults.strikes(Fault.MOVED, row.key):
                self._order(row)

    def _parked(self) -> Iterator[Row]:
        for gid in sorted(self._world.log.rows):
            row = self._world.log.rows[gid]
            if row.status is Status.PARKED and row.name in self._world.programme.mended:
                yield row

    def _order(self, row: Row) -> None:
        world, between = self._world, self._world.faults.between
        to = world.programme.mended[row.name]
        if to not in world.published:
            world.published.append(to)
        if between(Fault.MOVED, 0, 1) < 0.8:
            world.programme.appease(row.key)
        self._orders += 1
        order = Order(
            gid=row.gid,
            id=f"move-{self._orders}",
            action=Action.MOVE,
            actor="ann",
            reason="mended",
            to=VERSION,
        )
        sealed = seal(
            Envelope(order),
            topic=world.topics.replies,
            source="/client",
            key=row.gid,
            partition=row.shard,
        )
        for _ in range(1 if between(Fault.MOVED, 0, 1) < 0.8 else 2):
            world.broker.append(sealed)
