"""Definitions as pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas import graph
from sagas.drawing import direct, mermaid
from sagas.loader import load
from tests.core.sagas.definitions import ATOMIC, SAGA

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "sagas" / "examples").glob("*.yaml"))


def lines(text: str) -> list[str]:
    return [line.strip() for line in mermaid(load(text, "x.yaml")).splitlines()]


def test_a_saga_shows_whom_it_asks_how_it_is_undone_and_where_it_turns() -> None:
    """In the order of the steps."""
    assert lines(SAGA) == [
        "flowchart TD",
        'start(["visit 1<br/>on guests.arrived"])',
        's_book["book<br/>seats.book<br/>undo: seats.free"]',
        's_pay{{"pay<br/>money.take<br/>pivot"}}',
        's_greet["greet<br/>seats.greet"]',
        "start --> s_book",
        "s_book --> s_pay",
        "s_pay --> s_greet",
    ]


def test_an_atomic_transaction_shows_its_branches() -> None:
    assert lines(ATOMIC) == [
        "flowchart TD",
        'start(["swap 2"])',
        'b_left["left<br/>a.take"]',
        "start === b_left",
        'b_right["right<br/>b.give"]',
        "start === b_right",
    ]


def test_a_condition_stands_at_the_arrow_and_breaks_nothing_out_of_its_label() -> None:
    """Whatever signs it holds."""
    condition = 'input.guest != "#1" && "`<b>" < input.guest'
    text = SAGA.replace("    call: money.take", f"    if: '{condition}'\n    call: money.take")
    [arrow] = [line for line in lines(text) if line.startswith("s_book -.")]

    label = arrow.removeprefix("s_book -. ").removesuffix(" .-> s_pay")
    assert label[0] == label[-1] == '"'
    assert not set(label[1:-1]) & set('"<>&`')
    decoded = label[1:-1].replace("#35;", "\0").replace("#quot;", '"').replace("#lt;", "<")
    decoded = decoded.replace("#gt;", ">").replace("#amp;", "&").replace("#96;", "`")
    assert decoded.replace("\0", "#") == f"if {condition}"


def test_what_may_stand_says_so() -> None:
    text = SAGA.replace("undo: seats.free", "undo: {none: it expires}")
    assert 's_book["book<br/>seats.book<br/>may stand"]' in lines(text)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_node_that_an_arrow_names_is_there(file: Path) -> None:
    """Once."""
    drawn = mermaid(load(file.read_text(), str(file)))
    nodes = re.findall(r"^ +(\w+)[\[({]", drawn, re.MULTILINE)
    ends = re.findall(r"^ +(\w+) (?:-->|===|-\.).* (\w+)$", drawn, re.MULTILINE)
    assert len(nodes) == len(set(nodes))
    assert {name for pair in ends for name in pair} == set(nodes)


@given(st.data())
def test_arrows_that_follow_from_others_are_left_out_and_no_more(data: st.DataObject) -> None:
    """What is left leads to all that is needed, and none of it is implied by the rest."""
    names = [f"s{i}" for i in range(data.draw(st.integers(1, 7)))]
    needs = {
        name: sorted(data.draw(st.sets(st.sampled_from(names[:i])))) if i else []
        for i, name in enumerate(names)
    }
    drawn = {name: direct(needs, name) for name in names}
    for name in names:
        assert graph.ancestors(drawn, name) == graph.ancestors(needs, name)
        for one in drawn[name]:
            others = [other for other in drawn[name] if other != one]
            assert one not in {far for other in others for far in graph.ancestors(needs, other)}


def test_the_page_shows_what_is_drawn() -> None:
    """docs/language.md holds the picture of an example."""
    example = (ROOT / "sagas" / "examples" / "book-trip.yaml").read_text()
    assert mermaid(load(example, "x")) in (ROOT / "docs" / "language.md").read_text()
