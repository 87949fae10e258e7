"""Whatever is in a file, it is loaded or refused, and what is loaded has a value or says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagas.loader import DefinitionInvalid, load, load_bytes
from sagas.model import AnyDefinition, EvaluationFailed, Expression, InputRefused, Saga
from sagas.problems import Problem

EXAMPLES = [
    file.read_text()
    for file in sorted((Path(__file__).parents[2] / "sagas" / "examples").glob("*.yaml"))
]
SLOW = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PIECES = [
    *("${", "}", "[]", "{}", "null", "-", ":", "&", "* ", "!", "!!str ", "|", ">", "? ", "%", "@"),
    *("`", '"', "'", "---", "...", "<<: ", "0x", "0o", "1e999", ".inf", ".nan", "\t", "\n", " "),
    *("\r", "\u2028", "\x85", "\ufeff", "\x00", "saga:", "atomic:", "steps:", "needs:", "pivot:"),
    *("undo:", "none:", "$ref:", "#", "true", "9999999999", "?:", "&&", "input.x"),
    *('"${ steps.charge }"', '"${ input }"', '"${ steps.hotel == null ? 1 : 2 }"'),
]
WORDS = [
    *("input", "steps", "book", "txn", "branches", ".", ".", "a", "b", "[", "]", "(", ")"),
    *("{", "}", "+", "-", "*", "/", "%", "==", "!=", "<", ">", "&&", "||", "!", "?", ":", ","),
    *("1", "2.5", "1u", "'x'", "b'x'", "null", "true", "has", "size", "map", "all", "exists"),
    *("filter", "string", "int", "double", "timestamp", "duration", "matches", "in", "dyn", "type"),
]
KEYWORDS = [
    *("properties", "$defs", "a", "items", "anyOf", "not", "if", "then", "$ref", "required"),
    *("additionalProperties", "dependentSchemas", "prefixItems", "const", "$dynamicRef"),
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "order_id", "total"]), inner, max_size=3)
    ),
    max_leaves=8,
)
cel_texts = st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)
schema_texts = st.recursive(
    st.sampled_from([True, {}, {"type": "object"}, {"$ref": "#"}, {"$ref": "#/$defs/a"}, 5, "x"]),
    lambda inner: st.dictionaries(
        st.sampled_from(KEYWORDS),
        inner | st.lists(inner, max_size=2),
        max_size=3,
    ),
    max_leaves=8,
)


def loaded(text: str | bytes) -> AnyDefinition | None:
    """Load, and let nothing out but what is promised."""
    try:
        return load_bytes(text, "x") if isinstance(text, bytes) else load(text, "x")
    except DefinitionInvalid as error:
        check_problems(error.problems)
        return None


def check_problems(problems: list[Problem]) -> None:
    """Each has a place and a sentence, and they come in the file's order."""
    assert problems == sorted(problems, key=lambda p: (p.line, p.column, p.code))
    for problem in problems:
        assert min(problem.line, problem.column) >= 1
        assert problem.message
        assert str(problem)
        json.dumps(problem.as_json())


def evaluated(expression: Expression | None, scope: dict[str, Any]) -> None:
    """Evaluate: JSON, or a reason."""
    if expression is None:
        return
    try:
        json.dumps(expression(scope), allow_nan=False)
    except EvaluationFailed:
        return


@SLOW
@given(st.binary(max_size=120) | st.text(max_size=120))
def test_anything_is_loaded_or_refused(text: str | bytes) -> None:
    """Bytes, too."""
    loaded(text)


@SLOW
@given(st.data())
def test_any_damage_to_an_example_is_loaded_or_refused(data: st.DataObject) -> None:
    """Up to three cuts, moves and insertions; what still loads still has values or reasons."""
    text = data.draw(st.sampled_from(EXAMPLES))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 30)))
        other = data.draw(st.integers(0, len(text)))
        piece = data.draw(
            st.sampled_from([*PIECES, text[other : other + 25]]) | st.text(max_size=5)
        )
        text = text[:start] + piece + text[end:]
    definition = loaded(text)
    if definition is None:
        return
    scope = {"input": data.draw(json_values), "steps": {}, "branches": {}, "txn": {"gid": "g"}}
    parts = definition.steps if isinstance(definition, Saga) else definition.branches
    for part in parts.values():
        evaluated(part.data, scope)
        evaluated(part.key, scope)
    evaluated(definition.output, scope)
    evaluated(definition.start.key, {"event": scope["input"]})


@SLOW
@given(cel_texts, json_values)
def test_any_expression_is_refused_or_has_a_value_or_a_reason(source: str, value: Any) -> None:
    """CEL's own exceptions stay inside; its results are JSON."""
    text = (
        "saga: a\nversion: 1\nsteps:\n  book:\n    call: b.c\n"
        f"    with: {{x: {json.dumps('${ ' + source + ' }')}}}\n"
        f"    undo: {{call: b.d, with: {{x: {json.dumps('${ ' + source + ' }')}}}}}\n"
    )
    definition = loaded(text)
    if definition is None:
        return
    assert isinstance(definition, Saga)
    step = definition.steps["book"]
    assert step.undo is not None
    scope = {"input": value, "steps": {"book": None}, "txn": {}}
    evaluated(step.data, scope)
    evaluated(step.undo.data, scope)


@SLOW
@given(schema_texts, json_values)
def test_any_schema_is_refused_or_can_be_checked(schema: Any, value: Any) -> None:
    """An input is accepted or refused, whatever the schema is."""
    text = f"atomic: a\nversion: 1\ninput: {json.dumps(schema)}\nbranches: {{b: {{call: c.d}}}}\n"
    definition = loaded(text)
    if definition is None:
        return
    try:
        definition.check_input(value)
    except InputRefused:
        return
