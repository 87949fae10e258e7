"""Curves as SVG: nothing but lines, and a number at each point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

WIDTH: Final = 560
HEIGHT: Final = 260
LEFT, RIGHT, TOP, BOTTOM = 60, 120, 40, 40
COLOURS: Final = ("#1f6feb", "#d29922", "#2da44e", "#cf222e", "#8250df")


def draw(title: str, places: Sequence[str], lines: Mapping[str, Sequence[float]]) -> str:
    """Draw lines over evenly spaced places, from zero up."""
    most = max((value for line in lines.values() for value in line), default=1.0) or 1.0
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(index: int) -> float:
        return LEFT + wide * (index / max(1, len(places) - 1))

    def y(value: float) -> float:
        return TOP + high * (1 - value / most)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
        "<style>text {font: 11px sans-serif}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20">{title}</text>',
        f'<path d="M{LEFT} {TOP}V{TOP + high}H{LEFT + wide}" stroke="#8c959f" fill="none"/>',
    ]
    for index, place in enumerate(places):
        parts.append(
            f'<text x="{x(index):.0f}" y="{HEIGHT - 18}" text-anchor="middle">{place}</text>'
        )
    for (name, line), colour in zip(lines.items(), COLOURS, strict=False):
        points = " ".join(f"{x(i):.0f},{y(value):.0f}" for i, value in enumerate(line))
        parts.append(f'<polyline points="{points}" stroke="{colour}" fill="none"/>')
        for index, value in enumerate(line):
            at = f'x="{x(index):.0f}" y="{y(value) - 5:.0f}" fill="{colour}"'
            parts.append(f'<text {at} text-anchor="middle">{value:.0f}</text>')
        parts.append(
            f'<text x="{LEFT + wide + 14}" y="{y(line[-1]) + 4:.0f}" fill="{colour}">{name}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])
