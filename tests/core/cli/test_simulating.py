"""`twofold simulate`, `twofold graph` and `twofold schema`, as somebody calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from coordinator.cli import main

ROOT = Path(__file__).parents[3]
GIFT = """\
saga: gift
version: 1
input: {type: object, required: [price], properties: {price: {type: integer, minimum: 5}}}
steps:
  pay: {call: money.take, with: {sum: "${ input.price }"}, undo: money.give}
  wrap: {if: "steps.pay.left > 3", call: shop.wrap, undo: shop.unwrap}
"""


def run(*args: str) -> Any:
    return CliRunner().invoke(main.app, args)


@pytest.fixture
def gift(tmp_path: Path) -> str:
    """Return a file with a definition whose condition asks what a step returned."""
    file = tmp_path / "gift.yaml"
    file.write_text(GIFT)
    return str(file)


def test_every_end_is_a_line_and_they_are_counted(gift: str) -> None:
    """The answer is yes if none is half done."""
    result = run("simulate", gift, "--results", '{"pay": {"left": 4}}')

    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].split() == ["SCENARIO", "OUTCOME", "STANDS", "UNDONE", "TIME", "WHY"]
    assert " ".join(lines[1].split()) == "nothing goes wrong COMMITTED pay wrap - 60 ms"
    assert lines[-1].startswith("35 scenarios: ")
    assert lines[-1].endswith("; none half done")


def test_the_table_of_an_example_is_the_one_that_was_read_and_found_right() -> None:
    """Each line of it is a promise; a change to one is to be seen."""
    result = run("simulate", str(ROOT / "sagas" / "examples" / "place-order.yaml"))
    assert result.output == Path(__file__).with_name("place_order.txt").read_text()


def test_what_steps_return_decides(gift: str) -> None:
    """Made-up results are texts, with which a condition may have no value."""
    result = run("simulate", gift, "--results", '{"pay": {"left": 1}}', "-o", "json")
    first = json.loads(result.output)["scenarios"][0]
    assert (first["outcome"], first["stands"], first["verdict"]) == ("COMMITTED", ["pay"], "whole")

    result = run("simulate", gift, "-o", "json")
    first = json.loads(result.output)["scenarios"][0]
    assert (first["outcome"], first["undone"]) == ("COMPENSATED", ["pay"])
    assert first["reason"].startswith("wrap: ")


def test_where_made_up_results_will_not_do_it_says_how_to_give_better_ones(gift: str) -> None:
    """Else somebody who simulates for the first time takes his definition for wrong."""
    assert "--results" in run("simulate", gift).output
    assert "--results" not in run("simulate", gift, "--results", '{"pay": {"left": 4}}').output


def test_a_result_that_each_goes_through_is_made_up_as_a_list(tmp_path: Path) -> None:
    """Else nothing would be rehearsed but that it is none."""
    file = tmp_path / "mails.yaml"
    find = "find: {call: a.find, undo: {none: it looks}}"
    send = "send: {each: steps.find.all, call: a.send, undo: a.back}"
    file.write_text(f"saga: mails\nversion: 1\nsteps:\n  {find}\n  {send}\n")
    first = json.loads(run("simulate", str(file), "-o", "json").output)["scenarios"][0]
    assert (first["outcome"], first["stands"]) == ("COMMITTED", ["find", "send.0"])


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--input", "{", "not JSON"),
        ("--input", "[]", "no JSON object"),
        ("--input", '{"price": 4}', "minimum"),
        ("--results", "7", "no JSON object"),
    ],
)
def test_what_cannot_be_used_is_a_matter_of_usage(
    gift: str, option: str, value: str, said: str
) -> None:
    """With the option that is meant."""
    result = run("simulate", gift, option, value)
    assert result.exit_code == 2
    assert option in result.stderr
    assert said in result.stderr


def test_a_schema_for_which_nothing_can_be_made_up_asks_for_an_input(tmp_path: Path) -> None:
    """And shows what did not fit."""
    file = tmp_path / "fancy.yaml"
    fancy = "input: {properties: {id: {type: string, pattern: '^[0-9]+$'}}}\n"
    file.write_text(f"saga: s\nversion: 1\n{fancy}steps: {{a: {{call: p.a, undo: p.b}}}}\n")

    result = run("simulate", str(file))
    assert result.exit_code == 2
    assert "was made up" in result.stderr
    assert run("simulate", str(file), "--input", '{"id": "12"}').exit_code == 0


def test_a_definition_that_is_wrong_is_not_run(tmp_path: Path) -> None:
    """Its problems are told as `check` tells them."""
    file = tmp_path / "wrong.yaml"
    file.write_text(GIFT.replace("undo: money.give", "pivot: maybe"))

    result = run("simulate", str(file))
    assert result.exit_code == 1
    assert f"{file}:5:" in result.output
    assert "error[shape]" in result.output

    result = run("simulate", str(file), "-o", "json")
    assert result.exit_code == 1
    [told] = json.loads(result.output)
    assert (told["ok"], told["problems"][0]["code"]) == (False, "shape")


def test_the_schema_is_the_one_that_is_published() -> None:
    """So that editors complete what `check` accepts."""
    published = ROOT / "sagas" / "schema.json"
    result = run("schema")
    assert result.exit_code == 0
    assert json.loads(result.output) == json.loads(published.read_text())


def test_a_definition_is_drawn_or_its_problems_are_told(gift: str, tmp_path: Path) -> None:
    """`twofold graph` prints what Mermaid reads."""
    result = run("graph", gift)
    assert result.exit_code == 0
    assert result.output.startswith("flowchart TD\n")
    result = run("graph", "--svg", gift)
    assert result.exit_code == 0
    assert result.output.startswith("<svg ")

    file = tmp_path / "wrong.yaml"
    file.write_text("saga: 1\n")
    result = run("graph", str(file))
    assert result.exit_code == 1
    assert "error[" in result.output
