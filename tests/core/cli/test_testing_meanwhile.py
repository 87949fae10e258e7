"""`twofold test`: what happens beside a transaction, by the clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from coordinator.cli import main

DEFINITION = """\
saga: visit
version: 1
lock: {key: "room:${ input.room }"}
deadline: 5d
steps:
  paid:
    wait: {topic: payments, match: event.visit == input.id && event.sum > 9, timeout: 1d}
  consent: {approve: {roles: [clerk], timeout: 1d}}
  open: {call: door.open, with: {sum: "${ steps.paid.sum }"}, pivot: true}
"""
HEAD = """\
definition: visit.yaml
input: {id: v-1, room: 7}
scenarios:
  one:
"""
PAID = "{after: 2h, topic: payments, event: {visit: v-1, sum: 10}}"
YES = "{after: 3h, approve: consent, role: clerk}"


def run(folder: Path, scenario: str, *args: str) -> Any:
    """Play one scenario of the visit."""
    (folder / "visit.yaml").write_text(DEFINITION)
    (folder / "s.yaml").write_text(f"{HEAD}    {scenario}\n")
    return CliRunner().invoke(main.app, ["test", str(folder / "s.yaml"), *args])


def played(folder: Path, scenario: str) -> Any:
    """Play it, and return what is told of it."""
    result = run(folder, scenario, "-o", "json")
    [file] = json.loads(result.output)
    assert not file["problems"], file
    [one] = file["scenarios"]
    return one


@pytest.mark.parametrize(
    ("meanwhile", "expect", "became"),
    [
        (f"{PAID}, {YES}", "COMMITTED, within: 4h, stands: [open]", ["taken", "done"]),
        (PAID.replace("after: 2h, ", "") + f", {YES}", "COMMITTED",
         ["nobody waits for it", "done"]),
        (f"{PAID.replace('10', '9')}, {YES}", "ABORTED, reason: payments", ["it does not match"]),
        (PAID.replace("v-1", "v-2"), "ABORTED, within: 25h", ["nobody waits for it"]),
        (PAID.replace("2h", "30h"), "ABORTED, within: 25h", ["nobody waits for it"]),
        (f"{{after: 2h, signal: paid, data: {{sum: 1}}}}, {YES}", "COMMITTED", ["done", "done"]),
        (f"{PAID}, {{after: 3h, refuse: consent, role: clerk, reason: rude}}",
         "ABORTED, reason: rude", ["taken", "done"]),
        (f"{PAID}, {YES.replace('clerk', 'guest')}", "ABORTED, within: 27h",
         ["taken", "refused: the role guest may not: it takes clerk"]),
        (f"{PAID}, {YES.replace('3h', '1h')}", "ABORTED, within: 27h",
         ["refused: consent", "taken"]),
        (f"{PAID}, {{after: 3h, abort: fire}}", "ABORTED, reason: fire", ["taken", "done"]),
    ],
)  # fmt: skip
def test_what_happens_is_heard_as_it_would_be(
    tmp_path: Path, meanwhile: str, expect: str, became: list[str]
) -> None:
    """By the clock, by `match`, by role; and nothing else comes by itself."""
    told = played(tmp_path, f"{{meanwhile: [{meanwhile}], expect: {{outcome: {expect}}}}}")

    assert told["failures"] == []
    said = [one["what"] for one in told["meanwhile"]]
    assert [want in got for want, got in zip(became, said, strict=False)] == [True] * len(became)


def test_an_event_that_lay_there_already_is_found(tmp_path: Path) -> None:
    """It came while the saga still waited for its lock."""
    told = played(
        tmp_path,
        f"{{held: 5h, meanwhile: [{PAID}, {YES.replace('3h', '6h')}],"
        " expect: {outcome: COMMITTED, within: 7h}}",
    )
    assert told["failures"] == []
    assert "nobody waits for it" in told["meanwhile"][0]["what"]


def test_a_step_that_replies_name_gets_what_they_say(tmp_path: Path) -> None:
    """The other one gets what happens meanwhile."""
    said = "replies: {paid: {done: {sum: 3}, after: 2h}}"
    told = played(tmp_path, f"{{{said}, meanwhile: [{YES}], expect: {{outcome: COMMITTED}}}}")
    assert (told["failures"], told["seconds"] > 10_800) == ([], True)


def test_without_a_word_all_that_is_waited_for_comes(tmp_path: Path) -> None:
    """So a scenario need not speak of it."""
    assert played(tmp_path, "{expect: {outcome: COMMITTED}}")["failures"] == []


def test_a_lock_that_is_held_for_too_long(tmp_path: Path) -> None:
    told = played(tmp_path, "{held: 9d, expect: {outcome: ABORTED, reason: 'lock room:7'}}")
    assert told["failures"] == []


def test_a_failure_tells_what_became_of_each(tmp_path: Path) -> None:
    """Among the commands, in order of time."""
    result = run(tmp_path, f"{{meanwhile: [{YES}, {PAID}], expect: {{outcome: ABORTED}}}}")
    assert result.exit_code == 1
    _, told = result.output.split("what happened:\n")
    lines = [line.split() for line in told.splitlines()]
    assert [line[3:5] for line in lines[:2]] == [["event", "on"], ["approve", "consent:"]]
    assert lines[2][3:] == ["open", '{"sum":10}:', "done"]


@pytest.mark.parametrize(
    ("scenario", "code", "said"),
    [
        ("meanwhile: [{topic: payment, event: {}}]", "shape", "did you mean `payments`?"),
        ("meanwhile: [{event: {}}]", "shape", "comes on a `topic`"),
        ("meanwhile: [{topic: payments}]", "shape", "one of `event`"),
        ("meanwhile: [{approve: consent, refuse: consent}]", "shape", "one of `event`"),
        ("meanwhile: [{approve: paid}]", "unknown-step", "`paid` waits for a person"),
        ("meanwhile: [{refuse: consnt}]", "unknown-step", "did you mean `consent`?"),
        ("meanwhile: [{signal: open}]", "unknown-step", "`open` waits for an event"),
        ("meanwhile: [{aprove: consent}]", "unknown-word", "did you mean `approve`?"),
    ],
)
def test_what_nobody_could_hear_is_not_played(
    tmp_path: Path, scenario: str, code: str, said: str
) -> None:
    """It would change nothing, and the scenario would pass."""
    result = run(tmp_path, f"{{{scenario}, expect: {{outcome: COMMITTED}}}}")
    assert result.exit_code == 1
    assert f"error[{code}]" in result.output
    assert said in result.output


def test_what_needs_no_lock_waits_for_none(tmp_path: Path) -> None:
    lock = 'lock: {key: "room:${ input.room }"}\n'
    (tmp_path / "bare.yaml").write_text(DEFINITION.replace(lock, ""))
    scenario = "    {held: 1h, expect: {outcome: COMMITTED}}\n"
    (tmp_path / "s.yaml").write_text(HEAD.replace("visit.yaml", "bare.yaml") + scenario)
    result = CliRunner().invoke(main.app, ["test", str(tmp_path / "s.yaml")])
    assert "`visit` needs no lock" in result.output
