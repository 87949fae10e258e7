"""Each word of the language, and each of its choices, is in a definition that runs for real.

tests/acceptance/test_gallery.py runs these, and kills each owner in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

from typer.testing import CliRunner

from coordinator.cli import main
from sagas.schema import language_schema
from sagas.source import Source
from tests.acceptance.plays import FOLDERS

SCHEMA: Final[dict[str, Any]] = language_schema()
KINDS: Final[dict[str, Any]] = {next(iter(kind["properties"])): kind for kind in SCHEMA["oneOf"]}


def shapes(node: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what a value may look like, by the name of its part, or of what it belongs to."""
    if "$ref" in node:
        part = str(node["$ref"]).rpartition("/")[2]
        yield from shapes(SCHEMA["$defs"][part], part)
        return
    alternatives = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    for one in alternatives:
        yield from shapes(one, name)
    if not alternatives:
        yield name, node


def used(node: dict[str, Any], name: str, value: Any) -> Iterator[str]:
    """Yield the words and choices in a value: `StepPart.on_unknown`, `StepPart.on_unknown=park`."""
    for part, shape in shapes(node, name):
        if isinstance(value, list):
            for one in cast("list[Any]", value):
                yield from used(shape.get("items", {}), name, one)
        elif isinstance(value, dict):
            parts = cast("dict[str, Any]", value)
            for word, inner in shape.get("properties", {}).items():
                if word in parts:
                    yield f"{part}.{word}"
                    yield from used(inner, f"{part}.{word}", parts[word])
            for inner in shape.get("patternProperties", {}).values():
                for one in parts.values():
                    yield from used(inner, name, one)
        elif value in shape.get("enum", ()):
            yield f"{name}={value}"


def test_each_word_runs() -> None:
    """Whoever adds one adds it to the gallery or, if it is of no use there, to `words`."""
    known = {f"{kind}.{word}" for kind, part in KINDS.items() for word in part["properties"]}
    for name, part in {**SCHEMA["$defs"], **KINDS}.items():
        for word, node in part.get("properties", {}).items():
            known.add(f"{name}.{word}")
            for _, shape in shapes(node, ""):
                known |= {f"{name}.{word}={one}" for one in shape.get("enum", ())}
    found: set[str] = set()
    for file in (file for folder in FOLDERS for file in folder.glob("*.yaml")):
        value = Source(file.read_text(), file.name).value
        kind = next(iter(KINDS.keys() & value.keys()))
        found |= set(used(KINDS[kind], kind, value))
    assert found == known


def test_those_beside_the_gallery_end_as_they_say() -> None:
    """In their rehearsals."""
    result = CliRunner().invoke(main.app, ["test", str(FOLDERS[1] / "scenarios")])
    assert result.exit_code == 0, result.output
