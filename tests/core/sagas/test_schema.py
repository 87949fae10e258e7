"""The language's JSON Schema: what editors complete, explain and mark is what the loader reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from coordinator.rehearsal.script import scenario_schema
from sagas.schema import language_schema
from sagas.source import Source
from tests.core.cli.test_codes import SECTIONS, files

SCHEMAS = {"definitions": language_schema(), "scenarios": scenario_schema()}
SCENARIOS = sorted((Path(__file__).parents[3] / "sagas").glob("*/scenarios/*.yaml"))
OF_SHAPE = ("kind", "missing", "name", "shape", "unknown-word")


def fits(text: str) -> bool:
    """Tell whether an editor finds nothing wrong."""
    validator: Any = Draft202012Validator(language_schema())
    return not list(validator.iter_errors(Source(text, "x.yaml").value))


@pytest.mark.parametrize("code", OF_SHAPE)
def test_an_editor_marks_what_is_of_the_wrong_shape(code: str) -> None:
    """As it is written, before anything is checked."""
    assert [fits(text) for text in files(code, "-")] == [False]


@pytest.mark.parametrize("code", SECTIONS)
def test_an_editor_marks_nothing_that_is_right(code: str) -> None:
    """Whatever was wrong with it before."""
    assert all(fits(text) for text in files(code, "+"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_is_one_and_explains_every_word(name: str) -> None:
    """An editor shows the description beside the word."""
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)
    unexplained = {where for where, said in _words(schema) if not _explained(schema, said)}
    assert unexplained == set()


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.name)
def test_an_editor_marks_nothing_in_the_scenarios_of_the_examples(file: Path) -> None:
    """A reply may stand alone, or in a list."""
    validator: Any = Draft202012Validator(SCHEMAS["scenarios"])
    assert not list(validator.iter_errors(Source(file.read_text(), file.name).value))


def _words(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    parts = {**schema.get("$defs", {}), "": schema}
    parts |= {f"{i}": kind for i, kind in enumerate(schema.get("oneOf", ()))}
    for where, part in parts.items():
        for word, said in part.get("properties", {}).items():
            yield f"{where}.{word}", said


def _explained(schema: dict[str, Any], said: dict[str, Any]) -> bool:
    """Tell whether a word has a description, or a part of it that has one."""
    if "description" in said:
        return True
    if "$ref" in said:
        return _explained(schema, schema["$defs"][said["$ref"].rpartition("/")[2]])
    return any(_explained(schema, one) for one in said.get("anyOf", ()))
