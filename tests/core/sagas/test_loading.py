"""What a loaded definition says, and what its expressions give."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagas.loader import DefinitionInvalid, load, load_published
from sagas.model import Atomic, EvaluationFailed, InputRefused, Saga
from sagas.schema import language_schema, schema_text
from tests.core.sagas.definitions import ATOMIC, SAGA

EXAMPLES = sorted((Path(__file__).parents[3] / "sagas" / "examples").glob("*.yaml"))
SECOND = 1_000_000


def saga(text: str = SAGA) -> Saga:
    """Load a saga."""
    definition = load(text, "x.yaml")
    assert isinstance(definition, Saga)
    return definition


def test_a_saga_is_what_its_file_says() -> None:
    """Defaults are those of the language's page."""
    visit = saga()
    book, pay, greet = visit.steps.values()

    assert (visit.name, visit.version, visit.deadline_us) == ("visit", 1, 300 * SECOND)
    assert (visit.start.topic, str(book.call)) == ("guests.arrived", "seats.book")
    assert [step.needs for step in (book, pay, greet)] == [(), ("book",), ("pay",)]
    assert visit.dependents == {"book": ("pay",), "pay": ("greet",), "greet": ()}
    assert visit.pivot is pay
    assert book.timeout_us == 30 * SECOND
    assert (book.retry.attempts, book.retry.first_us, book.retry.max_us) == (
        5,
        SECOND,
        60 * SECOND,
    )
    assert book.undo is not None
    assert (str(book.undo.call), book.undo.data) == ("seats.free", None)


def test_an_atomic_transaction_is_what_its_file_says() -> None:
    """A branch has a call, a `with` and a key."""
    swap = load(ATOMIC, "x.yaml")
    assert isinstance(swap, Atomic)
    assert (swap.name, swap.version, swap.vote_timeout_us) == ("swap", 2, 10 * SECOND)
    assert [str(branch.call) for branch in swap.branches.values()] == ["a.take", "b.give"]
    assert swap.output is not None
    assert swap.output({"branches": {"left": {"balance": 3}}}) == {"left": 3}


def test_steps_come_in_an_order_that_their_needs_allow() -> None:
    """Whatever the order of the file."""
    text = (
        SAGA.replace("  greet:\n    call: seats.greet\n", "")
        .replace("steps:\n", "steps:\n  greet:\n    call: seats.greet\n    needs: [pay]\n")
        .replace("  book:\n", "  book:\n    needs: []\n")
    )
    assert list(saga(text).steps) == ["book", "pay", "greet"]


def test_an_expression_alone_keeps_its_type_and_inside_a_text_becomes_text() -> None:
    """A list stays a list; in a text only scalars can stand."""
    book = saga().steps["book"]
    assert book.data({"input": {"guest": "ada"}}) == {"guest": "ada", "note": "for ada"}
    assert book.data({"input": {"guest": True}}) == {"guest": True, "note": "for true"}
    with pytest.raises(EvaluationFailed):
        book.data({"input": {"guest": [1]}})


def test_a_missing_field_has_no_value() -> None:
    """It fails with a sentence that names it; it is never null by itself."""
    with pytest.raises(EvaluationFailed, match="there is no `guest`"):
        saga().steps["book"].data({"input": {}})


EXPRESSIONS: list[tuple[str, dict[str, Any], Any]] = [
    ("input.a.b", {"a": {"b": [1, {"c": None}]}}, [1, {"c": None}]),
    ("input.n + 1", {"n": 2}, 3),
    ("double(input.n) * 1.5", {"n": 2}, 3.0),
    ("{'x': input.n, 'y': [input.n]}", {"n": 2}, {"x": 2, "y": [2]}),
    ("has(input.z) ? input.z : 'none'", {}, "none"),
    ("input.s + '}'", {"s": "{"}, "{}"),
    ("input.l.map(i, i * 2)", {"l": [1, 2]}, [2, 4]),
    ("input.n > 1 && input.s == 'x'", {"n": 2, "s": "x"}, True),
    ("input.big", {"big": 2**70}, 2**70),
]


@pytest.mark.parametrize(("expression", "value", "expected"), EXPRESSIONS)
def test_what_expressions_give(expression: str, value: dict[str, Any], expected: Any) -> None:
    """CEL, with results that are plain JSON."""
    text = SAGA.replace("${ input.guest }", "${ " + expression + " }", 1)
    assert saga(text).steps["book"].data({"input": {"guest": "g", **value}})["guest"] == expected


@pytest.mark.parametrize("expression", ["1 / input.n", "input.n * 1.5", "input.x.y", "input.l[9]"])
def test_what_has_no_value_fails_and_does_not_raise_anything_else(expression: str) -> None:
    """Whatever CEL thinks of it, the core sees one error."""
    text = SAGA.replace("${ input.guest }", "${ " + expression + " }", 1)
    with pytest.raises(EvaluationFailed):
        saga(text).steps["book"].data({"input": {"n": 0, "l": []}})


def test_an_input_that_does_not_fit_is_refused_with_its_place() -> None:
    """By the JSON Schema of the definition."""
    visit = saga()
    visit.check_input({"guest": "ada"})
    with pytest.raises(InputRefused, match="guest"):
        visit.check_input({})


def test_the_hash_names_the_text() -> None:
    """A changed comment is another text: a published version never changes."""
    assert saga().hash == saga().hash != saga(SAGA + "# more\n").hash


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_the_examples_are_right(file: Path) -> None:
    """What the demo runs is what people copy."""
    load(file.read_text(), str(file))


def test_the_schema_for_editors_is_current() -> None:
    """sagas/schema.json is generated."""
    schema = Path(__file__).parents[3] / "sagas" / "schema.json"
    assert schema.read_text() == schema_text(language_schema())


def test_loading_definitions_needs_no_clients() -> None:
    """The language knows neither Kafka nor Postgres nor time."""
    code = (
        "import sys, sagas.loader;"
        "print([m for m in ('asyncpg', 'aiokafka', 'opentelemetry') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_loaded_or_refused(text: str) -> None:
    """Never a traceback."""
    with contextlib.suppress(DefinitionInvalid):
        load(text, "x.yaml")


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_any_damage_to_a_definition_is_loaded_or_refused(data: st.DataObject) -> None:
    """Cut a piece out, put another in: never a traceback, and every problem has its place."""
    text = data.draw(st.sampled_from([SAGA, ATOMIC]))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    piece = data.draw(
        st.one_of(
            st.text(max_size=10),
            st.sampled_from(["${", "}", "[]", "{}", "null", "- ", ": ", "\n", "*a", "!x ", "1e99"]),
        )
    )
    damaged = text[:start] + piece + text[end:]
    try:
        load(damaged, "x.yaml")
    except DefinitionInvalid as error:
        for problem in error.problems:
            assert problem.line >= 1
            assert problem.column >= 1
            assert problem.message


def test_what_is_published_is_read_by_rules_that_came_later() -> None:
    """A transaction that runs must not stop because the checks have become wiser."""
    unwise = SAGA.replace("undo: seats.free", "undo: money.give")
    with pytest.raises(DefinitionInvalid):
        load(unwise, "x.yaml")

    assert load_published(unwise, "x.yaml").hash != saga().hash
    with pytest.raises(DefinitionInvalid):
        load_published(SAGA.replace("    undo: seats.free", "    needs: [greet]"), "x.yaml")
