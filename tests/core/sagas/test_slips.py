"""A field of the input that is nearly one of those that its schema names."""

from __future__ import annotations

import pytest

from sagas.loader import DefinitionInvalid, load, load_published

SAGA = """\
saga: visit
version: 1
input: INPUT
steps:
  book: {call: seats.book, with: {guest: "for ${ input.NAME }"}, undo: seats.free}
"""
NAMED = "{type: object, required: [id], properties: {guest: {}}}"


def saga(name: str, schema: str = NAMED) -> str:
    return SAGA.replace("INPUT", schema).replace("NAME", name)


def test_what_is_nearly_a_field_is_refused_where_it_stands() -> None:
    with pytest.raises(DefinitionInvalid) as refused:
        load(saga("gest"), "visit.yaml")

    [problem] = refused.value.problems
    assert (problem.code, problem.line, problem.column) == ("unknown-input", 5, 42)
    assert "did you mean `guest`?" in problem.message


@pytest.mark.parametrize(
    "text",
    [
        saga("guest"),
        saga("address"),  # nothing says that it does not come
        saga("guests", "{properties: {guest: {}, guests: {}}}"),
        saga(
            "gest", '{properties: {guest: {}}, allOf: [{$ref: "#/$defs/more"}], $defs: {more: {}}}'
        ),
        saga("guest + input.guest.input.gest"),
        saga("gest", "null").replace("input: null\n", ""),
    ],
)
def test_what_may_be_meant_is_not(text: str) -> None:
    """Only a slip is refused: a schema need not name all that comes."""
    load(text, "visit.yaml")


def test_what_was_published_goes_on() -> None:
    """It was accepted before there was this check."""
    load_published(saga("gest"), "visit version 1")
