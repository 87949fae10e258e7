"""Fields of an input become words by which its transaction is found."""

from __future__ import annotations

import pytest

from sagas.loader import DefinitionInvalid, load, load_published
from sagas.search import LONGEST, term, terms

GIVEN = {"id": "o-1", "n": 3, "gift": True, "customer": {"id": "c 17"}, "lines": [1], "none": None}


def test_texts_numbers_and_booleans_have_words() -> None:
    """As one would write them; whatever else is there has none, and nor has what is missing."""
    fields = ["id", "n", "gift", "customer.id", "lines", "none", "customer", "id.x", "missing"]

    assert terms(fields, GIVEN, None) == ("id=o-1", "n=3", "gift=true", "customer.id=c 17")


def test_a_long_value_is_cut_alike_on_both_sides() -> None:
    """An index takes no whole novel."""
    long = "x" * 10_000

    assert terms(["id"], {"id": long}, None) == (term("id", long),)
    assert len(term("id", long)) == LONGEST + 3


def definition(index: str) -> str:
    schema = "input: {properties: {id: {}, card: {properties: {no: {sensitive: true}}}}}"
    steps = "steps: {a: {call: b.c, undo: b.d}}"
    return f"saga: a\nversion: 1\nindex: {index}\n{schema}\n{steps}\n"


def test_a_definition_names_its_fields() -> None:
    assert load(definition("[id, card.kind]"), "test").index == ("id", "card.kind")


@pytest.mark.parametrize("index", ["[card.no]", "[id, card]"])
def test_what_is_sensitive_is_not_found_by(index: str) -> None:
    """Nor what holds it."""
    with pytest.raises(DefinitionInvalid, match="sensitive-key"):
        load(definition(index), "test")


HIDING = [
    "{properties: {no: {$ref: '#/$defs/pan'}}, $defs: {pan: {sensitive: true}}}",
    "{properties: {no: {}}, allOf: [{properties: {no: {sensitive: true}}}]}",
    "{properties: {no: {}}, if: {}, then: {properties: {no: {sensitive: true}}}}",
    "{properties: {no: {properties: {x: {sensitive: true}}, anyOf: [{$ref: '#'}]}}}",
    "{sensitive: true}",
]


def hiding(named: str, schema: str) -> str:
    steps = "steps: {a: {call: b.c, undo: b.d}}"
    return f"saga: a\nversion: 1\n{named}\ninput: {schema}\n{steps}\n"


@pytest.mark.parametrize("schema", HIDING)
def test_wherever_a_schema_says_that_a_field_is_sensitive_it_is_not_found_by(schema: str) -> None:
    """Also in what was published before anybody saw that."""
    text = hiding("index: [no]", schema)
    with pytest.raises(DefinitionInvalid, match="sensitive-key"):
        load(text, "test")

    published = load_published(text, "test")
    assert not terms(published.index, {"no": {"x": 1} if "x:" in schema else 1}, published.private)


@pytest.mark.parametrize("schema", HIDING[:3])
def test_nor_does_it_start_by_it(schema: str) -> None:
    """Its key is shown everywhere."""
    text = hiding("start: {topic: t, key: event.no}", schema)
    with pytest.raises(DefinitionInvalid, match="sensitive-key"):
        load(text, "test")
