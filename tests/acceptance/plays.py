"""Every scenario as a play: what is given, who answers what, and how it must end.

How it must end is what the rehearsal says, which has no servers and no time.
A play has three acts. What the rehearsal asks first is asked in the first
act, what it asks last in the last: so whoever dies between two acts dies in
the middle of every play.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from coordinator.rehearsal.actors import DONE, STANDS, UNDONE, Act, Answer, Part, Script
from coordinator.rehearsal.run import group_marks, of_branches
from coordinator.rehearsal.sample import sample_input, sample_results
from coordinator.rehearsal.script import ScenarioFile, ScenarioPart, answer, named
from coordinator.rehearsal.trial import Told, label, try_all
from sagas.each import written
from sagas.loader import load
from sagas.model import AnyDefinition, Approve, Group, Saga, Step, Wait
from sagas.shape import fitted
from sagas.source import Source
from wire.messages import Command, Json

FOLDERS: Final = (
    Path(__file__).parents[2] / "sagas" / "gallery",
    Path(__file__).parent / "words",  # what no definition of the gallery has a use for
)
LAST_ACT: Final = 2
AT_ONCE_US: Final = 5_000_000
"""What the rehearsal asks within this time, nobody has to wait for."""
HASTY_US: Final = 15_000_000
"""A step whose answer is awaited for less is asked at once, whatever the act: it is to be silent,
and whoever holds it up would make it so."""

CHANGED: Final[Mapping[str, Mapping[str, Any]]] = {
    # A silence is short, or it would be the longest thing here.
    "travel-booking": {"steps.pay.timeout": "2s", "steps.pay.retry.first": "200ms"},
    "parcel-return": {"steps.refund.timeout": "10s"},
    "seller-payout": {"steps.pay.timeout": "10s"},
    "number-porting": {"steps.activate.timeout": "10s"},
    "data-erasure": {"steps.mails.retry.first": "100ms"},
    # Somebody dies between two votes, and another one needs seconds to take over.
    "warehouse-stock": {"vote_timeout": "2m"},
    "split-order": {"steps.take.atomic.vote_timeout": "2m"},
}
"""What is published otherwise than it is written; all else is as in the gallery."""


@functools.cache
def definitions() -> Mapping[str, AnyDefinition]:
    """Load the gallery as it is published here."""
    files = (file for folder in FOLDERS for file in sorted(folder.glob("*.yaml")))
    loaded = (load(published(file), file.name) for file in files)
    return {definition.name: definition for definition in loaded}


def published(file: Path) -> str:
    """Write a definition with what is changed of it. JSON is YAML."""
    text = file.read_text()
    if file.stem not in CHANGED:
        return text
    value = Source(text, file.name).value
    for path, said in CHANGED[file.stem].items():
        *above, word = path.split(".")
        part = functools.reduce(lambda inner, key: inner.setdefault(key, {}), above, value)
        part[word] = said
    return json.dumps(value)


@dataclass(frozen=True, kw_only=True)
class Play:
    """One scenario, with a start key of its own."""

    title: str
    key: str
    definition: AnyDefinition
    input: dict[str, Json]
    part: ScenarioPart
    script: Script
    usual: Mapping[str, Json]
    """What each step or branch returns, if the script says nothing else."""
    told: Told
    """What the rehearsal says."""

    def __str__(self) -> str:
        return f"{self.definition.name}: {self.title}"

    @property
    def steps(self) -> Mapping[str, Step]:
        """Those of a saga."""
        return self.definition.steps if isinstance(self.definition, Saga) else {}

    @functools.cached_property
    def asked_at_us(self) -> Mapping[str, int]:
        """When each command was first sent, in the rehearsal."""
        return {label(one): one.at_us for one in reversed(self.told.asked)}

    @functools.cached_property
    def commands(self) -> Mapping[str, Command]:
        """What was sent first by each name, in the rehearsal."""
        return {label(one): one.command for one in reversed(self.told.asked)}

    @functools.cached_property
    def acts(self) -> Mapping[str, int]:
        """In which act each command arrives, from 0. What is silent for a short time, at once.

        What comes before a wait comes before the last act, since time passes then.
        """
        waves = sorted(set(self.asked_at_us.values()))

        def act(of: str) -> int:
            later = len(waves) - 1 - waves.index(self.asked_at_us[of])
            latest = LAST_ACT - (self.waits and self.asked_at_us[of] < self._waits_until_us)
            return (
                0 if self._is_hasty(of) else max(0, min(latest, LAST_ACT - 3 * later // len(waves)))
            )

        return {one: act(one) for one in self.asked_at_us}

    @property
    def _waits_until_us(self) -> int:
        """Tell when it goes on, in the rehearsal, after nobody was asked for long."""
        times = [0, *sorted(set(self.asked_at_us.values())), self.told.took_us]
        after = (then for at, then in itertools.pairwise(times) if then - at > AT_ONCE_US)
        return next(after, 0)

    def _is_hasty(self, asked: str) -> bool:
        step = self.steps.get(written(asked))
        return step is not None and step.timeout_us < HASTY_US

    @property
    def locks(self) -> list[str]:
        """Name what it locks."""
        lock = self.definition.lock if isinstance(self.definition, Saga) else None
        found: str | list[str] = lock.key({"input": self.input}) if lock is not None else []
        return [found] if isinstance(found, str) else found

    @property
    def waits(self) -> bool:
        """Tell whether it waits for an event or a person, for longer than anybody here does."""
        steps = self.steps.values()
        waiting = {step.name for step in steps if isinstance(step.work, Wait | Approve)}
        return bool(self.part.meanwhile) or any(name in waiting for name, _ in self.script)

    def seen(self, act: int) -> set[str]:
        """Tell which commands must have been sent once this act is played: those held as well.

        Which branches are told to roll back depends on whose vote came first.
        """
        found: set[str] = set()
        before = 0
        for at_us in sorted(set(self.asked_at_us.values())):
            wave = {one for one, when in self.asked_at_us.items() if when == at_us}
            if at_us - before > AT_ONCE_US:
                break
            found |= wave
            if any(self.acts[one] > act for one in wave):
                break
            before = at_us
        return {one for one in found if not one.startswith("rollback ")}

    def beside(self, asked: str) -> set[str]:
        """Name those that take effect beside a refusal: who was first is not left to chance."""
        name, part = named(asked)
        if part is not Part.DO or self.answers(name, part)[0].act is not Act.REFUSED:
            return set()
        wave = {one for one, at_us in self.asked_at_us.items() if at_us == self.asked_at_us[asked]}
        return {one for one in wave if self.answers(*named(one))[0].act is Act.DONE}

    def answers(self, name: str, part: Part) -> tuple[Answer, ...]:
        """Tell what becomes of one command after the other; the last is repeated."""
        return self.script.get((name, part), self.script.get((written(name), part), (DONE,)))

    def result(self, name: str, said: Answer) -> Json:
        """Tell what a step or branch returns."""
        usual = self.usual.get(name, self.usual.get(written(name)))
        return usual if said.data is None else said.data

    def marks(self, done: Collection[str], undone: Collection[str]) -> tuple[set[str], set[str]]:
        """Tell what stands and what was undone, as the rehearsal does: atomic steps as a whole."""
        marks = {name: UNDONE if name in undone else STANDS for name in done}
        if isinstance(self.definition, Saga):
            steps = self.steps.values()
            groups = tuple(f"{step.name}." for step in steps if isinstance(step.work, Group))
            whole = group_marks(self.definition, marks)
            marks = {name: mark for name, mark in marks.items() if not name.startswith(groups)}
            marks.update(whole)
        stands = {name for name, mark in marks.items() if mark == STANDS}
        return stands, {name for name, mark in marks.items() if mark == UNDONE}


@functools.cache
def plays() -> Mapping[str, Play]:
    """Rehearse all scenarios, and return them by their start keys."""
    found = [
        _play(definition, title, f"{name}-{number}")
        for name, definition in definitions().items()
        for number, title in enumerate(_scenarios(name)["scenarios"])
    ]
    return {play.key: play for play in found}


def _scenarios(name: str) -> dict[str, Any]:
    files = (folder / "scenarios" / f"{name}.yaml" for folder in FOLDERS)
    [text] = [file.read_text() for file in files if file.exists()]
    return Source(text, name).value


def _play(definition: AnyDefinition, title: str, key: str) -> Play:
    """Rehearse one scenario, in a file of its own, with this key in place of the one it has."""
    file = _scenarios(definition.name)
    file["scenarios"] = {title: file["scenarios"][title]}
    given = file["scenarios"][title].get("input") or file.get("input") or sample_input(definition)
    text = json.dumps(file)
    if definition.start.key is not None:
        old = str(definition.start.key({"event": given}))
        text = re.sub(rf"\b{re.escape(old)}\b", key, text)
        given = json.loads(re.sub(rf"\b{re.escape(old)}\b", key, json.dumps(given)))
        assert definition.start.key({"event": given}) == key, f"{title}: {old} is not all of a text"
    source = Source(text, title)
    script = fitted(source, ScenarioFile)
    part = script.scenarios[title]
    [tried] = try_all(source, script, definition)
    assert not tried.failures, tried.failures
    replies, usual = {**script.replies, **part.replies}, sample_results(definition)
    return Play(
        title=title,
        key=key,
        definition=definition,
        input=given,
        part=part,
        script={named(name): tuple(map(answer, said)) for name, said in replies.items()},
        usual={**usual, **of_branches(definition, usual)},
        told=tried.told,
    )
