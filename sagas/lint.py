"""What could end half done is refused here, before it is ever run.

Each check is a function from a shaped document to problems; the codes are
stable and part of the language.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from sagas import graph, references, tcc
from sagas.document import AskPart, GroupPart, NoUndoPart, SagaDocument, StepPart, TccPart, UndoPart
from sagas.hints import length, meant_as_expression
from sagas.model import OnUnknown
from sagas.problems import Code, Problem, did_you_mean
from sagas.slips import slips
from sagas.source import Path, Source
from sagas.templates import texts

Needs = Mapping[str, list[str]]


def needs_of(document: SagaDocument) -> dict[str, list[str]]:
    """Return what each step needs: what it says, or the step before it."""
    needs: dict[str, list[str]] = {}
    before: list[str] = []
    for name, step in document.steps.items():
        needs[name] = before if step.needs is None else list(dict.fromkeys(step.needs))
        before = [name]
    return needs


def lint(source: Source, document: SagaDocument) -> list[Problem]:
    """Return everything that must not be published."""
    needs = needs_of(document)
    if problems := [*_unknown_needs(source, needs), *_cycles(source, needs)]:
        return problems  # the rest makes sense only for an order that there is
    return [
        *_pivot(source, document, needs),
        *_undo(source, document, needs),
        *_tcc(source, document),
        *_asks_nobody(source, document),
        *_deadline(source, document, needs),
        *_retries(source, document),
        *_undo_failures(source, document),
        *_each(source, document),
    ]


def unheeded(source: Source) -> Iterator[Problem]:
    """Find what was most likely meant to say something, and says nothing."""
    for part in ("steps", "branches"):
        for value, path in _carried(source.value.get(part), (part,)):
            yield from _plain_texts(source, value, path)
    yield from _plain_texts(source, source.value.get("output"), ("output",))
    what = "would be the same lock for all"
    yield from _plain_texts(source, source.value.get("lock"), ("lock",), what)
    yield from source.doubts
    for error in references.unheeded(source.value.get("input") or {}):
        path = ("input", *error.path)
        yield source.problem(error.code, str(error), error.hint, path=path, key=error.key)
    yield from slips(source)


def _carried(value: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    """Yield what stands in each `with`, wherever a call is written."""
    if isinstance(value, dict):
        for key, one in cast("dict[str, Any]", value).items():
            if key == "with":
                yield one, (*path, key)
            else:
                yield from _carried(one, (*path, key))


def _plain_texts(
    source: Source, value: object, path: Path, what: str = "would be sent as it stands"
) -> Iterator[Problem]:
    for text, where in texts(value, path):
        if expression := meant_as_expression(text):
            said = f"`{expression}` is a text here, and {what}"
            hint = f'write "${{ {expression} }}"'
            yield source.problem("not-evaluated", said, hint, path=where)


def _unknown_needs(source: Source, needs: Needs) -> Iterator[Problem]:
    for name, wanted in needs.items():
        for i, need in enumerate(wanted):
            if need not in needs:
                yield source.problem(
                    "unknown-step",
                    f"step `{name}` needs `{need}`, which is no step",
                    did_you_mean(need, needs.keys() - {name}),
                    path=("steps", name, "needs", i),
                )


def _cycles(source: Source, needs: Needs) -> Iterator[Problem]:
    known = {name: [n for n in wanted if n in needs] for name, wanted in needs.items()}
    try:
        graph.order(known)
    except graph.CycleError as error:
        circle: list[str] = error.args[1]
        said = " → ".join(reversed(circle))
        path = ("steps", min(circle, key=list(needs).index), "needs")
        yield source.problem("cycle", f"these steps wait for each other: {said}", path=path)


def _pivot(source: Source, document: SagaDocument, needs: Needs) -> Iterator[Problem]:
    pivots = [name for name, step in document.steps.items() if step.pivot]
    for extra in pivots[1:]:
        yield source.problem(
            "two-pivots",
            f"`{pivots[0]}` is the pivot already: past it, `{extra}` could be refused",
            "a saga has one point of no return",
            path=("steps", extra, "pivot"),
            key=True,
        )
    if len(pivots) != 1:
        return
    pivot = pivots[0]
    above = graph.ancestors(needs, pivot)
    for name in document.steps:
        if name != pivot and name not in above and pivot not in graph.ancestors(needs, name):
            yield source.problem(
                "pivot-concurrent",
                f"step `{name}` may run beside the pivot `{pivot}`:"
                " if it is refused after it, there is no way back",
                f"add `{name}` to the needs of `{pivot}`, or `{pivot}` to the needs of `{name}`",
                path=("steps", name),
                key=True,
            )


def _undo(source: Source, document: SagaDocument, needs: Needs) -> Iterator[Problem]:
    pivot = next((name for name, step in document.steps.items() if step.pivot), None)
    before = graph.ancestors(needs, pivot) if pivot is not None else set(document.steps)
    for name, step in document.steps.items():
        if name == pivot:
            yield from _has_no_undo(source, name, step, "pivot-undo", "is the pivot")
            yield from _can_be_cancelled(source, name, step, "is the pivot")
            yield from _never_goes_back(source, name, step, "is the pivot")
        elif pivot is not None and pivot in graph.ancestors(needs, name):
            said = f"comes after the pivot `{pivot}`"
            yield from _has_no_undo(source, name, step, "undo-after-pivot", said)
            yield from _can_be_cancelled(source, name, step, said)
            yield from _never_goes_back(source, name, step, said)
        elif step.waits is not None:
            continue  # it leaves nothing to undo
        elif name in before and step.atomic is not None:
            yield from _each_is_undone(source, name, step.atomic)
        elif step.saga is not None:
            continue  # it undoes itself
        elif name in before and step.way_back is None:
            where = f"comes before the pivot `{pivot}`" if pivot else "is in a saga without pivot"
            participant = (step.first_call or "").partition(".")[0]
            yield source.problem(
                "undo-missing",
                f"step `{name}` {where} and has no undo",
                f'add `undo: {participant}.…`, or `undo: {{none: "why it may stand"}}`',
                path=("steps", name),
                key=True,
            )
        else:
            yield from _undoes_its_own(source, name, step)


def _undoes_its_own(source: Source, name: str, step: StepPart) -> Iterator[Problem]:
    """Refuse an undo that would look for the step in another participant's barrier."""
    undo = step.way_back
    if undo is None or isinstance(undo, NoUndoPart) or step.first_call is None:
        return
    done_by, undone_by = _participant(step.first_call), _participant(undo)
    if done_by != undone_by:
        yield source.problem(
            "undo-elsewhere",
            f"`{undone_by}` cannot undo what `{done_by}` did:"
            " it would find nothing of it in its barrier",
            f"undo it by a command of `{done_by}`",
            path=("steps", name, *(("undo",) if step.tcc is None else ("tcc", "cancel"))),
        )


