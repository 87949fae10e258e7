"""What `twofold check` refuses: each code, at its place, and mended by what its hint says."""

from __future__ import annotations

import pytest

from sagas.loader import DefinitionInvalid, load
from tests.core.sagas.definitions import ATOMIC, SAGA


def problems(text: str) -> list[tuple[str, int, int]]:
    """Return code, line and column of everything that is wrong."""
    try:
        load(text, "x.yaml")
    except DefinitionInvalid as error:
        return [(p.code, p.line, p.column) for p in error.problems]
    return []


def broken(old: str, new: str, text: str = SAGA) -> str:
    """Make one thing wrong."""
    assert old in text, old
    return text.replace(old, new, 1)


def test_what_is_right_is_loaded() -> None:
    """Both are what the rest of these tests break."""
    assert problems(SAGA) == []
    assert problems(ATOMIC) == []


TCC = "tcc: {try: seats.book, confirm: seats.sell, cancel: seats.free}"
ITS_OWN = TCC.replace("seats.free", "{call: seats.free, with: {n: '${ steps.book.number }'}}")
GROUP = """atomic:
      branches:
        a: {call: seats.book, with: {n: 1}, undo: seats.free}"""
CALL = SAGA[SAGA.index("    call: seats.book") : SAGA.index("  pay:")]


def in_place_of_call(tcc: str) -> tuple[str, str]:
    """Let the first step try instead."""
    return CALL, f"    {tcc}\n"


def test_what_may_be_gone_without_is_not_relied_on() -> None:
    """By the step that needs it, nor by the output."""
    found = problems(broken("undo: seats.free", "undo: seats.free\n    on_refused: continue"))
    assert found == [("may-be-skipped", 19, 18), ("may-be-skipped", 23, 16)]


CASES = [
    ("unknown-word", "deadline:", "dedline:", 10, 1),
    ("unknown-word", "    pivot: true", "    lock: input.guests", 19, 5),
    ("expression", "    pivot: true", "    pivot: true\n    if: 1 + 1", 20, 9),
    ("expression", "    pivot: true", "    pivot: true\n    if: event.size > 0", 20, 9),
    (
        "not-done-yet",
        "    call: money.take",
        "    call: money.take\n    if: steps.greet == null",
        18,
        9,
    ),
    ("unknown-word", "  topic:", "  topik:", 4, 3),
    ("duplicate-key", "version: 1", "version: 1\nversion: 2", 3, 1),
    ("missing", "version: 1\n", "", 1, 1),
    ("shape", "version: 1", "version: one", 2, 10),
    ("shape", "deadline: 5m", "deadline: 300", 10, 11),
    ("shape", "pivot: true", "pivot: maybe", 19, 12),
    ("name", "saga: visit", "saga: Visit", 1, 7),
    ("name", "  book:\n", "  book-it:\n", 12, 3),
    ("name", "call: seats.book", "call: seats", 13, 11),
    ("unknown-step", "    pivot: true", "    pivot: true\n    needs: [boook]", 20, 13),
    ("cycle", "    undo: seats.free", "    undo: seats.free\n    needs: [greet]", 16, 12),
    ("undo-missing", "    undo: seats.free\n", "", 12, 3),
    ("undo-elsewhere", "undo: seats.free", "undo: money.give", 15, 11),
    ("undo-elsewhere", "undo: seats.free", "undo: {call: money.give}", 15, 11),
    ("pivot-undo", "    pivot: true", "    pivot: true\n    undo: money.give", 20, 5),
    ("undo-after-pivot", "call: seats.greet", "call: seats.greet\n    undo: seats.free", 22, 5),
    ("shape", "pivot: true", "pivot: true\n    on_unknown: guess", 20, 17),
    ("no-way-back", "pivot: true", "pivot: true\n    on_unknown: compensate", 20, 17),
    (
        "no-way-back",
        "    call: seats.greet",
        "    call: seats.greet\n    on_unknown: compensate",
        22,
        17,
    ),
    ("missing", "    call: seats.greet\n", "    timeout: 3s\n", 20, 3),
    ("two-works", "    undo: seats.free", f"    {TCC}", 15, 5),
    ("tcc-undo", "    call: seats.book", f"    {TCC}", 15, 5),
    ("undo-elsewhere", *in_place_of_call(TCC.replace("seats.free", "money.give")), 13, 57),
    ("confirm-elsewhere", *in_place_of_call(TCC.replace("seats.sell", "money.take")), 13, 37),
    ("tcc-past-pivot", "call: money.take", TCC.replace("seats", "money"), 17, 5),
    ("tcc-past-pivot", "call: seats.greet", TCC, 21, 5),
    ("name", *in_place_of_call(TCC.replace("seats.sell", "sell")), 13, 37),
    ("undo-needs-reply", *in_place_of_call(ITS_OWN), 13, 86),
    ("each-misplaced", "pivot: true", "pivot: true\n    each: input.guests", 20, 5),
    ("each-misplaced", "pivot: true", "pivot: true\n    at_most: 3", 20, 5),
    ("each-misplaced", *in_place_of_call(f"each: input.guests\n    {TCC}"), 13, 5),
    ("unknown-step", "pivot: true", "pivot: true\n    if: steps.bok == null", 20, 9),
    ("expression", "${ input.guest }", "${ each }", 14, 19),
    ("undo-cannot-fail", "pivot: true", "pivot: true\n    on_undo_failure: continue", 20, 5),
    ("undo-missing", *in_place_of_call(GROUP.replace(", undo: seats.free", "")), 15, 9),
    ("undo-after-pivot", "call: seats.greet", GROUP, 23, 45),
    ("asks-nobody", *in_place_of_call(GROUP + "\n    timeout: 3s"), 16, 5),
    ("two-works", *in_place_of_call(GROUP + "\n    call: seats.book"), 13, 5),
    (
        "not-done-yet",
        *in_place_of_call(GROUP.replace("{n: 1}", "{n: '${ steps.pay.id }'}")),
        15,
        41,
    ),
    ("two-pivots", "call: seats.greet", "call: seats.greet\n    pivot: true", 22, 5),
    ("pivot-concurrent", "call: seats.greet", "call: seats.greet\n    needs: [book]", 20, 3),
    ("deadline-short", "deadline: 5m", "deadline: 80s", 10, 11),
    ("budget-short", "pivot: true", "pivot: true\n    retry: {budget: 20s}", 20, 21),
    (
        "budget-short",
        "undo: seats.free",
        "undo: {call: seats.free, retry: {budget: 1s}}",
        15,
        46,
    ),
    ("shape", "pivot: true", "pivot: true\n    retry: {jitter: some}", 20, 21),
    ("expression", "event.size > 0", "event.size >", 5, 9),
    ("expression", "event.size > 0", "evnt.size > 0", 5, 9),
    ("expression", "event.size > 0", "1 + 'a'", 5, 9),
    ("expression", "${ input.guest }", "${ input.guest", 14, 19),
    ("not-done-yet", "${ input.guest }", "${ steps.pay.id }", 14, 19),
    ("unknown-step", "${ steps.book.number }", "${ steps.bok.number }", 18, 18),
    ("input-schema", "type: object", "type: thing", 8, 9),
    ("yaml", "steps:", "\tsteps:", 11, 1),
    ("alias", "deadline: 5m", "deadline: &d 5m", 10, 11),
    ("tag", "deadline: 5m", "deadline: !!str 5m", 10, 11),
]


