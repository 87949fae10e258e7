"""What expressions may name, what they give, and how they fail."""

from __future__ import annotations

from typing import Any

import pytest

from sagas.expressions import (
    MAX_DEPTH,
    ExpressionInvalid,
    compile_condition,
    compile_expression,
    compile_key,
)
from sagas.fallback import has_fallback
from sagas.loader import DefinitionInvalid, load
from sagas.model import EvaluationFailed
from sagas.problems import Problem
from sagas.templates import Hole, compile_text, split

NAMES = ("input", "txn", "steps.book", "steps.pay")

SAGA = """\
saga: visit
version: 1
steps:
  book:
    call: seats.book
    with: {a: 1}
    undo: seats.free
  pay:
    call: money.take
    with: {a: 1}
    pivot: true
"""


def problems(old: str, new: str) -> list[Problem]:
    """Make one thing wrong, and return what is said."""
    assert old in SAGA
    try:
        load(SAGA.replace(old, new, 1), "x.yaml")
    except DefinitionInvalid as error:
        return error.problems
    return []


def evaluated(source: str, **scope: Any) -> Any:
    """Compile and evaluate."""
    return compile_expression(source, NAMES)(scope)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("steps.pay.x", "not-done-yet"),
        (".steps.pay.x", "not-done-yet"),
        ("steps . pay . x", "not-done-yet"),
        ("steps.pay['x']", "not-done-yet"),
        ("has(steps.pay.x)", "not-done-yet"),
        ("steps.book.x", "not-done-yet"),
        ("steps.boook.x", "unknown-step"),
        ("branches.left.x", "unknown-step"),
        ("steps", "expression"),
        ("event.x", "expression"),
        ("each.x", "expression"),
    ],
)
def test_an_expression_names_only_what_is_there(source: str, code: str) -> None:
    """However the name is written: CEL itself resolves it."""
    found = problems("{a: 1}", '{a: "${ ' + source + ' }"}')
    assert [problem.code for problem in found] == [code]


@pytest.mark.parametrize("source", ["'steps.pay.x'", "input.steps", "[1].map(steps, steps)"])
def test_what_only_looks_like_a_step_is_no_reference(source: str) -> None:
    """A text, a field and a variable of a macro may be called anything."""
    assert problems("{a: 1}", '{a: "${ ' + source + ' }"}') == []


def test_all_wrong_names_of_an_expression_are_told() -> None:
    """Each by itself."""
    found = problems("{a: 1}", '{a: "${ steps.pay.x + steps.oops.y }"}')
    assert [p.message for p in found] == [
        "`steps.pay` need not be done when this is evaluated",
        "there is no step `oops`",
    ]


def test_a_branch_has_no_result_before_the_decision() -> None:
    """Only the output may name one."""
    text = 'atomic: a\nversion: 1\nbranches:\n  b: {call: c.d, with: {x: "${ branches.b.y }"}}\n'
    with pytest.raises(DefinitionInvalid, match="only `output` may name it"):
        load(text, "x.yaml")


def test_events_are_only_seen_by_the_start() -> None:
    """And the start sees nothing else."""
    start = "version: 1\nstart: {topic: t, when: steps.book.x, key: input.y}"
    assert [p.hint for p in problems("version: 1", start)] == [
        "known here: event",
        "the event's body is called `event` here",
    ]