def _tcc(source: Source, document: SagaDocument) -> Iterator[Problem]:
    for name, step in document.steps.items():
        if step.tcc is not None:
            yield from _confirms_its_own(source, name, step.tcc)
            if step.undo is not None:
                yield source.problem(
                    "tcc-undo",
                    f"step `{name}` is undone by its `cancel` already",
                    "remove `undo`",
                    path=("steps", name, "undo"),
                    key=True,
                )


def _confirms_its_own(source: Source, name: str, tcc: TccPart) -> Iterator[Problem]:
    tried_by, confirmed_by = _participant(tcc.try_), _participant(tcc.confirm)
    if tried_by != confirmed_by:
        yield source.problem(
            "confirm-elsewhere",
            f"`{confirmed_by}` cannot confirm what `{tried_by}` holds",
            f"confirm it by a command of `{tried_by}`",
            path=("steps", name, "tcc", "confirm"),
        )


def _can_be_cancelled(source: Source, name: str, step: StepPart, why: str) -> Iterator[Problem]:
    if step.tcc is not None:
        yield source.problem(
            "tcc-past-pivot",
            f"step `{name}` {why}: what it tries could not be cancelled",
            "let it come before the pivot, or write `call`",
            path=("steps", name, "tcc"),
            key=True,
        )


def _participant(ask: str | AskPart) -> str:
    return _asked(ask).call.partition(".")[0]


def _asked(ask: str | AskPart) -> AskPart:
    return AskPart(call=ask) if isinstance(ask, str) else ask


def _asks_nobody(source: Source, document: SagaDocument) -> Iterator[Problem]:
    """Refuse what is about a participant's answer where no participant is asked."""
    words = {name: field.alias or name for name, field in StepPart.model_fields.items()}
    for name, step in document.steps.items():
        if step.waits is None and step.atomic is None and step.saga is None:
            continue
        idle = _OF_CALLS - {"with_"} if step.saga is not None else _OF_CALLS
        if step.saga is not None and isinstance(step.undo, NoUndoPart):
            idle -= {"undo"}
        for field in sorted(step.model_fields_set & idle):
            yield source.problem(
                "asks-nobody",
                f"step `{name}` asks no participant itself: `{words[field]}` means nothing there",
                f"remove `{words[field]}`",
                path=("steps", name, words[field]),
                key=True,
            )


_OF_CALLS: Final = frozenset({"with_", "key", "timeout", "retry", "undo", "on_unknown"})


def _has_no_undo(
    source: Source, name: str, step: StepPart, code: Code, why: str
) -> Iterator[Problem]:
    undos: dict[Path, object] = {("steps", name, "undo"): step.undo}
    for branch, part in step.atomic.branches.items() if step.atomic is not None else ():
        undos["steps", name, "atomic", "branches", branch, "undo"] = part.undo
    for path, undo in undos.items():
        if undo is not None and not isinstance(undo, NoUndoPart):
            said = f"step `{name}` {why} and is never undone"
            yield source.problem(code, said, "remove `undo`", path=path, key=True)


