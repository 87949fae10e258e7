"""`twofold test`: scenario files, what they see, and where they say it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from coordinator.cli import main

ROOT = Path(__file__).parents[3]
SHOP = """\
saga: shop
version: 1
start: {topic: orders, when: event.n > 0, key: string(event.n)}
input: {type: object, required: [n], properties: {n: {type: integer, maximum: 9}}}
steps:
  pay: {call: money.take, with: {sum: "${ input.n }"}, undo: money.give}
  pack: {if: input.n < 5, call: goods.pack, undo: goods.unpack}
  send: {call: post.send, with: {slip: "${ steps.pay.slip }"}, pivot: true}
output: {slip: "${ steps.pay.slip }"}
"""
HEAD = """\
definition: shop.yaml
input: {n: 3}
replies: {pay: {done: {slip: s-1}}}
scenarios:
"""
RIGHT = """\
  all is well:
    expect:
      outcome: COMMITTED
      key: "3"
      output: {slip: s-1}
      stands: [pay, pack, send]
      undone: []
      within: 80ms
      calls:
        - pay: {call: money.take, with: {sum: 3}}
        - pack
        - send: {with: {slip: s-1}}
"""


def run(folder: Path, scenarios: str, *args: str) -> Any:
    """Play scenarios of the shop."""
    (folder / "shop.yaml").write_text(SHOP)
    (folder / "scenarios.yaml").write_text(HEAD + scenarios)
    return CliRunner().invoke(main.app, ["test", str(folder / "scenarios.yaml"), *args])


def played(folder: Path, scenarios: str) -> Any:
    """Play one scenario, and return what is told of it."""
    [file] = json.loads(run(folder, scenarios, "-o", "json").output)
    [one] = file["scenarios"]
    return one


def test_what_is_as_expected_passes(tmp_path: Path) -> None:
    """In a line each, and a count."""
    result = run(tmp_path, RIGHT)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[1:] == ["  passed  all is well", "", "1 passed"]


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ("COMMITTED", "PARKED", (7, 16), "expected PARKED, and it is COMMITTED"),
        ('"3"', '"4"', (8, 12), 'the key is "3"'),
        ("output: {slip: s-1}", "output: {}", (9, 15), 'the output is {"slip": "s-1"}'),
        ("[pay, pack, send]", "[pay]", (10, 15), "what stands: pay, pack, send"),
        ("undone: []", "undone: [pay]", (11, 15), "what was undone: nothing"),
        ("within: 80ms", "within: 79ms", (12, 15), "it took 0.08 s"),
        ("money.take", "money.give", (14, 23), "`pay` calls money.take"),
        ("{sum: 3}", "{sum: 4}", (14, 41), '`pay` carries {"sum": 3}'),
        ("- pack\n", "- undo pack\n", (15, 11), "expected `undo pack`, and it is `pack`"),
        ("        - send: {with: {slip: s-1}}\n", "", (14, 9), "more commands were sent: `send`"),
        ("s-1}}\n", "s-1}}\n        - pay\n", (17, 11), "no further command was sent"),
    ],
)
def test_what_is_otherwise_is_told_at_its_place(
    tmp_path: Path, old: str, new: str, place: tuple[int, int], said: str
) -> None:
    """One thing, where it is expected, and what happened instead."""
    assert RIGHT.count(old) == 1
    result = run(tmp_path, RIGHT.replace(old, new))
    assert result.exit_code == 1
    [failed] = [line for line in result.output.splitlines() if ": failed: " in line]
    line, column = place
    assert failed.startswith(f"{tmp_path}/scenarios.yaml:{line}:{column}: failed: ")
    assert said in failed
    assert 'at 0 ms          pay {"sum":3}: done' in result.output
    assert "after 80 ms: COMMITTED" in result.output
    assert result.output.endswith("\n1 failed\n")


@pytest.mark.parametrize(
    ("scenario", "expect"),
    [
        ("replies: {send: {refused: full}}", "COMPENSATED, reason: full, undone: [pay, pack]"),
        ("replies: {pay: {refused: poor}}", "ABORTED, reason: poor, calls: [pay]"),
        ("replies: {pay: silent}", "COMPENSATED, stands: [], undone: []"),
        ("replies: {pay: lost}", "COMPENSATED, stands: [], undone: [pay]"),
        ("replies: {pay: [failed, busy, lost, done]}", "COMMITTED, undone: []"),
        ("replies: {send: refused, undo pay: {refused: spent}}", "PARKED, reason: spent"),
        ("replies: {send: {done: {}, after: 10m}}", "PARKED"),
        ("input: {n: 7}", "COMMITTED, calls: [pay, send]"),
        ("input: {n: 0}", "IGNORED, calls: []"),
        ("input: {n: 10}", "REFUSED, reason: maximum"),
        ("input: {n: []}", "REFUSED, reason: a list"),
        ("crash: {before: pay}", "COMMITTED, calls: [pay, pack, send]"),
        ("crash: {after: send}", "COMMITTED, calls: [pay, pack, send]"),
    ],
)  # fmt: skip
def test_a_scenario_says_what_participants_do(tmp_path: Path, scenario: str, expect: str) -> None:
    """In the words of the wire protocol: done, refused, busy, failed; and silence of two kinds."""
    told = played(tmp_path, f"  one:\n    {scenario}\n    expect: {{outcome: {expect}}}\n")
    assert told["failures"] == []


def test_an_answer_takes_its_time(tmp_path: Path) -> None:
    """A second, here; virtual ones."""
    said = "{replies: {pay: {done: {slip: x}, after: 1s}}, expect: {outcome: COMMITTED}}"
    told = played(tmp_path, f"  one: {said}\n")
    assert (told["seconds"], told["output"]) == (1.06, {"slip": "x"})


@pytest.mark.parametrize(
    ("scenario", "code", "said"),
    [
        ("replies: {pya: done}", "unknown-step", "did you mean `pay`?"),
        ("replies: {undo pya: done}", "unknown-step", "did you mean `pay`?"),
        ("crash: {before: pya}", "unknown-step", "did you mean `pay`?"),
        ("replies: {pay: gone}", "shape", "takes `done`, `refused`"),
        ("replies: {pay: {done: {}, refused: x}}", "shape", "one of `done`"),
        ("replies: {pay: []}", "shape", "`pay` is empty"),
        ("replys: {pay: done}", "unknown-word", "did you mean `replies`?"),
    ],
)
def test_a_file_that_says_nothing_is_not_played(
    tmp_path: Path, scenario: str, code: str, said: str
) -> None:
    """A reply to nobody would change nothing, and the scenario would pass."""
    result = run(tmp_path, f"  one:\n    {scenario}\n    expect: {{outcome: COMMITTED}}\n")
    assert result.exit_code == 1
    assert "scenarios.yaml:6:" in result.output
    assert f"error[{code}]" in result.output
    assert said in result.output


def test_a_definition_that_is_wrong_or_not_there_is_told(tmp_path: Path) -> None:
    """With its own problems, at their places."""
    text = HEAD.replace("shop.yaml", "chop.yaml") + RIGHT
    (tmp_path / "s.yaml").write_text(text)
    result = CliRunner().invoke(main.app, ["test", str(tmp_path / "s.yaml")])
    assert result.exit_code == 1
    assert "s.yaml:1:13: error[shape]: there is no file" in result.output

    (tmp_path / "chop.yaml").write_text(SHOP.replace("undo: money.give", "undo: mony.give"))
    result = CliRunner().invoke(main.app, ["test", str(tmp_path / "s.yaml")])
    assert result.exit_code == 1
    assert "chop.yaml:6:" in result.output
    assert "error[undo-elsewhere]" in result.output


def test_the_scenarios_of_the_examples_pass() -> None:
    """A folder is all the files in it."""
    result = CliRunner().invoke(main.app, ["test", str(ROOT / "sagas" / "examples" / "scenarios")])
    assert result.exit_code == 0, result.output
    assert "place-order.yaml" in result.output
    assert "FAILED" not in result.output