@pytest.mark.parametrize(("code", "old", "new", "line", "column"), CASES)
def test_each_mistake_is_found_at_its_place(
    code: str, old: str, new: str, line: int, column: int
) -> None:
    """One mistake, one problem, where a person would point."""
    assert problems(broken(old, new)) == [(code, line, column)]


def test_several_mistakes_are_told_at_once_and_in_order() -> None:
    """Nobody wants to be told of one mistake an hour."""
    text = broken("event.size > 0", "evnt.size > 0")
    text = broken("steps.book.number", "steps.bok.number", text)
    text = broken("seats.greet\n", "seats.greet\n    key: inptu.x\n", text)

    assert [code for code, _, _ in problems(text)] == ["expression", "unknown-step", "expression"]


def test_an_undo_may_not_rely_on_a_reply_that_may_be_lost() -> None:
    """With a fallback it may."""
    alone = "    undo: {call: seats.free, with: {n: '${ steps.book.number }'}}"
    fallback = "${ steps.book == null ? 0 : steps.book.number }"

    assert problems(broken("    undo: seats.free", alone)) == [("undo-needs-reply", 15, 40)]
    text = broken("    undo: seats.free", alone.replace("${ steps.book.number }", fallback))
    assert problems(text) == []


def test_what_relies_on_a_step_that_may_be_skipped_must_bear_its_absence() -> None:
    """By a fallback, or by standing under the same condition."""
    text = broken("call: seats.book", "if: input.n > 1\n    call: seats.book")
    assert problems(text) == [("may-be-skipped", 19, 18), ("may-be-skipped", 23, 16)]

    text = text.replace("call: money.take", "if: input.n > 1\n    call: money.take")
    assert problems(text) == [("may-be-skipped", 24, 16)]

    fallback = "output: {seat: '${ steps.book == null ? 0 : steps.book.number }'}"
    assert problems(text.replace(text[text.index("output:") :], fallback)) == []


def test_conditions_are_the_same_only_letter_by_letter() -> None:
    """Spaces inside a text make it another one."""
    text = broken("call: seats.book", "if: input.t == 'a  b'\n    call: seats.book")
    text = text.replace("call: money.take", "if: input.t == 'a b'\n    call: money.take")

    assert ("may-be-skipped", 20, 18) in problems(text)


def test_an_undo_may_be_declared_needless_with_a_reason() -> None:
    """The reason is part of the definition; an empty one is none."""
    assert problems(broken("undo: seats.free", "undo: {none: it expires by itself}")) == []
    assert problems(broken("undo: seats.free", "undo: {none: ''}")) == [("shape", 15, 18)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("visit", "shape"),
        ("[1]", "shape"),
        ("version: 1\n", "kind"),
        ("saga: a\natomic: b\n", "kind"),
        ("saga: a\n---\nsaga: b\n", "documents"),
        ("saga: {", "yaml"),
        ("a: " + "[" * 30 + "]" * 30, "too-deep"),
        ("x" * 300_000, "too-large"),
    ],
)
def test_what_is_no_definition_at_all(text: str, code: str) -> None:
    """It is said in one problem, and never by a traceback."""
    assert [found for found, _, _ in problems(text)] == [code]


def test_a_problem_is_shown_as_compilers_do() -> None:
    """Place, sentence, line, caret, hint."""
    with pytest.raises(DefinitionInvalid) as caught:
        load(broken("    undo: seats.free\n", ""), "visit.yaml")

    assert str(caught.value) == (
        "visit.yaml:12:3: error[undo-missing]:"
        " step `book` comes before the pivot `pay` and has no undo\n"
        " 12 |   book:\n"
        '    |   ^ add `undo: seats.…`, or `undo: {none: "why it may stand"}`'
    )


def test_hints_name_the_nearest_word() -> None:
    """Also for words inside expressions."""
    with pytest.raises(DefinitionInvalid) as caught:
        load(broken("event.size > 0", "evnt.size > 0"), "x.yaml")
    assert caught.value.problems[0].hint == "did you mean `event`?"
