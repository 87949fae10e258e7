"""docs/codes.md: every code of `twofold check`, and that its examples are what they say."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from coordinator.cli import main
from sagas.problems import Code

PAGE = (Path(__file__).parents[3] / "docs" / "codes.md").read_text()
SECTIONS = dict(re.findall(r"(?ms)^### ([a-z-]+)\n(.*?)(?=^##|\Z)", PAGE))


def files(code: str, sign: str) -> list[str]:
    """Return a code's wrong files (sign -) or its right ones (sign +)."""
    diffs = re.findall(r"(?s)```diff\n(.*?)```", SECTIONS[code])
    return ["".join(_taken(diff, sign)) for diff in diffs]


def _taken(diff: str, sign: str) -> list[str]:
    lines = diff.splitlines(keepends=True)
    assert all(line[:2] in ("  ", "- ", "+ ") for line in lines), diff
    kept = [line[2:] for line in lines if line[0] in (" ", sign)]
    return [line.replace("…", "…" * 300_000) for line in kept]


def codes(texts: Sequence[str], folder: Path) -> set[str]:
    """Check these files together, and return the codes of what is wrong."""
    for i, text in enumerate(texts):
        (folder / f"{i}.yaml").write_text(text)
    result = CliRunner().invoke(main.app, ["check", str(folder), "-o", "json"])
    found = {problem["code"] for file in json.loads(result.output) for problem in file["problems"]}
    assert result.exit_code == (1 if found else 0)
    return found


def test_every_code_has_its_section_and_no_other() -> None:
    """Pyright sees that no code is given which is not in `Code`."""
    assert set(SECTIONS) == set(get_args(Code))


@pytest.mark.parametrize("code", SECTIONS)
def test_each_example_has_this_mistake_alone(code: str, tmp_path: Path) -> None:
    """So whoever meets the code finds his own file in it."""
    assert codes(files(code, "-"), tmp_path) == {code}


@pytest.mark.parametrize("code", SECTIONS)
def test_each_example_is_mended_as_shown(code: str, tmp_path: Path) -> None:
    """And nothing else is wrong with it then."""
    assert codes(files(code, "+"), tmp_path) == set()


def test_the_page_begins_with_what_is_printed(tmp_path: Path) -> None:
    """As it is printed."""
    file = tmp_path / "visit.yaml"
    file.write_text("saga: visit\nversion: 1\nsteps:\n  book: {call: seats.book}\n")
    result = CliRunner().invoke(main.app, ["check", str(file)])
    assert result.output.replace(str(tmp_path) + "/", "") in PAGE


def test_a_file_that_is_not_utf_8_is_told_by_its_code(tmp_path: Path) -> None:
    """Which no page in UTF-8 can show."""
    (tmp_path / "latin.yaml").write_bytes("saga: caf\xe9\n".encode("latin-1"))
    result = CliRunner().invoke(main.app, ["check", str(tmp_path), "-o", "json"])
    [told] = json.loads(result.output)
    [problem] = told["problems"]
    assert (problem["code"], problem["line"], problem["column"]) == ("encoding", 1, 10)
