"""`twofold check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coordinator.cli.output import NO, Output, OutputOption, as_json, fail

Files = Annotated[
    list[Path], typer.Argument(help="Definition files, or folders of them.", metavar="FILES…")
]


def check(files: Files, output: OutputOption = Output.TEXT) -> None:
    """Say what is wrong with definitions, and where.

    Example: twofold check sagas/examples
    """
    from coordinator.service import definition_files  # noqa: PLC0415  # loads Kafka and Postgres
    from sagas.loader import DefinitionInvalid, load  # noqa: PLC0415
    from sagas.model import Saga  # noqa: PLC0415

    found = definition_files(files)
    if not found:
        fail(f"there is no definition in {', '.join(map(str, files))}", code=NO)
    problems: list[dict[str, str | int]] = []
    for file in found:
        try:
            definition = load(file.read_text(encoding="utf-8"), str(file))
        except DefinitionInvalid as error:
            problems += [problem.as_json() for problem in error.problems]
            if output is Output.TEXT:
                typer.echo(str(error))
        except (OSError, UnicodeDecodeError) as error:
            fail(f"{file} cannot be read: {error}", code=NO)
        else:
            if output is Output.TEXT:
                parts = definition.steps if isinstance(definition, Saga) else definition.branches
                what = "steps" if isinstance(definition, Saga) else "branches"
                kind = f"{definition.kind} {definition.name} version {definition.version}"
                typer.echo(f"{file}: {kind}, {len(parts)} {what}")
    if output is Output.JSON:
        as_json(problems)
    if problems:
        raise typer.Exit(NO)
