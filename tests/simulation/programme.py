"""What is done in a run: definitions, starts, and how each handler will answer.

Amounts of a transaction's parts add up to nothing, so that money is neither
made nor lost by whatever is wholly done or wholly undone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from coordinator.definitions import family
from sagas.composition import sub_sagas
from sagas.group import Whole, group, together
from sagas.model import (
    AnyDefinition,
    Atomic,
    Branch,
    Busy,
    Call,
    Each,
    EvaluationFailed,
    Expression,
    Gate,
    Group,
    Lock,
    OnDeadline,
    OnRefused,
    OnTimeout,
    OnUndoFailure,
    OnUnknown,
    Retry,
    Saga,
    Scope,
    Start,
    Step,
    SubSaga,
    Undo,
    Wait,
)
from sagas.tcc import PIVOT, confirm_of
from tests.simulation import parts
from tests.simulation.faults import Fault, Faults
from tests.simulation.moving import mended, mistaken

SECOND: Final = 1_000_000
NEWS: Final = "news"
"""The topic on which sagas wait."""
STARTS_WITHIN_S: Final = (3.0, 3.0, 0.05)
"""One after the other, or all at once."""
LOCKED: Final = 0.5
THINGS: Final = ("x", "y")
MOST_ELEMENTS: Final = 3
NO_START: Final = Start(topic=None, when=None, key=None)

Mood = list[str]
"""What a handler answers, call after call; the last is repeated."""


class Starting(NamedTuple):
    """A client's start of a transaction, once or again."""

    at_s: float
    number: int
    definition: str
    key: str
    input: dict[str, Any]


@dataclass
class Programme:
    """All that a run wants to do."""

    definitions: list[AnyDefinition] = field(default_factory=list[AnyDefinition])
    later: list[AnyDefinition] = field(default_factory=list[AnyDefinition])
    """Versions that are published while the run goes on."""
    starts: list[Starting] = field(default_factory=list[Starting])
    moods: dict[tuple[str, str, bool], Mood] = field(
        default_factory=dict[tuple[str, str, bool], Mood]
    )
    by_hash: dict[str, AnyDefinition] = field(default_factory=dict[str, AnyDefinition])
    mended: dict[str, Saga] = field(default_factory=dict[str, Saga])
    """By name: the versions to which what is parked may be moved."""

    def appease(self, key: str) -> None:
        """Let all handlers of a transaction do from now on what they are asked."""
        self.moods = {whose: mood for whose, mood in self.moods.items() if whose[0] != key}

    def mood(self, key: str, name: str, *, undo: bool) -> str:
        """Tell how a handler answers this time."""
        mood = self.moods.get((key, name, undo))
        if not mood:
            return "done"
        return mood.pop(0) if len(mood) > 1 else mood[0]


def draw(seed: int, participants: int, faults: Faults) -> Programme:
    """Make up a programme."""
    chance, programme = random.Random(seed * 2), Programme()
    within_s = chance.choice(STARTS_WITHIN_S)
    for number in range(chance.randint(4, 7)):
        name, key = f"t{number}", f"k{number}"
        if chance.random() < 0.5:
            first, second = (atomic(name, n, participants, chance) for n in (1, 2))
        else:
            part = _part(programme, f"{name}-part", participants, chance)
            first, second = (saga(name, n, participants, chance, part) for n in (1, 2))
            programme.mended[name] = mended(first, seed)
            first = mistaken(first, seed)
        programme.definitions.append(first)
        _set_moods(programme, first, key, chance)
        begun = Starting(chance.uniform(0, within_s), number, name, key, {"n": 1})
        if number in faults.plan.dropped:
            continue
        if faults.strikes(Fault.VERSION_PUBLISHED):
            programme.later.append(second)
        programme.starts.append(begun)
        programme.starts += _again(begun, faults)
    everything = [*programme.definitions, *programme.later, *programme.mended.values()]
    programme.by_hash = {part.hash: part for one in everything for part in family(one)}
    return programme


def _part(programme: Programme, name: str, participants: int, chance: random.Random) -> str:
    """Make up what may be a step of others, in two versions; return its name, or none."""
    if chance.random() < 0.6:
        return ""
    first, second = (parts.tamed(saga(name, n, participants, chance)) for n in (1, 2))
    programme.definitions.append(first)
    programme.later += [second] * (chance.random() < 0.5)
    return name


