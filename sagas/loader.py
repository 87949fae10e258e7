"""From what people write to what the core relies on.

Text → values with places (source.py) → shape (document.py) → checks (lint.py)
and expressions → model. Everything that is wrong is reported at once, as far
as one thing does not hide another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from typing import Any, Final

from sagas import graph
from sagas.document import (
    AtomicDocument,
    NoUndoPart,
    RetryPart,
    SagaDocument,
    StartPart,
    StepPart,
    UndoPart,
)
from sagas.expressions import (
    Compiled,
    ExpressionInvalid,
    compile_expression,
    compile_template,
)
from sagas.lint import lint, needs_of
from sagas.model import (
    AnyDefinition,
    Atomic,
    Branch,
    Call,
    Expression,
    InputCheck,
    Retry,
    Saga,
    Start,
    Step,
    Undo,
)
from sagas.problems import DefinitionInvalid, Problem, did_you_mean
from sagas.schema import SchemaInvalid, input_check
from sagas.shape import shape
from sagas.source import Path, Source

_ALWAYS: Final = ("input", "txn")

__all__ = ["DefinitionInvalid", "load"]


def load(text: str, origin: str) -> AnyDefinition:
    """Read one definition. ``origin`` names the file in errors.

    Raises:
        DefinitionInvalid: with every problem that was found.

    """
    source = Source(text, origin)
    document = shape(source)
    reader = _Reader(source)
    if isinstance(document, AtomicDocument):
        definition: AnyDefinition = reader.atomic(document)
    else:
        reader.problems += lint(source, document)
        if reader.problems:
            raise DefinitionInvalid(reader.problems)
        definition = reader.saga(document)
    if reader.problems:
        raise DefinitionInvalid(reader.problems)
    return definition


class _Reader:
    """Builds a model, and notes what is wrong on the way."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._hash = hashlib.sha256(source.text.encode("utf-8", "surrogatepass")).hexdigest()
        self.problems: list[Problem] = []

    def saga(self, document: SagaDocument) -> Saga:
        needs = needs_of(document)
        steps = {name: self._step(name, document.steps[name], needs) for name in graph.order(needs)}
        return Saga(
            name=document.saga,
            version=document.version,
            hash=self._hash,
            source=self._source.text,
            start=self._start(document.start),
            check_input=self._input(document.input),
            output=self._output(document.output, "steps", set(steps)),
            deadline_us=document.deadline,
            steps=steps,
            dependents=graph.dependents(needs),
        )

    def atomic(self, document: AtomicDocument) -> Atomic:
        branches = {
            name: Branch(
                name=name,
                call=_call(part.call),
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
            start=self._start(document.start),
            check_input=self._input(document.input),
            output=self._output(document.output, "branches", set(branches)),
            vote_timeout_us=document.vote_timeout,
            branches=branches,
        )

    # ── parts ────────────────────────────────────────────────────────────────

    def _step(self, name: str, part: StepPart, needs: dict[str, list[str]]) -> Step:
        path: Path = ("steps", name)
        roots = (*_ALWAYS, "steps")
        before = graph.ancestors(needs, name)
        return Step(
            name=name,
            needs=tuple(needs[name]),
            call=_call(part.call),
            data=self._template(part.with_, (*path, "with"), roots, before),
            key=self._expression(part.key, (*path, "key"), roots, before),
            timeout_us=part.timeout,
            retry=_retry(part.retry),
            undo=self._undo(name, part, before),
            pivot=part.pivot,
        )

    def _undo(self, name: str, part: StepPart, before: set[str]) -> Undo | None:
        undo = part.undo
        if undo is None or isinstance(undo, NoUndoPart):
            return None
        if isinstance(undo, str):
            undo = UndoPart(call=undo)
        data: Expression | None = None
        path: Path = ("steps", name, "undo", "with")
        if undo.with_ is not None:
            data = self._template(undo.with_, path, (*_ALWAYS, "steps"), before | {name})
            self._needs_fallback(name, undo.with_, path)
        return Undo(
            call=_call(undo.call), data=data, timeout_us=undo.timeout, retry=_retry(undo.retry)
        )

    def _needs_fallback(self, name: str, value: Any, path: Path) -> None:
        """Refuse an undo that relies on its own step's reply: that reply may be lost."""
        for text, where in _texts(value, path):
            uses = re.search(rf"\bsteps\.{name}\b", text)
            if uses and not re.search(rf"steps\.{name}\s*(==|!=)\s*null", text):
                self.problems.append(
                    self._source.problem(
                        "undo-needs-reply",
                        f"the undo of `{name}` uses its own result, and that reply may be lost",
                        f"write `steps.{name} == null ? … : …`;"
                        " the participant's undo is given the result in any case",
                        path=where,
                    )
                )

    def _start(self, part: StartPart) -> Start:
        return Start(
            topic=part.topic,
            when=self._expression(part.when, ("start", "when"), ("event",)),
            key=self._expression(part.key, ("start", "key"), ("event",)),
        )

    def _input(self, schema: dict[str, Any] | None) -> InputCheck:
        try:
            return input_check(schema)
        except SchemaInvalid as error:
            path = ("input", *error.path)
            self.problems.append(self._source.problem("input-schema", str(error), path=path))
            return input_check(None)

    def _output(self, value: Any, root: str, names: set[str]) -> Expression | None:
        if value is None:
            return None
        return self._template(value, ("output",), (*_ALWAYS, root), names)

    # ── expressions ──────────────────────────────────────────────────────────

    def _expression(
        self, text: str | None, path: Path, roots: Collection[str], done: Collection[str] = ()
    ) -> Expression | None:
        if text is None:
            return None
        try:
            return self._checked(compile_expression(text, roots), path, done)
        except ExpressionInvalid as error:
            self._complain(error, path)
            return None

    def _template(
        self, value: Any, path: Path, roots: Collection[str], done: Collection[str] = ()
    ) -> Expression:
        for text, where in _texts(value, path):
            try:
                self._checked(compile_template(text, roots), where, done)
            except ExpressionInvalid as error:
                self._complain(error, where)
        try:
            return compile_template(value, roots).evaluate
        except ExpressionInvalid:
            return lambda _scope: None  # reported above, and never used

    def _checked(self, compiled: Compiled, path: Path, done: Collection[str]) -> Expression:
        for root, name in sorted(compiled.names):
            if name not in done:
                self.problems.append(self._reference(root, name, path, done))
        return compiled.evaluate

    def _reference(self, root: str, name: str, path: Path, done: Collection[str]) -> Problem:
        known = self._source.value.get(root, {})
        if root == "steps" and name in known:
            said = f"`steps.{name}` need not be done when this is evaluated"
            hint = f"add `{name}` to `needs`"
            return self._source.problem("not-done-yet", said, hint, path=path)
        said = f"there is no {'step' if root == 'steps' else 'branch'} `{name}`"
        return self._source.problem("unknown-step", said, did_you_mean(name, done), path=path)

    def _complain(self, error: ExpressionInvalid, path: Path) -> None:
        self.problems.append(
            self._source.problem("expression", error.message, error.hint, path=path)
        )


def _texts(value: Any, path: Path) -> list[tuple[str, Path]]:
    """Collect all texts of a value, each with its place."""
    if isinstance(value, str):
        return [(value, path)]
    if isinstance(value, dict):
        return [t for k, v in value.items() for t in _texts(v, (*path, k))]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list):
        return [t for i, v in enumerate(value) for t in _texts(v, (*path, i))]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return []


def _call(text: str) -> Call:
    participant, _, command = text.partition(".")
    return Call(participant, command)


def _retry(part: RetryPart) -> Retry:
    return Retry(attempts=part.attempts, first_us=part.first, factor=part.factor, max_us=part.max)
