"""From what people write to what the core relies on.

Text → values with places (source.py) → shape (document.py) → checks (lint.py)
and expressions → model. Everything that is wrong is reported at once, as far
as one thing does not hide another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from sagas import graph, tcc
from sagas.document import (
    LATER,
    NOT_YET,
    AtomicDocument,
    LockPart,
    NoUndoPart,
    SagaDocument,
    StartPart,
    StepPart,
    UndoPart,
)
from sagas.expressions import (
    ExpressionInvalid,
    compile_condition,
    compile_expression,
    compile_key,
)
from sagas.fallback import always_has_a_value
from sagas.group import Whole, as_step
from sagas.lint import lint, needs_of, unheeded
from sagas.model import (
    AnyDefinition,
    Atomic,
    Branch,
    Busy,
    Each,
    Expression,
    Gate,
    InputCheck,
    InputRefused,
    Lock,
    OnDeadline,
    OnRefused,
    OnTimeout,
    OnUndoFailure,
    OnUnknown,
    Saga,
    Schedule,
    Start,
    Step,
    SubSaga,
    Undo,
    Work,
)
from sagas.naming import misnamed
from sagas.parts import compile_holes, hole, is_result, named, texts_of
from sagas.private import Find, Private, no_places
from sagas.problems import DefinitionInvalid, Problem
from sagas.schedule import ScheduleInvalid, event_of, schedule
from sagas.schema import SchemaInvalid, input_check
from sagas.secrecy import exposed
from sagas.shape import shape
from sagas.source import Path, Source, decoded
from sagas.templates import build, keys_with_holes, texts
from sagas.works import (
    approval_of,
    asked,
    call,
    gate,
    retry_of,
    undoes_itself,
    wait_of,
)

_ALWAYS: Final = ("input", "txn")
_ELEMENT: Final = ("each", "each_index")
_NO_ORDER: Final = frozenset({"cycle", "unknown-step"})

__all__ = ["DefinitionInvalid", "load", "load_bytes", "load_published"]


def load_bytes(data: bytes, origin: str) -> AnyDefinition:
    """Read one definition from a file's bytes, which are UTF-8.

    Raises:
        DefinitionInvalid: with every problem that was found.

    """
    return load(decoded(data, origin), origin)


def load(text: str, origin: str) -> AnyDefinition:
    """Read one definition. ``origin`` names the file in errors.

    Raises:
        DefinitionInvalid: with every problem that was found.

    """
    return _load(text, origin, lint, _unwise)


def load_published(text: str, origin: str) -> AnyDefinition:
    """Read a definition that was accepted when it was published.

    Rules of good sense may have been added since. Transactions follow it all
    the same: what is running must not stop because we have become wiser.

    Raises:
        DefinitionInvalid: it cannot be understood at all.

    """
    return _load(text, origin, disorder, lambda _source, _document: ())


def _load(
    text: str,
    origin: str,
    judge: Callable[[Source, SagaDocument], Collection[Problem]],
    reread: Callable[[Source, SagaDocument | AtomicDocument], Iterable[Problem]],
) -> AnyDefinition:
    source = Source(text, origin)
    document = shape(source)
    reader = _Reader(source)
    if isinstance(document, AtomicDocument):
        definition: AnyDefinition = reader.atomic(document)
    else:
        reader.problems += judge(source, document)
        if _NO_ORDER & {problem.code for problem in reader.problems}:
            raise DefinitionInvalid(reader.problems)  # nothing is known to be done before
        definition = reader.saga(document)
    if problems := reader.problems or list(reread(source, document)):
        raise DefinitionInvalid(problems)
    return definition


def _unwise(source: Source, document: SagaDocument | AtomicDocument) -> Iterable[Problem]:
    """Find what can be followed, and was hardly meant."""
    return (*unheeded(source), *exposed(source, document))


def disorder(source: Source, document: SagaDocument) -> list[Problem]:
    """Find only what leaves steps without an order."""
    return [problem for problem in lint(source, document) if problem.code in _NO_ORDER]


class _Reader:
    """Builds a model, and notes what is wrong on the way."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._hash = hashlib.sha256(source.text.encode("utf-8", "surrogatepass")).hexdigest()
        self._whole = Whole("", 0, self._hash, source.text, 0)
        self._needs: dict[str, list[str]] = {}
        self.problems: list[Problem] = []

    def saga(self, document: SagaDocument) -> Saga:
        begins = self._begins(document)
        self._whole = self._whole._replace(
            name=document.saga,
            version=document.version,
            retain_us=document.retain,
            private=begins["private"] is not None,
        )
        self._needs = needs = tcc.with_confirms(document, needs_of(document))
        confirms = {tcc.confirm_of(name): name for name in document.steps}
        steps: dict[str, Step] = {}
        for name in graph.order(needs):
            if name in document.steps:
                steps[name] = self._step(name, document.steps, needs)
            elif name == tcc.PIVOT:
                steps[name] = gate(name, needs)
            else:
                tried = steps[confirms[name]]
                steps[name] = self._confirm(name, tried, document.steps, needs)
        results = named("steps", document.steps)
        self._bears_skipping(document.output, ("output",), results, document.steps, of=None)
        return Saga(
            name=document.saga,
            version=document.version,
            hash=self._hash,
            source=self._source.text,
            **begins,
            output=self._output(document.output, results),
            retain_us=document.retain,
            index=document.index,
            deadline_us=document.deadline,
            on_deadline=OnDeadline(document.on_deadline),
            lock=document.lock and self._lock(document.lock),
            steps=steps,
            dependents=graph.dependents(needs),
        )

    def atomic(self, document: AtomicDocument) -> Atomic:
        branches = {
            name: Branch(
                name=name,
                call=call(part.call),
                data=self._template(part.with_, ("branches", name, "with"), _ALWAYS),
                key=self._expression(part.key, ("branches", name, "key"), _ALWAYS),
            )
            for name, part in document.branches.items()
        }
        return Atomic(
            name=document.atomic,
            version=document.version,
            hash=self._hash,
            source=self._source.text,
            **self._begins(document),
            output=self._output(document.output, named("branches", branches)),
            retain_us=document.retain,
            index=document.index,
            vote_timeout_us=document.vote_timeout,
            branches=branches,
        )

    # ── parts ────────────────────────────────────────────────────────────────

    def _step(self, name: str, parts: Mapping[str, StepPart], needs: dict[str, list[str]]) -> Step:
        part, path = parts[name], ("steps", name)
        before = named("steps", graph.ancestors(needs, name))
        seen = (*_ALWAYS, *before, *(_ELEMENT if part.each is not None else ()))
        said: dict[str, Any] = {"with": part.with_, "key": hole(part.key), "if": hole(part.if_)}
        said["each"] = hole(part.each)
        if part.atomic is not None:
            said |= {"atomic": {"branches": texts_of(part.atomic)}}
        if isinstance(part.way_back, UndoPart):
            back = {"with": part.way_back.with_}
            said |= {"undo": back} if part.tcc is None else {"tcc": {"cancel": back}}
        if part.wait is not None:
            said["wait"] = {"match": hole(part.wait.match)}
        self._bears_skipping(said, path, before, parts, of=part.if_)
        if part.atomic is None:
            work: Work = self._work(part, path, (*_ALWAYS, *before))
            data = self._template(part.with_, (*path, "with"), seen)
            undo = self._undo(name, part, seen) or undoes_itself(name, parts, needs)
        else:
            work, data, undo = as_step(self._whole, name, part.atomic, seen, self._template)
        return Step(
            name=name,
            needs=tuple(needs[name]),
            condition=self._guarded(
                compile_condition, part.if_, (*path, "if"), (*_ALWAYS, *before)
            ),
            work=work,
            data=data,
            key=self._expression(part.key, (*path, "key"), seen),
            timeout_us=part.timeout,
            retry=retry_of(part.retry),
            on_unknown=OnUnknown(part.on_unknown),
            undo=undo,
            each=self._each(part, (*path, "each"), before),
            pivot=part.pivot,
            on_refused=OnRefused(part.on_refused),
            on_undo_failure=OnUndoFailure(part.on_undo_failure),
        )

    def _work(self, part: StepPart, path: Path, names: Collection[str]) -> Work:
        if part.approve is not None:
            return approval_of(part.approve)
        if part.saga is not None:
            return SubSaga(part.saga)
        if part.wait is None:
            return call(part.first_call or "")
        path = (*path, "wait", "match")
        match = self._guarded(compile_condition, part.wait.match, path, ("event", *names))
        wait = wait_of(part.wait, match, names) if match is not None else None
        if wait is None and match is not None:
            said = "no part of this is an equality of something of `event` with something known"
            hint = "write `event.order_id == input.order_id && …`: it is how they find each other"
            self.problems.append(self._source.problem("match-key", said, hint, path=path))
        return wait or Gate()  # reported, and never used

    def _each(self, part: StepPart, path: Path, before: Collection[str]) -> Each | None:
        elements = self._guarded(compile_expression, part.each, path, (*_ALWAYS, *before))
        return None if elements is None else Each(elements, part.at_most)

    def _undo(self, name: str, part: StepPart, seen: Collection[str]) -> Undo | None:
        undo = part.way_back
        if undo is None or isinstance(undo, NoUndoPart):
            return None
        undo = asked(undo)
        data: Expression | None = None
        word = ("undo",) if part.tcc is None else ("tcc", "cancel")
        path: Path = ("steps", name, *word, "with")
        if undo.with_ is not None:
            names = (*seen, f"steps.{name}")
            data = self._template(undo.with_, path, names)
            self._needs_fallback(name, undo.with_, path, names)
        return Undo(
            work=call(undo.call), data=data, timeout_us=undo.timeout, retry=retry_of(undo.retry)
        )

    def _confirm(
        self, name: str, tried: Step, parts: Mapping[str, StepPart], needs: dict[str, list[str]]
    ) -> Step:
        """Make the step that makes another one final. It is wanted if the other was."""
        part = parts[tried.name]
        assert part.tcc is not None, f"{tried.name} tries nothing"
        confirm, data = asked(part.tcc.confirm), tried.data
        path: Path = ("steps", tried.name, "tcc", "confirm", "with")
        if confirm.with_ is not None:
            before = [n for n in graph.ancestors(needs, name) if n in parts]
            known = named("steps", before)
            self._bears_skipping(confirm.with_, path, known, parts, of=part.if_)
            data = self._template(confirm.with_, path, (*_ALWAYS, *known))
        return Step(
            name=name,
            needs=tuple(needs[name]),
            condition=tried.condition,
            work=call(confirm.call),
            data=data,
            key=tried.key,
            timeout_us=confirm.timeout,
            retry=retry_of(confirm.retry),
            on_unknown=OnUnknown.RETRY,
            undo=None,
            pivot=False,
            confirms=tried.name,
        )

    def _needs_fallback(self, name: str, value: Any, path: Path, names: Collection[str]) -> None:
        """Refuse an undo that relies on its own step's reply: that reply may be lost."""
        for text, where in texts(value, path):
            if not always_has_a_value(text, f"steps.{name}", names):
                self.problems.append(
                    self._source.problem(
                        "undo-needs-reply",
                        f"the undo of `{name}` uses its own result, and that reply may be lost",
                        f"write `steps.{name} == null ? … : …`;"
                        " the participant's undo is given the result in any case",
                        path=where,
                    )
                )

    def _bears_skipping(
        self,
        value: Any,
        path: Path,
        results: Collection[str],
        parts: Mapping[str, StepPart],
        *,
        of: str | None,
    ) -> None:
        """Refuse what relies on the result of a step that may be skipped.

        A step under the same condition as the other, letter by letter, may rely on it,
        unless the other may be refused as well.
        """
        names = (*_ALWAYS, *_ELEMENT, *named("steps", parts))
        for result in results:
            relied_on = parts[result.partition(".")[2]]
            condition, waits = relied_on.if_, relied_on.waits
            together = condition is None or (of is not None and of.strip() == condition.strip())
            why = "" if together else "its condition is false: its step is skipped then"
            if relied_on.on_refused == OnRefused.CONTINUE and relied_on.each is None:
                why = "it is refused: its step is skipped then"
            elif waits is not None and waits.on_timeout == OnTimeout.CONTINUE:
                why = "nothing comes in time"
            same_if = ", or give this the same `if`" if "condition" in why else ""
            for text, where in texts(value, path) if why else ():
                if not always_has_a_value(text, result, names):
                    said = f"`{result}` is null if {why}"
                    hint = f"write `{result} == null ? … : …`{same_if}"
                    self.problems.append(
                        self._source.problem("may-be-skipped", said, hint, path=where)
                    )

    def _begins(self, document: SagaDocument | AtomicDocument) -> dict[str, Any]:
        start, (check_input, find) = self._start(document.start), self._input(document.input)
        if start.every is not None:
            self._starts_by_the_clock(document.start, check_input)
        private = self._private(document, find)
        return {"start": start, "check_input": check_input, "private": private}

    def _starts_by_the_clock(self, part: StartPart, check_input: InputCheck) -> None:
        """Refuse what only events have, and an input that the clock cannot give."""
        for word in ("topic", "when", "key"):
            if getattr(part, word) is not None:
                said = f"it starts by the clock, which has no `{word}`"
                hint = f"remove `every` or `{word}`: two definitions can call for the same steps"
                path: Path = ("start", word)
                self.problems.append(
                    self._source.problem("two-starts", said, hint, path=path, key=True)
                )
        try:
            check_input(event_of(0))
        except InputRefused as error:
            said = f"the clock gives `{event_of(0)}`, and that does not fit: {error}"
            hint = "require nothing of `input` but `due`, a text"
            self.problems.append(
                self._source.problem("schedule-input", said, hint, path=("input",), key=True)
            )

    def _every(self, text: str | None) -> Schedule | None:
        try:
            return schedule(text) if text is not None else None
        except ScheduleInvalid as error:
            path = ("start", "every")
            hint = 'a length of time (`15m`), or `"30 3 * * 1-5"`: at 3:30 from Monday to Friday'
            self.problems.append(self._source.problem("schedule", str(error), hint, path=path))
            return None

    def _start(self, part: StartPart) -> Start:
        if part.reply_to is not None and part.reply_to == part.topic:
            said = f"outcomes on `{part.topic}` would start the next transaction, without end"
            path = ("start", "reply_to")
            self.problems.append(self._source.problem("reply-loop", said, path=path))
        return Start(
            every=self._every(part.every),
            topic=part.topic,
            when=self._guarded(compile_condition, part.when, ("start", "when"), ("event",)),
            key=self._expression(part.key, ("start", "key"), ("event",)),
            delay_us=part.delay or 0,
            reply_to=part.reply_to,
        )

    def _lock(self, part: LockPart) -> Lock:
        return Lock(key=self._template(part.key, ("lock", "key"), _ALWAYS), busy=Busy(part.busy))

    def _input(self, schema: dict[str, Any] | None) -> tuple[InputCheck, Find | None]:
        try:
            return input_check(schema)
        except SchemaInvalid as error:
            path = ("input", *error.path)
            problem = self._source.problem(
                error.code, str(error), error.hint, path=path, key=error.key
            )
            self.problems.append(problem)
            return input_check(None)

    def _private(
        self, document: SagaDocument | AtomicDocument, find: Find | None
    ) -> Private | None:
        """Tell what is not to be shown."""
        parts = document.branches if isinstance(document, AtomicDocument) else document.steps
        hidden = [name for name, part in parts.items() if part.sensitive]
        return Private(find or no_places, hidden) if find is not None or hidden else None

    def _output(self, value: Any, names: list[str]) -> Expression | None:
        if value is None:
            return None
        return self._template(value, ("output",), (*_ALWAYS, *names))

    # ── expressions ──────────────────────────────────────────────────────────

    def _expression(
        self, text: str | None, path: Path, names: Collection[str]
    ) -> Expression | None:
        return self._guarded(compile_key, text, path, names)

    def _template(self, value: Any, path: Path, names: Collection[str]) -> Expression:
        for where in keys_with_holes(value, path):
            said = "a key is not an expression: only values may hold `${ … }`"
            self.problems.append(self._source.problem("expression", said, path=where, key=True))
        return build(value, path, lambda text, where: self._text(text, where, names))

    def _text(self, text: str, path: Path, names: Collection[str]) -> Expression:
        made = self._guarded(compile_holes, text, path, names)
        return made or (lambda _scope: None)  # reported, and never used

    def _guarded(
        self,
        make: Callable[[str, Collection[str]], Expression],
        text: str | None,
        path: Path,
        names: Collection[str],
    ) -> Expression | None:
        """Compile, and note what is wrong."""
        if text is None:
            return None
        try:
            return make(text, names)
        except ExpressionInvalid as error:
            results = [name for name in error.unknown if is_result(name) and "input" in names]
            self.problems += [
                misnamed(self._source, name, path, names, self._needs) for name in results
            ]
            if not results:
                planned = any(name.partition(".")[0] in LATER for name in error.unknown)
                hint = NOT_YET if planned else error.hint
                self.problems.append(
                    self._source.problem("expression", error.message, hint, path=path)
                )
            return None
