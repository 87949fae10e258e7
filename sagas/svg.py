"""A Mermaid flowchart, as `drawing.py` writes it, as an SVG that any browser shows by itself.

What is drawn is read from that text, so both pictures always show the same.
Nodes stand in layers: each below all that it needs. A line that passes a
layer has a place of its own there, so it crosses no node.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_NODE: Final = re.compile(r'(\w+)(\(\[|\{\{|\[)"(.*)"(?:\]\)|\}\}|\])')
_EDGE: Final = re.compile(r'(\w+) (-->|===|-\. "(.*)" \.->) (\w+)')
_SIGN: Final = re.compile(r"#(35|quot|lt|gt|amp|96);")
_SIGNS: Final = {"35": "#", "quot": '"', "lt": "<", "gt": ">", "amp": "&", "96": "`"}

_CHARACTER: Final = 8
_LINE: Final = 18
_PADDING: Final = 14
_GAP: Final = 36
_BETWEEN: Final = 56
_MARGIN: Final = 16
_PASSING: Final = 24
"""The width that a line takes where it passes a layer."""
_SWEEPS: Final = 4

_STYLE: Final = """\
text { font: 13px ui-monospace, monospace; fill: #1f2430; text-anchor: middle }
text.name { font-weight: bold }
text.condition { fill: #667085; font-size: 11px; paint-order: stroke; stroke: #fff;
  stroke-width: 4px }
.box { fill: #fff; stroke: #475467; stroke-width: 1.5 }
.pivot { fill: #fff4e5; stroke: #b54708 }
.start { fill: #eef4ff; stroke: #3538cd }
path { fill: none; stroke: #667085; stroke-width: 1.5 }
.dashed { stroke-dasharray: 5 4 }
.thick { stroke-width: 3 }
marker path { fill: #667085; stroke: none }"""


@dataclass
class _Box:
    """A node, or (without words) the place where a line passes a layer."""

    words: Sequence[str]
    shape: str
    x: float = 0
    y: float = 0

    @property
    def width(self) -> float:
        if not self.words:
            return _PASSING
        return max(map(len, self.words)) * _CHARACTER + 2 * _PADDING + (10 * (self.shape == "{{"))

    @property
    def height(self) -> float:
        return len(self.words) * _LINE + _PADDING if self.words else 0


@dataclass(frozen=True)
class _Line:
    """An arrow: all the boxes it touches, from the first to the last."""

    through: Sequence[str]
    sign: str
    condition: str


def svg(mermaid: str) -> str:
    """Draw a flowchart of `drawing.mermaid`; the same picture for the same text."""
    boxes, lines, layers = _placed(mermaid)
    width = max(box.x + box.width / 2 for box in boxes.values()) + _MARGIN
    height = max(box.y + box.height for box in boxes.values()) + _MARGIN
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
            f' width="{width:.0f}" height="{height:.0f}">'
        ),
        f"<style>{_STYLE}</style>",
        (
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7"'
            ' markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>'
        ),
        *(_path(line, boxes) for line in lines),
        *(_drawn(boxes[name]) for layer in layers for name in layer if boxes[name].words),
        *(_condition(line, boxes) for line in lines if line.condition),
        "</svg>",
    ]
    return "\n".join(parts)


# ── placing ──────────────────────────────────────────────────────────────────


def _placed(mermaid: str) -> tuple[dict[str, _Box], list[_Line], list[list[str]]]:
    boxes, edges = _read(mermaid)
    depth = _depths(boxes, [(first, last) for first, last, _, _ in edges])
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name, level in depth.items():
        layers[level].append(name)
    lines: list[_Line] = []
    for first, last, sign, condition in edges:
        passed = [f"{first}>{last}>{level}" for level in range(depth[first] + 1, depth[last])]
        for level, name in enumerate(passed, depth[first] + 1):
            boxes[name] = _Box((), "")
            layers[level].append(name)
        lines.append(_Line((first, *passed, last), sign, condition))
    _order(layers, lines)
    _spread(layers, boxes)
    return boxes, lines, layers


def _read(mermaid: str) -> tuple[dict[str, _Box], list[tuple[str, str, str, str]]]:
    boxes: dict[str, _Box] = {}
    edges: list[tuple[str, str, str, str]] = []
    for text in mermaid.splitlines():
        if (edge := _EDGE.fullmatch(text.strip())) is not None:
            edges.append((edge[1], edge[4], edge[2][:2], _plain(edge[3] or "")))
        elif (node := _NODE.fullmatch(text.strip())) is not None:
            boxes[node[1]] = _Box([_plain(word) for word in node[3].split("<br/>")], node[2])
    return boxes, edges


def _plain(text: str) -> str:
    return _SIGN.sub(lambda sign: _SIGNS[sign[1]], text)


def _depths(names: Mapping[str, _Box], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Let each stand below all that lead to it. There is no circle: the loader saw to it."""
    depth = dict.fromkeys(names, 0)
    for _ in names:
        for first, last in edges:
            depth[last] = max(depth[last], depth[first] + 1)
    return depth


def _order(layers: Sequence[list[str]], lines: Sequence[_Line]) -> None:
    """Bring each near to what it is joined with, from above and from below in turn."""
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for line in lines:
        for first, last in zip(line.through, line.through[1:], strict=False):
            above.setdefault(last, []).append(first)
            below.setdefault(first, []).append(last)
    for _ in range(_SWEEPS):
        for joined, order in ((above, layers), (below, layers[::-1])):
            for fixed, moved in itertools.pairwise(order):
                place = {name: (i + 0.5) / len(fixed) for i, name in enumerate(fixed)}
                here = {name: (i + 0.5) / len(moved) for i, name in enumerate(moved)}
                moved.sort(key=lambda name: _mean(joined.get(name, ()), place, here[name]))


def _mean(names: Sequence[str], place: Mapping[str, float], otherwise: float) -> float:
    known = [place[name] for name in names if name in place]
    return sum(known) / len(known) if known else otherwise


def _spread(layers: Sequence[Sequence[str]], boxes: Mapping[str, _Box]) -> None:
    """Give each layer its height, and centre it."""
    widths = [
        sum(boxes[name].width for name in layer) + _GAP * (len(layer) - 1) for layer in layers
    ]
    y = float(_MARGIN)
    for layer, width in zip(layers, widths, strict=True):
        x = _MARGIN + (max(widths) - width) / 2
        tallest = max(boxes[name].height for name in layer)
        for name in layer:
            box = boxes[name]
            box.x, box.y = x + box.width / 2, y + (tallest - box.height) / 2
            x += box.width + _GAP
        y += tallest + _BETWEEN


# ── writing ──────────────────────────────────────────────────────────────────


def _path(line: _Line, boxes: Mapping[str, _Box]) -> str:
    points = [boxes[name] for name in line.through]
    first = points[0]
    drawn = f"M{first.x:.1f},{first.y + first.height:.1f}"
    for start, end in itertools.pairwise(points):
        top, bottom = start.y + start.height, end.y
        middle = (top + bottom) / 2
        drawn += f" C{start.x:.1f},{middle:.1f} {end.x:.1f},{middle:.1f} {end.x:.1f},{bottom:.1f}"
    kind = {"-.": "dashed", "==": "thick"}.get(line.sign, "plain")
    arrow = "" if kind == "thick" else ' marker-end="url(#arrow)"'
    return f'<path class="{kind}" d="{drawn}"{arrow}/>'


def _drawn(box: _Box) -> str:
    left, right = box.x - box.width / 2, box.x + box.width / 2
    bottom = box.y + box.height
    if box.shape == "{{":
        cut, half = 12, box.y + box.height / 2
        corners = [(left, half), (left + cut, box.y), (right - cut, box.y)]
        corners += [(right, half), (right - cut, bottom), (left + cut, bottom)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        shape = f'<polygon class="box pivot" points="{points}"/>'
    else:
        round_, kind = (18, "box start") if box.shape == "([" else (5, "box")
        shape = (
            f'<rect class="{kind}" x="{left:.1f}" y="{box.y:.1f}" width="{box.width:.1f}"'
            f' height="{box.height:.1f}" rx="{round_}"/>'
        )
    return "\n".join([shape, *_words(box)])


def _words(box: _Box) -> Iterator[str]:
    for i, word in enumerate(box.words):
        y = box.y + _PADDING / 2 + _LINE * (i + 0.75)
        kind = ' class="name"' if i == 0 else ""
        yield f'<text x="{box.x:.1f}" y="{y:.1f}"{kind}>{escape(word)}</text>'


def _condition(line: _Line, boxes: Mapping[str, _Box]) -> str:
    end, before = boxes[line.through[-1]], boxes[line.through[-2]]
    x, y = (end.x + before.x) / 2, (end.y + before.y + before.height) / 2
    words = escape(line.condition)
    return f'<text class="condition" x="{x:.1f}" y="{y + 4:.1f}">{words}</text>'
