"""A scenario file, played: each scenario by the real core, compared with what is expected."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from coordinator.core import machine
from coordinator.rehearsal.actors import STANDS, UNDONE, Actors, Asked, Script, target
from coordinator.rehearsal.arrivals import willing
from coordinator.rehearsal.outside import unheard
from coordinator.rehearsal.play import Crash, Happened, Play
from coordinator.rehearsal.run import group_marks, marked, of_branches
from coordinator.rehearsal.sample import sample_input, sample_results
from coordinator.rehearsal.script import (
    CallPart,
    CrashPart,
    ExpectPart,
    ScenarioFile,
    ScenarioPart,
    answer,
    happening,
    named,
)
from sagas.each import written
from sagas.model import AnyDefinition, EvaluationFailed, Group, InputRefused, Saga
from sagas.problems import DefinitionInvalid, Problem, did_you_mean, pointed
from sagas.source import Path, Source
from wire import gids
from wire.messages import Commit, Compensate, Execute, Json, Prepare, Rollback

SECOND_US: Final = 1_000_000


class Failure(NamedTuple):
    """An expectation that was not met, and where it stands."""

    file: str
    line: int
    column: int
    message: str
    excerpt: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: failed: {self.message}\n{pointed(self.line, self.column, self.excerpt)}"


@dataclass(frozen=True)
class Told:
    """What became of a scenario."""

    outcome: str
    reason: str = ""
    output: Json = None
    key: str | None = None
    stands: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    took_us: int = 0
    asked: tuple[Asked, ...] = ()
    happened: tuple[Happened, ...] = ()


@dataclass(frozen=True)
class Tried:
    """One scenario, what became of it, and what of that was not expected."""

    name: str
    told: Told
    failures: tuple[Failure, ...]


def try_all(source: Source, script: ScenarioFile, definition: AnyDefinition) -> list[Tried]:
    """Play every scenario of a file.

    Raises:
        DefinitionInvalid: the file names steps that the definition does not have.

    """
    unknown = (*_unknown(source, script, definition), *unheard(source, script, definition))
    if problems := list(unknown):
        raise DefinitionInvalid(problems)
    tried: list[Tried] = []
    for name, scenario in script.scenarios.items():
        told = _play(definition, script, scenario)
        path: Path = ("scenarios", name, "expect")
        judge = _Judge(source, path, told)
        judge.compare(scenario.expect)
        tried.append(Tried(name, told, tuple(judge.failures)))
    return tried


def label(asked: Asked) -> str:
    """Name a command as scenario files do."""
    match asked.command:
        case Execute() | Prepare():
            return target(asked.command)[0]
        case Compensate():
            return f"undo {asked.command.step}"
        case Commit():
            return f"commit {asked.command.branch}"
        case Rollback():
            return f"rollback {asked.command.branch}"


# ── playing ──────────────────────────────────────────────────────────────────


def _play(definition: AnyDefinition, script: ScenarioFile, scenario: ScenarioPart) -> Told:
    given = scenario.input if scenario.input is not None else script.input
    given = sample_input(definition) if given is None else given
    start = definition.start
    try:
        if start.topic and start.when is not None and not start.when({"event": given}):
            return Told("IGNORED", "`start.when` is false")
        key = str(start.key({"event": given})) if start.topic and start.key else "scenario"
        definition.check_input(given)
    except (EvaluationFailed, InputRefused) as error:
        return Told("REFUSED", str(error))
    if not gids.is_start_key(key):
        return Told("REFUSED", gids.KEY_RULE)
    said = {
        named(name): answers for name, answers in {**script.replies, **scenario.replies}.items()
    }
    replies: Script = {what: tuple(map(answer, answers)) for what, answers in said.items()}
    data = sample_results(definition)
    actors = Actors(replies, {**data, **of_branches(definition, data)})
    meanwhile = [(part.after, happening(part)) for part in scenario.meanwhile]
    # What happens by the clock must fit as it must for real.
    wishes = {name for name, _ in said} if meanwhile else None
    held_us, crash = scenario.held, _crash(scenario.crash)
    play = Play(willing(definition, wishes), actors, crash, held_us, meanwhile)
    state = play.run(given, key)
    if isinstance(state.definition, Saga):
        actors.marks.update(group_marks(state.definition, actors.marks))
    ended = not machine.summary(state).active and state.outcome is not None
    return Told(
        outcome=str(state.outcome) if ended else "never ends",
        reason=state.reason,
        output=play.told.output if play.told is not None else None,
        key=key,
        stands=marked(state.definition, actors.marks, STANDS),
        undone=marked(state.definition, actors.marks, UNDONE),
        took_us=play.ended_us,
        asked=_once(actors.asked),
        happened=tuple(play.happened),
    )


def _crash(part: CrashPart | None) -> Crash | None:
    if part is None:
        return None
    what = part.before or part.after or ""
    return Crash(*named(what), answered=part.before is None)


def _once(asked: list[Asked]) -> tuple[Asked, ...]:
    """Leave out what repeats a command word for word: it is sent until it is answered."""
    commands = [one.command for one in asked]
    return tuple(one for i, one in enumerate(asked) if commands.index(one.command) == i)


# ── names ────────────────────────────────────────────────────────────────────


def _unknown(source: Source, script: ScenarioFile, definition: AnyDefinition) -> Iterator[Problem]:
    """Find names that the definition does not have; a reply to nobody would change nothing."""
    parts = definition.steps if isinstance(definition, Saga) else definition.branches
    known, many = {*parts, *_branches(definition)}, _many(definition)
    for said, path, key in _names(script):
        name = said.partition(" ")[2] if said.split(" ")[0] in _VERBS else said
        if _UNDOING.sub(".", name) not in known and written(name) not in many:
            what = "step" if isinstance(definition, Saga) else "branch"
            message = f"`{definition.name}` has no {what} `{name}`"
            yield source.problem(
                "unknown-step", message, did_you_mean(name, known), path=path, key=key
            )


def _branches(definition: AnyDefinition) -> set[str]:
    """Name the branches of atomic steps: `swap.give`; in the n-th undo it is `swap.undo.n.give`."""
    steps = definition.steps.values() if isinstance(definition, Saga) else ()
    works = {step.name: step.work for step in steps if isinstance(step.work, Group)}
    return {f"{name}.{one}" for name, work in works.items() for one in work.definition.branches}


_UNDOING: Final = re.compile(r"\.undo\.\d+\.")


def _many(definition: AnyDefinition) -> set[str]:
    """Name the steps of which there are as many as a list has elements."""
    steps = definition.steps.values() if isinstance(definition, Saga) else ()
    return {step.name for step in steps if step.each is not None}


_VERBS: Final = frozenset({"undo", "end", "commit", "rollback"})


def _names(script: ScenarioFile) -> Iterator[tuple[str, Path, bool]]:
    """Yield each name of a step or branch, its place, and whether it is a key there."""
    for name in script.replies:
        yield name, ("replies", name), True
    for title, scenario in script.scenarios.items():
        here: Path = ("scenarios", title)
        for name in scenario.replies:
            yield name, (*here, "replies", name), True
        for word in ("before", "after"):
            if name := getattr(scenario.crash, word, None):
                yield name, (*here, "crash", word), False
        for word in ("stands", "undone"):
            for i, name in enumerate(getattr(scenario.expect, word) or ()):
                yield name, (*here, "expect", word, i), False
        for i, call in enumerate(scenario.expect.calls or ()):
            name = call if isinstance(call, str) else next(iter(call))
            yield name, (*here, "expect", "calls", i), False


# ── judging ──────────────────────────────────────────────────────────────────


@dataclass
class _Judge:
    """Compares, and notes at each expectation what was not so."""

    source: Source
    path: Path
    told: Told
    failures: list[Failure] = field(default_factory=list[Failure])

    def compare(self, expect: ExpectPart) -> None:
        told, said = self.told, expect.model_fields_set
        if expect.outcome != told.outcome:
            why = f": {told.reason}" if told.reason else ""
            self._fail(f"expected {expect.outcome}, and it is {told.outcome}{why}", "outcome")
        if expect.reason is not None and expect.reason not in told.reason:
            self._fail(f"the reason is {told.reason!r}", "reason")
        if "output" in said and expect.output != told.output:
            self._fail(f"the output is {_json(told.output)}", "output")
        if expect.key is not None and expect.key != told.key:
            self._fail(f"the key is {_json(told.key)}", "key")
        for word in ("stands", "undone"):
            wanted, got = getattr(expect, word), getattr(told, word)
            if wanted is not None and set(wanted) != set(got):
                self._fail(f"{_verb(word)}: {', '.join(got) or 'nothing'}", word)
        if expect.within is not None and told.took_us > expect.within:
            self._fail(f"it took {told.took_us / SECOND_US:g} s", "within")
        if expect.calls is not None:
            self._calls(expect.calls)

    def _calls(self, wanted: list[str | dict[str, CallPart]]) -> None:
        """Point at the first command that is another one; those after it tell nothing new."""
        asked = self.told.asked
        for i, call in enumerate(wanted):
            name, more = (call, None) if isinstance(call, str) else next(iter(call.items()))
            if i >= len(asked):
                self._fail(f"expected `{name}`, and no further command was sent", "calls", i)
                return
            if label(asked[i]) != name:
                self._fail(f"expected `{name}`, and it is `{label(asked[i])}`", "calls", i)
                return
            if more is not None:
                self._carries(more, asked[i], i, name)
        if len(asked) > len(wanted):
            more_sent = ", ".join(f"`{label(one)}`" for one in asked[len(wanted) :])
            self._fail(f"after these, more commands were sent: {more_sent}", "calls")

    def _carries(self, wanted: CallPart, asked: Asked, i: int, name: str) -> None:
        called = f"{asked.participant}.{getattr(asked.command, 'command', '')}"
        if wanted.call is not None and wanted.call != called:
            self._fail(f"`{name}` calls {called}", "calls", i, name, "call")
        data = getattr(asked.command, "data", None)
        if "with_" in wanted.model_fields_set and wanted.with_ != data:
            self._fail(f"`{name}` carries {_json(data)}", "calls", i, name, "with")

    def _fail(self, message: str, *path: str | int) -> None:
        line, column = self.source.place((*self.path, *path))
        excerpt = self.source.lines[line - 1]
        self.failures.append(Failure(self.source.origin, line, column, message, excerpt))


def _verb(word: str) -> str:
    return "what stands" if word == "stands" else "what was undone"


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)
