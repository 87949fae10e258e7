"""Definitions as SVG: well formed, whole, and nothing upon anything else."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.drawing import mermaid
from sagas.loader import load
from sagas.svg import svg
from tests.core.sagas.definitions import ATOMIC, SAGA

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "sagas" / "examples").glob("*.yaml"))
SVG = "{http://www.w3.org/2000/svg}"


def drawn(text: str) -> Element:
    """Draw a definition, and read the drawing as XML."""
    return fromstring(svg(mermaid(load(text, "x.yaml"))))  # noqa: S314  # our own


def words(picture: Element) -> list[str]:
    return [text.text or "" for text in picture.iter(f"{SVG}text")]


def boxes(picture: Element) -> list[tuple[float, float, float, float]]:
    """Return left, top, right and bottom of each node."""
    found: list[tuple[float, float, float, float]] = []
    for one in picture.iter(f"{SVG}rect"):
        x, y, width, height = (float(one.attrib[name]) for name in ("x", "y", "width", "height"))
        found.append((x, y, x + width, y + height))
    for one in picture.iter(f"{SVG}polygon"):
        points = [tuple(map(float, point.split(","))) for point in one.attrib["points"].split()]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        found.append((min(xs), min(ys), max(xs), max(ys)))
    return found


def ends(picture: Element) -> list[list[tuple[float, float]]]:
    """Return the points that each line touches."""
    lines = [one.attrib["d"] for one in picture.findall(f"{SVG}path")]
    return [[_point(part) for part in re.split(" C|M", d) if part] for d in lines]


def _point(part: str) -> tuple[float, float]:
    x, _, y = part.rsplit(" ", maxsplit=1)[-1].partition(",")
    return float(x), float(y)


def test_all_words_of_the_flowchart_are_in_the_picture() -> None:
    """Names, calls and undos, in the order of the file."""
    assert words(drawn(SAGA)) == [
        *("visit 1", "on guests.arrived"),
        *("book", "seats.book", "undo: seats.free"),
        *("pay", "money.take", "pivot"),
        *("greet", "seats.greet"),
    ]
    assert words(drawn(ATOMIC)) == ["swap 2", "left", "a.take", "right", "b.give"]


def test_a_condition_stands_at_its_dashed_line_whatever_signs_it_has() -> None:
    condition = 'input.guest != "#1" && "`<b>" < input.guest'
    picture = drawn(
        SAGA.replace("    call: money.take", f"    if: '{condition}'\n    call: m.take")
    )
    assert f"if {condition}" in words(picture)
    assert [line.attrib["class"] for line in picture.findall(f"{SVG}path")].count("dashed") == 1


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_an_example_is_drawn_whole(file: Path) -> None:
    """A box for each node of the flowchart, and a line for each arrow."""
    text = mermaid(load(file.read_text(), str(file)))
    picture = fromstring(svg(text))  # noqa: S314
    assert len(boxes(picture)) == len(re.findall(r"^ +\w+[\[({]", text, re.MULTILINE))
    assert len(ends(picture)) == len(re.findall(r"-->|===|\.->", text))


@given(st.data())
def test_nothing_stands_upon_anything_else(data: st.DataObject) -> None:
    """No box upon another or out of the picture; a line goes down, and through no box."""
    names = [f"s{i}" for i in range(data.draw(st.integers(1, 8)))]
    lines = ["flowchart TD", 'start(["x 1"])', *(f'{n}["{n}<br/>p.{n * 3}"]' for n in names)]
    for i, name in enumerate(names):
        needs = data.draw(st.sets(st.sampled_from(names[:i]))) if i else set[str]()
        lines += [f"{need} --> {name}" for need in sorted(needs) or ["start"]]
    picture = fromstring(svg("\n".join(lines)))  # noqa: S314
    found = boxes(picture)

    assert len(found) == len(names) + 1
    width, height = (float(picture.attrib[name]) for name in ("width", "height"))
    for i, (left, top, right, bottom) in enumerate(found):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        for others in found[:i]:
            apart = right < others[0] or others[2] < left or bottom < others[1] or others[3] < top
            assert apart
        for line in ends(picture):
            assert line == sorted(line, key=lambda point: point[1])
            assert not [x for x, y in line if left < x < right and top + 0.2 < y < bottom - 0.2]
