"""What an `input` may demand, and how it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sagas.loader import DefinitionInvalid, load
from sagas.model import AnyDefinition, InputRefused
from sagas.problems import Problem


def with_input(schema: Any) -> AnyDefinition:
    """Load a definition with this schema."""
    text = f"atomic: a\nversion: 1\ninput: {json.dumps(schema)}\nbranches: {{b: {{call: c.d}}}}\n"
    return load(text, "x.yaml")


def problem(schema: Any) -> Problem:
    """Return the one thing that is wrong with a schema."""
    with pytest.raises(DefinitionInvalid) as caught:
        with_input(schema)
    (only,) = caught.value.problems
    assert only.line == 3
    return only


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "thing"}, "is no type"),
        ({"pattern": "("}, "regex"),
        ({"$ref": "https://example.org/x"}, "elsewhere"),
        ({"properties": {"a": {"$ref": "other.json"}}}, "elsewhere"),
        ({"$ref": "#/$defs/nope"}, "nothing at"),
        ({"$ref": "#nope"}, "nothing at"),
        ({"required": ["a"], "$ref": "#/required"}, "no schema"),
        ({"const": {"type": 5}, "$ref": "#/const"}, "no schema"),
        ({"$ref": "#"}, "no end"),
        (
            {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}},
            "no end",
        ),
        ({"$id": "https://example.org/"}, "`$id`"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "2020-12"),
    ],
)
def test_a_schema_is_checked_by_itself_and_has_an_end(schema: Any, said: str) -> None:
    """Nothing is fetched, and nothing is found out only when an input comes."""
    found = problem(schema)
    assert found.code == "input-schema"
    assert said in found.message


def test_what_is_sensitive_is_so_or_is_not() -> None:
    """A text would be taken for true by somebody, and for false by somebody else."""
    found = problem({"properties": {"card": {"type": "string", "sensitive": "yes"}}})
    assert (found.code, found.message) == ("input-schema", "`sensitive` is true or false")


def test_a_schema_may_refer_to_its_own_parts() -> None:
    """Also to itself, for a smaller value."""
    definition = with_input(
        {
            "$defs": {"tree": {"properties": {"left": {"$ref": "#/$defs/tree"}}, "type": "object"}},
            "properties": {"tree": {"$ref": "#/$defs/tree"}},
        }
    )
    definition.check_input({"tree": {"left": {"left": {}}}})
    with pytest.raises(InputRefused, match=r"^input\.tree\.left\.left: 1 is not of type 'object'"):
        definition.check_input({"tree": {"left": {"left": 1}}})


def test_data_that_is_too_deep_is_refused() -> None:
    """A deep event ends no process."""
    definition = with_input({"properties": {"a": {"$ref": "#"}}})
    value: dict[str, Any] = {}
    for _ in range(5_000):
        value = {"a": value}
    with pytest.raises(InputRefused, match="cannot be checked"):
        definition.check_input(value)


def test_a_reason_fits_a_line() -> None:
    """However long the value is."""
    with pytest.raises(InputRefused) as refused:
        with_input({"properties": {"a": {"type": "integer"}}}).check_input({"a": "x" * 10_000})
    assert str(refused.value).startswith("input.a: 'xxx")
    assert str(refused.value).endswith("is not of type 'integer'")
    assert len(str(refused.value)) < 400


def test_a_long_chain_of_references_is_refused_or_read() -> None:
    """Never a traceback."""
    chain = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(3_000)}
    schema = {"$defs": {**chain, "d3000": {}}, "$ref": "#/$defs/d0"}
    assert problem(schema).message == "its references are chained too deeply"


def test_many_ways_through_a_schema_take_no_longer() -> None:
    """Each part is looked at once."""
    schema: dict[str, Any] = {"$defs": {"d40": {}}}
    for i in range(40):
        following = {"$ref": f"#/$defs/d{i + 1}"}
        schema["$defs"][f"d{i}"] = {"allOf": [following, following]}
    with_input(schema)
