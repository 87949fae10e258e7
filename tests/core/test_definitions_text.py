"""What a file may look like, whatever it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sagas.document import LATER
from sagas.loader import DefinitionInvalid, load, load_bytes
from sagas.model import Saga
from sagas.problems import Problem
from sagas.schema import language_schema
from sagas.source import Source

ROOT = Path(__file__).parents[2] / "sagas"
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))

SAGA = """\
saga: visit
version: 1
steps:
  book:
    call: seats.book
    with: {a: 1}
    undo: seats.free
"""


def problems(text: str | bytes) -> list[Problem]:
    """Load, and return what is wrong."""
    try:
        if isinstance(text, bytes):
            load_bytes(text, "x.yaml")
        else:
            load(text, "x.yaml")
    except DefinitionInvalid as error:
        return error.problems
    return []


def places(text: str | bytes) -> list[tuple[str, int, int]]:
    """Return code, line and column of what is wrong."""
    return [(p.code, p.line, p.column) for p in problems(text)]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("{a: 1}", "{<<: {a: 1}}", ("alias", 6, 12)),
        ("{a: 1}", "{a: 12345678901234567890}", ("shape", 6, 15)),
        ("{a: 1}", "{a: 1e999}", ("shape", 6, 15)),
        ("{a: 1}", "{a: .inf}", ("shape", 6, 15)),
        ("{a: 1}", "{a: .nan}", ("shape", 6, 15)),
        ("{a: 1}", "{a: \x07}", ("yaml", 6, 15)),
        ("{a: 1}", "{a: \ud800}", ("yaml", 6, 15)),
        ("    with", "\twith", ("yaml", 6, 1)),
        ("  book:", "  in:", ("name", 4, 3)),
        ("with: {a: 1}", "with_: {a: 1}", ("unknown-word", 6, 5)),
        ("with: {a: 1}", 'retry: {factor: "2"}', ("shape", 6, 21)),
        ("with: {a: 1}", "timeout: ٣s", ("shape", 6, 14)),  # an Arabic three
    ],
)
def test_what_would_be_misread_is_refused(old: str, new: str, place: tuple[str, int, int]) -> None:
    """A number that becomes a text, or a word that nobody heeds, is found at night."""
    assert places(SAGA.replace(old, new, 1)) == [place]


def test_scalars_are_those_of_yaml_1_2() -> None:
    """`no` is a text, and what is quoted is what it says."""
    text = SAGA.replace("{a: 1}", "[no, 0o17, 0xff, -9223372036854775808, '1', 1.5, ~, 1e2, 007]")
    with_ = Source(text, "x.yaml").value["steps"]["book"]["with"]
    assert with_ == ["no", 15, 255, -(2**63), "1", 1.5, None, 100.0, 7]


def test_what_is_not_utf_8_is_told_with_its_place() -> None:
    """Counted in characters, not in bytes."""
    text = SAGA.replace("{a: 1}", '{a: "é?"}').encode().replace(b"?", b"\xff")
    assert places(text) == [("encoding", 6, 17)]


def test_half_a_character_is_refused() -> None:
    """An escape can say what UTF-8 cannot: no message could be written with it."""
    assert places(SAGA.replace("{a: 1}", '{a: "\\ud800"}')) == [("encoding", 6, 15)]


def test_line_endings_do_not_change_what_a_file_is() -> None:
    """A checkout on Windows is the same definition."""
    definition = load_bytes(SAGA.replace("\n", "\r\n").encode(), "x.yaml")
    assert definition.hash == load(SAGA, "x.yaml").hash


def test_an_excerpt_is_the_line_that_is_meant() -> None:
    """Though a text may hold signs that others take for line ends."""
    text = SAGA.replace("{a: 1}", '{b: "x\u2028y"}').replace("undo: seats.free", "undo: seats")
    assert [(p.line, p.excerpt) for p in problems(text)] == [(7, "    undo: seats")]


@pytest.mark.parametrize("word", sorted(LATER - {"saga", "atomic"}))
@pytest.mark.parametrize("place", ["top", "step", "start", "retry"])
def test_a_word_that_is_planned_is_refused_and_said_to_be(word: str, place: str) -> None:
    """Silently heeding none of it would be worse than not having it."""
    changes = {
        "top": ("version: 1", f"version: 1\n{word}: x"),
        "step": ("call: seats.book", f"call: seats.book\n    {word}: x"),
        "start": ("version: 1", f"version: 1\nstart: {{{word}: x}}"),
        "retry": ("with: {a: 1}", f"retry: {{{word}: x}}"),
    }
    (problem,) = problems(SAGA.replace(*changes[place], 1))
    assert (problem.code, problem.message) == (
        "unknown-word",
        f"`{word}` is not part of the language yet",
    )
    assert problem.hint


def test_problems_of_order_and_of_expressions_are_told_together() -> None:
    """One does not hide the other."""
    text = SAGA.replace("    undo: seats.free\n", "").replace("a: 1", 'a: "${ inptu.x }"')
    assert [code for code, _, _ in places(text)] == ["undo-missing", "expression"]


def test_over_200_steps_are_refused() -> None:
    """And 200 are not."""

    def steps(count: int) -> str:
        head = "saga: long\nversion: 1\ndeadline: 2h\nsteps:\n"
        return head + "".join(f"  s{i}: {{call: a.b, undo: a.c}}\n" for i in range(count))

    assert places(steps(200)) == []
    assert [code for code, _, _ in places(steps(201))] == ["shape"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_editors_are_told_the_same(file: Path) -> None:
    """The examples fit the schema that completion works with, and name it by its path."""
    value = Source(file.read_text(), file.name).value
    validator: Any = Draft202012Validator(language_schema())
    assert not list(validator.iter_errors(value))

    modeline = file.read_text().splitlines()[0]
    named = modeline.removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / named).resolve() == (ROOT / "schema.json").resolve()


def test_a_trip_holds_flight_and_hotel_side_by_side() -> None:
    """And its hotel can be released though the reply with the room is lost."""
    file = ROOT / "examples" / "book-trip.yaml"
    trip = load(file.read_text(), file.name)
    assert isinstance(trip, Saga)
    assert [trip.steps[name].needs for name in ("flight", "hotel", "pay")] == [
        (),
        (),
        ("flight", "hotel"),
    ]
    undo = trip.steps["hotel"].undo
    assert undo is not None
    assert undo.data is not None
    scope = {"input": {"traveller": "ada"}, "steps": {"hotel": None}}
    assert undo.data(scope) == {"guest": "ada", "room": None}
    assert undo.data({**scope, "steps": {"hotel": {"room": 7}}}) == {"guest": "ada", "room": 7}
