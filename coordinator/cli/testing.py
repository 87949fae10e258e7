"""`twofold test`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coordinator.cli.checking import look_at
from coordinator.cli.output import Output, as_json, compact, note, say
from coordinator.cli.plain import span
from coordinator.rehearsal.actors import Asked
from coordinator.rehearsal.arrivals import News
from coordinator.rehearsal.play import Happened
from coordinator.rehearsal.script import ScenarioFile
from coordinator.rehearsal.trial import Tried, label, try_all
from sagas.files import files_of
from sagas.loader import DefinitionInvalid
from sagas.model import AnyDefinition
from sagas.problems import Problem
from sagas.shape import fitted
from sagas.source import Source, decoded


def test(paths: Sequence[Path], output: Output) -> bool:
    """Play the scenarios of each file; tell whether all went as expected."""
    files = files_of(paths)
    report = {file: _try(file) for file in files}
    if output is Output.JSON:
        as_json([_as_json(file, found) for file, found in report.items()])
    else:
        _print(report)
    if not files:
        note(f"there is no *.yaml or *.yml in {', '.join(map(str, paths))}")
    return bool(files) and all(map(_ok, report.values()))


def _try(file: Path) -> list[Tried] | list[Problem]:
    try:
        source = Source(decoded(file.read_bytes(), str(file)), str(file))
        script = fitted(source, ScenarioFile)
        return try_all(source, script, _definition(file, source, script))
    except DefinitionInvalid as error:
        return error.problems


def _definition(file: Path, source: Source, script: ScenarioFile) -> AnyDefinition:
    path = file.parent / script.definition
    if not path.is_file():
        hint = "the path is seen from this file's folder"
        said = f"there is no file {path}"
        raise DefinitionInvalid([source.problem("shape", said, hint, path=("definition",))])
    found = look_at(path)
    if isinstance(found, list):
        raise DefinitionInvalid(found)
    return found


def _ok(found: list[Tried] | list[Problem]) -> bool:
    return all(isinstance(one, Tried) and not one.failures for one in found)


def _print(report: dict[Path, list[Tried] | list[Problem]]) -> None:
    counts: Counter[str] = Counter()
    for file, found in report.items():
        say(f"{file}")
        for one in found:
            if isinstance(one, Problem):
                counts["not read"] += 1
                say(str(one))
                continue
            counts["failed" if one.failures else "passed"] += 1
            say(f"  {'FAILED' if one.failures else 'passed'}  {one.name}")
            _print_failures(one)
    said = ", ".join(f"{count} {what}" for what, count in sorted(counts.items(), reverse=True))
    if said:
        say(f"\n{said}")


def _print_failures(tried: Tried) -> None:
    for failure in tried.failures:
        say(str(failure))
    if tried.failures:
        told = tried.told
        say("  what happened:")
        lines = [(one.at_us, _happened(one)) for one in told.happened]
        lines += [(one.at_us, _asked(one)) for one in told.asked]
        for at_us, line in sorted(lines, key=lambda one: one[0]):
            say(f"    {f'at {span(at_us)}'.ljust(16)} {line}")
        say(f"    after {span(told.took_us)}: {told.outcome}{_because(told.reason)}")


def _asked(asked: Asked) -> str:
    data = getattr(asked.command, "data", None)
    carries = f" {compact(data, 100)}" if data is not None else ""
    return f"{label(asked)}{carries}: {asked.answer.act}"


def _happened(one: Happened) -> str:
    if isinstance(one.what, News):
        said = f"event on {one.what.topic} {compact(one.what.body, 100)}"
    else:
        said = f"{one.what.action} {one.what.step}".rstrip()
    return f"{said}: {one.became}"


def _because(reason: str) -> str:
    return f", {reason}" if reason else ""


def _as_json(file: Path, found: list[Tried] | list[Problem]) -> dict[str, Any]:
    return {
        "file": str(file),
        "ok": _ok(found),
        "problems": [one.as_json() for one in found if isinstance(one, Problem)],
        "scenarios": [_tried(one) for one in found if isinstance(one, Tried)],
    }


def _tried(tried: Tried) -> dict[str, Any]:
    told = tried.told
    return {
        "scenario": tried.name,
        "ok": not tried.failures,
        "failures": [failure._asdict() for failure in tried.failures],
        "outcome": told.outcome,
        "reason": told.reason,
        "output": told.output,
        "stands": told.stands,
        "undone": told.undone,
        "seconds": told.took_us / 1e6,
        "calls": [label(asked) for asked in told.asked],
        "meanwhile": [
            {"seconds": one.at_us / 1e6, "what": _happened(one)} for one in told.happened
        ],
    }