def _again(begun: Starting, faults: Faults) -> list[Starting]:
    again: list[Starting] = []
    for fault, body in ((Fault.START_REPEATED, {"n": 1}), (Fault.START_CHANGED, {"n": 2})):
        if faults.strikes(fault, begun.key):
            after_s = 3 * faults.between(fault, 0, 1) ** 4  # often at once, sometimes late
            again.append(begun._replace(at_s=begun.at_s + after_s, input=body))
    return again


def atomic(name: str, version: int, participants: int, chance: random.Random) -> Atomic:
    """Make up an atomic transaction of one to three branches."""
    count = chance.choice((1, 2, 2, 2, 3))
    amounts = {1: (0,), 2: (7, -7), 3: (9, -9, 0)}[count]
    hopeless = chance.random() < 0.1
    branches = {
        f"b{i}": Branch(
            name=f"b{i}",
            call=Call(f"p{chance.randrange(participants)}", "work"),
            data=_impossible if hopeless else _data(amount),
            key=None,
        )
        for i, amount in enumerate(amounts)
    }
    return Atomic(
        **_common(name, version, chance),
        vote_timeout_us=int(chance.choice((0.5, 1.5, 3)) * SECOND),
        branches=branches,
    )


def saga(
    name: str, version: int, participants: int, chance: random.Random, part: str | None = None
) -> Saga:
    """Make up a saga: steps, some parallel, perhaps a pivot, and what comes after it.

    Without a ``part``, not even an empty one, it is to be one itself, and is simpler.
    """
    before, after, is_part = chance.randint(1, 3), 0, part is None
    pivot = chance.random() < 0.4 and not is_part
    if pivot:
        after = chance.randint(0, 2)
    steps: dict[str, Step] = {}
    for i in range(before):
        needs = tuple(earlier for earlier in steps if chance.random() < 0.5)
        steps[f"s{i}"] = _step(f"s{i}", needs, participants, chance, can_undo=True)
    if chance.random() < 0.25:
        steps["w"] = _waiting(("s0",) if chance.random() < 0.5 else (), chance)
    if pivot:
        steps["pivot"] = _step("pivot", tuple(steps), participants, chance, pivot=True)
    for i in range(after):
        steps[f"a{i}"] = _step(f"a{i}", ("pivot",), participants, chance)
    steps |= {} if is_part else _confirms(steps, chance)
    common = _common(name, version, chance)
    steps = {
        name: _group(step, common, participants, chance)
        if not is_part and _may_be_group(steps, step)
        else step
        for name, step in steps.items()
    }
    if part:
        able = [step for step in steps.values() if _may_be_group(steps, step) and not step.each]
        whole = chance.choice(able or [None])
        steps |= {whole.name: parts.as_step(whole, part)} if whole else {}
    # What may stand after an undo is worth nothing, and neither is what may be skipped.
    amounts = {
        name: int(_counts(step) and (step.undo is not None or i >= before))
        for i, (name, step) in enumerate(steps.items())
    }
    first = next((name for name in steps if _counts(steps[name]) and steps[name].undo), "")
    if first:
        amounts[first] -= sum(amounts.values())
    made = {
        name: step
        if isinstance(step.work, Group | SubSaga)
        else replace(step, data=_data(amounts[name] if first else 0))
        for name, step in steps.items()
    }
    dependents = {n: tuple(m for m, step in made.items() if n in step.needs) for n in made}
    return Saga(
        **common,
        deadline_us=int(chance.choice((2, 8, 30)) * SECOND),
        on_deadline=OnDeadline.PARK if chance.random() < 0.1 else OnDeadline.COMPENSATE,
        steps=made,
        dependents=dependents,
        lock=_lock(chance) if chance.random() < LOCKED else None,
    )


def _lock(chance: random.Random) -> Lock:
    """Make up a lock on one or two of few things, so that sagas meet there."""
    names = chance.sample(THINGS, chance.choice((1, 1, 2)))
    busy = chance.choice((Busy.WAIT, Busy.WAIT, Busy.REJECT, Busy.ALLOW))
    return Lock(key=lambda _scope: names, busy=busy)