def _each_is_undone(source: Source, name: str, part: GroupPart) -> Iterator[Problem]:
    for branch, one in part.branches.items():
        path = ("steps", name, "atomic", "branches", branch)
        if one.undo is None:
            yield source.problem(
                "undo-missing",
                f"branch `{branch}` of step `{name}` has no undo, and the saga may go back",
                f'add `undo: {_participant(one.call)}.…`, or `undo: {{none: "why it may stand"}}`',
                path=path,
                key=True,
            )


def _never_goes_back(source: Source, name: str, step: StepPart, why: str) -> Iterator[Problem]:
    if step.on_unknown == OnUnknown.COMPENSATE:
        yield source.problem(
            "no-way-back",
            f"step `{name}` {why}: if its answer does not come, nothing can be undone",
            "write `retry`, which ends with a person, or `park`, which begins with one",
            path=("steps", name, "on_unknown"),
        )


def _deadline(source: Source, document: SagaDocument, needs: Needs) -> Iterator[Problem]:
    needs = tcc.with_confirms(document, needs)
    timeouts = dict.fromkeys(needs, 0)
    for name, step in document.steps.items():
        timeouts[name] = step.timeout if step.waits is None else step.waits.timeout or 0
        if step.saga is not None:
            timeouts[name] = 0  # it has a deadline of its own
        if step.atomic is not None:
            timeouts[name] = step.atomic.vote_timeout
        if step.tcc is not None:
            timeouts[tcc.confirm_of(name)] = _asked(step.tcc.confirm).timeout
    longest = graph.longest_us(needs, timeouts)
    default = "" if "deadline" in document.model_fields_set else " where none is given"
    if document.deadline < longest:
        yield source.problem(
            "deadline-short",
            f"the deadline is {length(document.deadline)}{default}, and the timeouts on the"
            f" longest path are {length(longest)}",
            "raise the deadline, or lower the timeouts",
            path=("deadline",),
        )


def _undo_failures(source: Source, document: SagaDocument) -> Iterator[Problem]:
    """Refuse to say what follows the failure of an undo that there is not."""
    for name, step in document.steps.items():
        no_undo = step.undo is None or isinstance(step.undo, NoUndoPart)
        if step.saga is not None and step.undo is None:
            continue  # it undoes itself
        if no_undo and step.tcc is None and "on_undo_failure" in step.model_fields_set:
            yield source.problem(
                "undo-cannot-fail",
                f"step `{name}` is never undone, so its undo cannot fail",
                "remove `on_undo_failure`",
                path=("steps", name, "on_undo_failure"),
                key=True,
            )


def _each(source: Source, document: SagaDocument) -> Iterator[Problem]:
    """Refuse many where there can be one only, and a limit to what is one."""
    for name, step in document.steps.items():
        why = ""
        if step.each is None:
            why = "is one step: there is nothing to limit" * ("at_most" in step.model_fields_set)
        elif step.pivot:
            why = "is the pivot, and one of many could be refused when others are done"
        elif step.tcc is not None:
            why = "is tried and confirmed, which only one can be"
        elif step.call is None:
            why = "has no `call` to be made for each"
        if why:
            word = "at_most" if step.each is None else "each"
            path = ("steps", name, word)
            said, hint = f"step `{name}` {why}", f"remove `{word}`"
            yield source.problem("each-misplaced", said, hint, path=path, key=True)


def _retries(source: Source, document: SagaDocument) -> Iterator[Problem]:
    """Refuse limits that something else said of the same attempts contradicts."""
    for path, part in _asking(document):
        retry, budget = part.retry, part.retry.budget
        if budget is not None and budget < part.timeout:
            yield source.problem(
                "budget-short",
                f"the budget of {length(budget)} for all attempts is shorter"
                f" than the timeout of one, {length(part.timeout)}",
                "raise the budget, or lower `timeout`",
                path=(*path, "retry", "budget"),
            )
        if retry.max < retry.first:
            default = "" if "max" in retry.model_fields_set else " where no `max` is given"
            yield source.problem(
                "max-short",
                f"the first pause is to be {length(retry.first)}, and none is longer than"
                f" {length(retry.max)}{default}",
                "write a `max` beside it that is no shorter",
                path=(*path, "retry", "first"),
            )


def _asking(document: SagaDocument) -> Iterator[tuple[Path, StepPart | AskPart]]:
    """Yield whatever is asked in attempts, with its place."""
    for name, step in document.steps.items():
        path: Path = ("steps", name)
        yield path, step
        if isinstance(step.undo, UndoPart):
            yield (*path, "undo"), step.undo
        for word in ("confirm", "cancel") if step.tcc is not None else ():
            part = getattr(step.tcc, word)
            if isinstance(part, AskPart):
                yield (*path, "tcc", word), part