def test_a_key_of_a_mapping_is_no_expression() -> None:
    """It would be sent as it stands."""
    (problem,) = problems("{a: 1}", '{"${ input.a }": 1}')
    assert (problem.code, problem.column) == ("expression", 12)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1.0 / 0.0", "inf is no JSON number"),
        ("input.i * 1.5", "convert one with `double(…)` or `int(…)`"),
        ("input.big + 1", "more than 64 bits"),
        ("input.list[7]", "there is no element 7: the list has 1"),
        ("input.nope + 1", "there is no `nope`"),
        ("input.i.x.y + 1", "a field is asked of what is no object"),
        ("input.text + 'x'", "not valid Unicode"),
        ("steps.book.x + 1", "`steps.book` has no value here"),
        ("dyn(timestamp('2020-01-01T00:00:00Z'))", "use string"),
        ("input.many.map(a, input.many.map(b, input.many.map(c, a)))", "too many iterations"),
    ],
)
def test_what_has_no_value_says_why(source: str, said: str) -> None:
    """In a sentence that names the expression."""
    value = {"i": 1, "big": 2**70, "list": [1], "text": "\ud800", "many": list(range(300))}
    with pytest.raises(EvaluationFailed) as failed:
        evaluated(source, input=value, steps={})
    assert str(failed.value).startswith(f"`{source}`")
    assert said in str(failed.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("b'x'", "bytes"),
        ("[timestamp('2020-01-01T00:00:00Z')]", "timestamp"),
        ("{1: 2}", "keys of a JSON object"),
        ("1 + 1.5", "`+` cannot be used on an integer and a decimal"),
        ("input.x = 1", "not a CEL expression"),
        ("", "no expression here"),
        ("(" * 300 + "1" + ")" * 300, "nested too deeply"),
        ("input.k ? 1 : " * 40 + "2", "nested too deeply"),
        ("1" * 5000, "over 4000 characters"),
    ],
)
def test_what_cannot_be_right_is_refused_at_load(source: str, said: str) -> None:
    """Types are checked before anything runs."""
    with pytest.raises(ExpressionInvalid, match="^.*" + said.replace("+", r"\+")):
        compile_expression(source, NAMES)


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 50_000])
@pytest.mark.parametrize("source", ["input", "input.a == 1", "size(input.a)"])
def test_deep_data_fails_and_does_not_end_the_process(levels: int, source: str) -> None:
    """CEL follows it on the C stack: unguarded, this is a segmentation fault."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    with pytest.raises(EvaluationFailed, match="too deeply"):
        evaluated(source, input=value)


def test_only_the_fields_that_are_used_are_handed_over() -> None:
    """What is beside them may be anything, and costs nothing."""
    value = {"i": 2, "big": 2**70}
    assert evaluated("input.i * 2", input=value) == 4
    assert evaluated("has(input.i) && !has(input.z)", input=value) is True
    with pytest.raises(EvaluationFailed, match="64 bits"):
        evaluated("size(input) + input.i", input=value)


def test_a_condition_is_true_or_false() -> None:
    """Known at load where it can be, and otherwise when it is asked."""
    condition = compile_condition("event.big", ("event",))
    assert condition({"event": {"big": True}}) is True
    with pytest.raises(EvaluationFailed, match="is a number, not true or false"):
        condition({"event": {"big": 1}})
    with pytest.raises(ExpressionInvalid, match="of type int"):
        compile_condition("1 + 1", ("event",))


@pytest.mark.parametrize("wrong", [None, True, 1.5, ["a"], {"a": 1}])
def test_a_key_is_a_text_or_an_integer(wrong: Any) -> None:
    """Else every event whose id is null would be the same start."""
    key = compile_key("event.id", ("event",))
    assert [key({"event": {"id": good}}) for good in ("a", 7)] == ["a", 7]
    with pytest.raises(EvaluationFailed, match="a key is a text or an integer"):
        key({"event": {"id": wrong}})


def test_start_expressions_are_checked_for_their_types() -> None:
    """At their places."""
    start = 'version: 1\nstart: {topic: t, when: "1 + 1", key: "[event.a]"}'
    assert [(p.code, p.line) for p in problems("version: 1", start)] == [("expression", 3)] * 2


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("a ${ input.x } b", [" input.x "]),
        ("${ {'a': {'b': 1}} }", [" {'a': {'b': 1}} "]),
        ("${ '}' + r'\\}' }", [" '}' + r'\\}' "]),
        ('${ """a}"b""" }', [' """a}"b""" ']),
        ("${a}${b}", ["a", "b"]),
        ("$ {x} }", []),
    ],
)
def test_a_hole_ends_at_its_own_brace(text: str, sources: list[str]) -> None:
    """Not at one inside a string or a map."""
    assert [part.source for part in split(text) if isinstance(part, Hole)] == sources


def test_a_literal_dollar_brace_can_be_written() -> None:
    """As the text of an expression."""
    made = compile_text("cost: ${ '${' }5}", lambda source: compile_expression(source, NAMES))
    assert made({}) == "cost: ${5}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input.x", True),
        ("'steps.book'", True),
        ("steps.book == null", True),
        ("steps.book == null ? 0 : steps.book.n", True),
        ("steps.book != null ? steps.book.n : input.n", True),
        ("(steps.book == null ? {'a': 1} : steps.book)", True),
        ("steps.book == null || !has(steps.book.n) ? 0 : steps.book.n", True),
        ("steps.book != null && has(steps.book.n) ? steps.book.n : 0", True),
        ("input.k ? (steps.book == null ? 1 : steps.book.n) : 0", True),
        ("steps.book == null ? 'a ? b : c' : steps.book.n", True),
        ("steps.book == null && input.n > 1", True),
        ("input.n > 1 || input.k && steps.book == null", True),
        ("input.n > 1 && (steps.book == null ? 1 : steps.book.n) > input.n", False),
        ("steps.book == null && steps.book.n > 1", False),
        ("input.k || steps.book.n > 1", False),
        ("steps.book", False),
        ("steps.book.n", False),
        ("has(steps.book.n) ? steps.book.n : 0", False),
        ("steps.book == null ? steps.book.n : 0", False),
        ("input.k ? steps.book.n : 0", False),
        ("input.k == null && steps.book == null ? 0 : steps.book.n", False),
        ("input.k ? 1 : " * 25 + "steps.book == null ? 1 : steps.book.n", False),
        ("input.k && " * 25 + "steps.book == null", False),
    ],
)
def test_a_fallback_is_one_whatever_else_is_true(source: str, expected: bool) -> None:  # noqa: FBT001
    """If the reply is lost the undo must still be asked for."""
    assert has_fallback(source, "steps.book", NAMES) is expected


def test_a_text_that_mentions_a_step_needs_no_fallback() -> None:
    """Only what stands in braces is an expression."""
    undo = 'undo: {call: seats.free, with: {n: "see steps.book"}}'
    assert problems("undo: seats.free", undo) == []


@pytest.mark.parametrize("value", ["a\0b", ["a\0b"], {"a\0b": 1}, {"k": {"x": "a\0"}}])
@pytest.mark.parametrize("source", ["input.k == 'a'", "size(input.k)", "[input.k]"])
def test_a_text_with_a_zero_character_equals_none_without(source: str, value: object) -> None:
    """CEL's library cuts it there: whoever writes an event could pass for somebody else."""
    with pytest.raises(EvaluationFailed, match="zero character"):
        compile_expression(source, NAMES)({"input": {"k": value}})
    assert compile_expression("input.k", NAMES)({"input": {"k": value}}) == value