def _step(
    name: str,
    needs: tuple[str, ...],
    participants: int,
    chance: random.Random,
    *,
    can_undo: bool = False,
    pivot: bool = False,
) -> Step:
    where = f"p{chance.randrange(participants)}"
    undo = Undo(
        work=Call(where, "undo"),
        data=None,
        timeout_us=int(chance.choice((0.4, 1)) * SECOND),
        retry=_retry(chance.choice((4, 12)), chance),
    )
    return Step(
        name=name,
        needs=needs,
        condition=_condition(chance),
        work=Call(where, "do"),
        data=_data(0),
        key=None,
        timeout_us=int(chance.choice((0.3, 1)) * SECOND),
        retry=_retry(chance.choice((2, 8)), chance),
        on_unknown=_on_unknown(chance, back=can_undo),
        undo=undo if can_undo and chance.random() < 0.9 else None,
        pivot=pivot,
        on_refused=OnRefused.CONTINUE if chance.random() < 0.15 else OnRefused.COMPENSATE,
        each=_each(chance) if not pivot else None,
        on_undo_failure=(OnUndoFailure.CONTINUE if chance.random() < 0.3 else OnUndoFailure.PARK),
    )


def _may_be_group(steps: Mapping[str, Step], step: Step) -> bool:
    """Tell whether a step is but a call."""
    if step.each is not None:
        return False
    tried = {one.confirms for one in steps.values()}
    return step.call is not None and step.confirms is None and step.name not in tried


def _group(step: Step, common: Mapping[str, Any], participants: int, chance: random.Random) -> Step:
    """Let a step be branches that commit together, perhaps; and its undo as well."""
    if chance.random() < 0.8:
        return step
    whole = Whole(common["name"], common["version"], common["hash"], "", 30 * 86_400 * SECOND)
    vote_us = int(chance.choice((0.5, 1.5)) * SECOND)
    amounts = {f"{step.name}x": 5, f"{step.name}y": -5}

    def together_of(part: str, sign: int) -> tuple[Group, Expression]:
        prefix = "" if sign > 0 else "u"
        calls = {
            f"{name}{prefix}": Call(f"p{chance.randrange(participants)}", "work")
            for name in amounts
        }
        data = {f"{name}{prefix}": _data(sign * amount) for name, amount in amounts.items()}
        return group(whole, part, calls, vote_us), together(data)

    work, data = together_of(step.name, 1)
    undo = step.undo
    if undo is not None:
        back, gets = together_of(f"{step.name}.undo", -1)
        undo = replace(undo, work=back, data=gets)
    return replace(step, work=work, data=data, undo=undo)


def _confirms(steps: Mapping[str, Step], chance: random.Random) -> dict[str, Step]:
    """Let some steps that can be undone be confirmed past the pivot, or past all else."""
    able = [step for step in steps.values() if step.undo is not None and step.each is None]
    tries = [step for step in able if chance.random() < 0.2]
    if not tries:
        return {}
    pivot, made = "pivot", dict[str, Step]()
    if pivot not in steps:
        pivot = PIVOT
        ends = _step(pivot, tuple(steps), 1, chance, pivot=True)
        made[pivot] = replace(ends, work=Gate(), condition=None, each=None)
    for tried in tries:
        assert tried.call is not None, f"{tried.name} asks nobody"
        again = _step(confirm_of(tried.name), (pivot, tried.name), 1, chance)
        made[again.name] = replace(
            again,
            work=Call(tried.call.participant, "do"),
            condition=tried.condition,
            confirms=tried.name,
            on_refused=OnRefused.COMPENSATE,
            each=None,
        )
    return made


