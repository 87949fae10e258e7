"""`twofold simulate`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import typer

from coordinator.cli.checking import definition_in
from coordinator.cli.output import Output, as_json, as_table, say
from coordinator.cli.plain import span
from coordinator.core.records import Outcome
from coordinator.rehearsal.run import End, Verdict, rehearse
from coordinator.rehearsal.sample import sample_input, sample_results
from sagas.model import AnyDefinition, InputRefused
from wire.messages import Json


def simulate(file: Path, given: str | None, results: str | None, output: Output) -> bool:
    """Run a definition against each failure; tell whether none leaves it half done."""
    definition = definition_in(file, output)
    if definition is None:
        return False
    ends = rehearse(definition, _input(definition, given), _results(definition, results))
    half_done = sum(end.verdict is Verdict.HALF_DONE for end in ends)
    if output is Output.JSON:
        as_json(
            {
                "definition": definition.name,
                "version": definition.version,
                "scenarios": [_as_json(end) for end in ends],
                "half_done": half_done,
            }
        )
    else:
        _print(ends)
        if results is None and ends[0].outcome != Outcome.COMMITTED:
            say("what steps return is made up of texts: --results '{\"step\": {…}}' says better")
    return half_done == 0


def _input(definition: AnyDefinition, given: str | None) -> dict[str, Json]:
    value = sample_input(definition) if given is None else _object("--input", given)
    try:
        definition.check_input(value)
    except InputRefused as error:
        said = "give one that fits" if given is not None else f"{json.dumps(value)} was made up"
        raise typer.BadParameter(f"{error}; {said}", param_hint="--input") from error
    return value


def _results(definition: AnyDefinition, given: str | None) -> dict[str, Json]:
    made = sample_results(definition)
    return made if given is None else {**made, **_object("--results", given)}


def _object(option: str, text: str) -> dict[str, Json]:
    try:
        value: Any = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise typer.BadParameter(f"this is not JSON: {error}", param_hint=option) from error
    if not isinstance(value, dict):
        raise typer.BadParameter("this is no JSON object", param_hint=option)
    return cast("dict[str, Json]", value)


def _print(ends: Sequence[End]) -> None:
    headings = ("SCENARIO", "OUTCOME", "STANDS", "UNDONE", "TIME", "WHY")
    as_table(
        headings,
        [
            (
                end.scenario,
                f"{end.outcome}{' (HALF DONE)' * (end.verdict is Verdict.HALF_DONE)}",
                _names(end.stands),
                _names(end.undone),
                span(end.took_us),
                end.reason,
            )
            for end in ends
        ],
    )
    counts = Counter(end.outcome for end in ends)
    said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    half = sum(end.verdict is Verdict.HALF_DONE for end in ends)
    say(f"\n{len(ends)} scenarios: {said}; {half or 'none'} half done")


def _names(names: Sequence[str]) -> str:
    return " ".join(names) or "-"


def _as_json(end: End) -> dict[str, Any]:
    return {
        "scenario": end.scenario,
        "verdict": str(end.verdict),
        "outcome": end.outcome,
        "stands": list(end.stands),
        "undone": list(end.undone),
        "seconds": end.took_us / 1e6,
        "commands": end.commands,
        "reason": end.reason,
    }
