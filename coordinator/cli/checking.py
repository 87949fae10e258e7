"""`twofold check`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coordinator.cli import reach
from coordinator.cli.output import Output, as_json, note, say
from coordinator.own_topics import usurped
from sagas.composition import misplaced
from sagas.files import files_of
from sagas.loader import DefinitionInvalid, load_bytes
from sagas.model import AnyDefinition, Saga
from sagas.problems import Problem
from wire.topics import Topics


def check(config: Path | None, paths: Sequence[Path], output: Output) -> bool:
    """Report on each file; tell whether all are right."""
    topics = Topics(reach.settings(config).kafka.prefix)
    files = {file: look_at(file) for file in files_of(paths)}
    together = [found for found in files.values() if not isinstance(found, list)]
    seen: dict[tuple[str, int], tuple[Path, str]] = {}
    report: list[dict[str, Any]] = []
    for file, found in files.items():
        definition = None if isinstance(found, list) else found
        problems = found if isinstance(found, list) else _twice(found, file, seen)
        if definition is not None:
            problems = [*problems, *misplaced(definition, str(file), together)]
            problems += usurped(definition, str(file), topics, together)
        report.append(_as_json(file, definition, problems))
        if output is Output.TEXT:
            _print(file, definition, problems)
    if output is Output.JSON:
        as_json(report)
    elif not files:
        note(f"there is no *.yaml or *.yml in {', '.join(map(str, paths))}")
    return bool(files) and all(entry["ok"] for entry in report)


def definition_in(file: Path, output: Output = Output.TEXT) -> AnyDefinition | None:
    """Read one definition; if it is wrong, say what is wrong with it, as `check` does."""
    found = look_at(file)
    if not isinstance(found, list):
        return found
    if output is Output.JSON:
        as_json([_as_json(file, None, found)])
    else:
        _print(file, None, found)
    return None


def look_at(file: Path) -> AnyDefinition | list[Problem]:
    """Read one definition, or return what is wrong with it."""
    try:
        return load_bytes(file.read_bytes(), str(file))
    except DefinitionInvalid as error:
        return error.problems


def _twice(
    definition: AnyDefinition, file: Path, seen: dict[tuple[str, int], tuple[Path, str]]
) -> list[Problem]:
    """Refuse a second text for a version, as publishing it would."""
    first, hash_ = seen.setdefault((definition.name, definition.version), (file, definition.hash))
    if hash_ == definition.hash:
        return []
    said = (
        f"{definition.name} version {definition.version} is in {first} already, with another text"
    )
    lines = definition.source.splitlines()
    at = next((i for i, text in enumerate(lines) if text.startswith("version")), 0)
    hint = "a version has one text: raise it"
    return [Problem("version-twice", said, hint, str(file), at + 1, 1, lines[at])]


def _print(file: Path, definition: AnyDefinition | None, problems: Sequence[Problem]) -> None:
    for problem in problems:
        say(str(problem))
    if definition is not None and not problems:
        kind = f"{definition.kind} {definition.name} version {definition.version}"
        say(f"{file}: {kind}, {_parts(definition)}")


def _parts(definition: AnyDefinition) -> str:
    if isinstance(definition, Saga):
        count = len(definition.steps)
        return f"{count} step{'s' * (count != 1)}"
    count = len(definition.branches)
    return f"{count} branch{'es' * (count != 1)}"


def _as_json(
    file: Path, definition: AnyDefinition | None, problems: Sequence[Problem]
) -> dict[str, Any]:
    return {
        "file": str(file),
        "ok": not problems,
        "kind": definition.kind if definition else None,
        "name": definition.name if definition else None,
        "version": definition.version if definition else None,
        "problems": [problem.as_json() for problem in problems],
    }