def _waiting(needs: tuple[str, ...], chance: random.Random) -> Step:
    """Make a step that waits for the news of its transaction's key."""
    wait = Wait(
        topic=NEWS,
        about="event.of",
        key_of=lambda scope: scope["event"]["of"],
        key=lambda scope: scope["txn"]["key"],
        match=lambda scope: scope["event"]["true"],
        timeout_us=chance.choice((None, SECOND // 2, 2 * SECOND)),
        on_timeout=OnTimeout.CONTINUE if chance.random() < 0.5 else OnTimeout.FAIL,
    )
    step = _step("w", needs, 1, chance)
    return replace(step, work=wait, condition=None, on_unknown=OnUnknown.RETRY)


def _each(chance: random.Random) -> Each | None:
    if chance.random() < 0.9:
        return None
    elements = list(range(chance.randint(0, MOST_ELEMENTS)))
    return Each(lambda _scope: elements, at_most=chance.randint(1, 2))


def _condition(chance: random.Random) -> Expression | None:
    if chance.random() < 0.8:
        return None
    wanted = chance.random() < 0.5
    return lambda _scope: wanted


def _on_unknown(chance: random.Random, *, back: bool) -> OnUnknown:
    """Mostly the default; and what leads back only where there is a way back."""
    drawn = chance.random()
    if drawn < 0.9:
        return OnUnknown.RETRY
    return OnUnknown.COMPENSATE if back and drawn < 0.95 else OnUnknown.PARK


def _counts(step: Step) -> bool:
    """Tell whether a step is done if all goes well, and nothing else will do."""
    wanted = step.condition is None or bool(step.condition({}))
    certain = wanted and step.on_refused is OnRefused.COMPENSATE
    return certain and step.each is None and step.call is not None and step.confirms is None


def _common(name: str, version: int, chance: random.Random) -> dict[str, Any]:
    delay_us = int(chance.choice((0.2, 2)) * SECOND) if chance.random() < 0.2 else 0
    return {
        "name": name,
        "version": version,
        "hash": f"sha256:{name}-{version}",
        "source": "",
        "start": replace(NO_START, delay_us=delay_us),
        "check_input": _accept,
        "output": None,
    }


def _retry(attempts: int, chance: random.Random) -> Retry:
    return Retry(
        attempts=attempts,
        first_us=SECOND // 10,
        factor=2,
        max_us=SECOND,
        jitter=chance.random() < 0.8,
        budget_us=3 * SECOND if chance.random() < 0.1 else None,
    )


def _accept(value: Any) -> None:
    del value


def _data(amount: int) -> Expression:
    def give(scope: Scope) -> Any:
        return {"key": scope["input"].get("of", scope["txn"]["key"]), "amount": amount}

    return give


def _impossible(_scope: Scope) -> Any:
    raise EvaluationFailed("it has no value")


_VOTES: Final = ("done",) * 8 + ("busy", "refused", "failed", "slow")
_ANSWERS: Final = ("done",) * 9 + ("busy", "refused", "failed", "slow")


def _set_moods(
    programme: Programme,
    definition: AnyDefinition,
    key: str,
    chance: random.Random,
    ends: Sequence[str] = ("refused", "broken"),
) -> None:
    """Decide how each handler of one transaction answers."""
    moods = programme.moods
    if isinstance(definition, Atomic):
        calm = chance.random() < 0.5
        for name in definition.branches:
            mood = "done" if calm else chance.choice(_VOTES)
            if name == "b2" and chance.random() < 0.4:
                mood = "read-only"
            moods[key, name, False] = _mood(mood, chance)
        return
    calm = chance.random() < 0.4
    for part in (one for step in definition.steps.values() for one in step.groups):
        for name in part.branches:
            moods[key, name, False] = _mood("done" if calm else chance.choice(_VOTES), chance)
    many = [f"{name}.{i}" for name in definition.steps for i in range(MOST_ELEMENTS)]
    for name in (*definition.steps, *many):
        moods[key, name, False] = _mood("done" if calm else chance.choice(_ANSWERS), chance)
        undo = chance.choice(("busy", "failed", "slow", *ends))
        moods[key, name, True] = _mood("done" if chance.random() < 0.9 else undo, chance)

    for name, part in sub_sagas(definition).items():
        inner = next(one for one in programme.definitions if one.name == part)
        _set_moods(programme, inner, parts.key_of(key, name), chance, ends=())


def _mood(mood: str, chance: random.Random) -> Mood:
    match mood:
        case "busy" | "failed" | "slow":
            return [mood] * chance.randint(1, 3) + ["done"]
        case "broken":
            return ["failed"]
        case _:
            return [mood]
