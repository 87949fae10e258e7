"""What differs between two versions, in words that are short enough to read at night."""

from __future__ import annotations

from sagas.difference import Difference, How, StepDifference, difference

OLD = """\
saga: order
version: 1
deadline: 2m
steps:
  reserve: {call: stock.reserve, undo: stock.release}
  check: {call: fraud.check, undo: {none: "it only looks"}}
  charge: {call: pay.charge, with: {sum: "${ input.total }"}, pivot: true}
  mail: {call: mail.send, with: {to: a}}
"""
NEW = """\
saga: order
version: 2
deadline: 5m
steps:
  reserve: {undo: stock.release, call: stock.reserve}
  charge: {call: pay.charge, with: {sum: "${ input.sum }"}, pivot: true}
  print: {call: print.label}
  mail: {call: mail.send, with: {to: [1, b]}}
"""


def test_each_step_is_the_same_changed_new_or_gone() -> None:
    """The order of words is no difference, what a step needs without saying so is one."""
    assert difference(OLD, NEW) == Difference(
        ("deadline: 2m → 5m",),
        (
            StepDifference("reserve", How.SAME),
            StepDifference(
                "charge",
                How.CHANGED,
                (
                    'needs: ["check"] → ["reserve"]',
                    "with.sum: ${ input.total } → ${ input.sum }",
                ),
            ),
            StepDifference("print", How.NEW),
            StepDifference(
                "mail", How.CHANGED, ('needs: ["charge"] → ["print"]', 'with.to: a → [1, "b"]')
            ),
            StepDifference("check", How.GONE),
        ),
    )


def test_what_is_added_or_left_out_is_beside_nothing() -> None:
    [reserve, *_] = difference(OLD, OLD.replace(", undo: stock.release", ", timeout: 3s")).steps

    assert reserve.words == ("timeout: nothing → 3s", "undo: stock.release → nothing")


def test_a_long_value_is_cut() -> None:
    long = OLD.replace("input.total", "input.total + " * 20 + "1")

    [_, _, charge, _] = difference(OLD, long).steps

    assert len(charge.words[0]) < 120
    assert charge.words[0].endswith("…")


def test_the_same_text_has_no_difference() -> None:
    found = difference(OLD, OLD)

    assert (found.words, {step.how for step in found.steps}) == ((), {How.SAME})
