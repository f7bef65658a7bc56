"""Draws small plots with logarithmic scales, as SVG."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

_WIDTH, _HEIGHT = 380, 250
"""Of one plot, with everything that belongs to it."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 14, 62, 38
_COLUMNS = 2
_COLOURS = ("#1f6fb4", "#d2691e", "#2e8b57")
_UNITS = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


class Line(NamedTuple):
    """What is drawn."""

    title: str
    points: Mapping[int, float]


class Panel(NamedTuple):
    """One plot."""

    title: str
    x_title: str
    y_title: str
    lines: Sequence[Line]


def draw(panels: Sequence[Panel]) -> str:
    """Return an SVG with all plots."""
    width = _WIDTH * _COLUMNS
    height = _HEIGHT * ceil(len(panels) / _COLUMNS)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="sans-serif" font-size="11">'
        ),
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        row, column = divmod(number, _COLUMNS)
        parts.append(f'<g transform="translate({column * _WIDTH} {row * _HEIGHT})">')
        parts += _draw_panel(panel)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _draw_panel(panel: Panel) -> Iterator[str]:
    xs = [x for line in panel.lines for x in line.points]
    ys = [y for line in panel.lines for y in line.points.values() if y > 0]
    last_x = max(1.0, log10(max(xs)))
    low, high = floor(log10(min(ys))), ceil(log10(max(ys)))
    high = max(high, low + 1)
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x_of(value: float) -> float:
        return _LEFT + log10(value) / last_x * (right - _LEFT)

    def y_of(value: float) -> float:
        return bottom - (log10(value) - low) / (high - low) * (bottom - _TOP)

    yield _text(_WIDTH / 2, 16, panel.title, "middle", weight="bold")
    yield _text(_LEFT, _TOP - 8, panel.y_title, "middle", colour="#555")
    yield _text(right, bottom + 30, panel.x_title, "end", colour="#555")
    for exponent in range(low, high + 1):
        y = y_of(10.0**exponent)
        yield f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#ddd"/>'
        yield _text(_LEFT - 5, y + 4, _number(10.0**exponent), "end")
    for exponent in range(floor(last_x) + 1):
        x = x_of(10.0**exponent)
        yield f'<path d="M{x:.1f} {bottom}v4" stroke="#555"/>'
        yield _text(x, bottom + 16, _number(10.0**exponent), "middle")
    yield f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#555"/>'
    start = _LEFT
    for colour, line in zip(_COLOURS, panel.lines, strict=False):
        points = [(x_of(x), y_of(y)) for x, y in line.points.items() if y > 0]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for x, y in points:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>'
        yield _text(start, 36, line.title, "start", colour=colour)
        start += 14 + int(5.6 * len(line.title))


def _number(value: float) -> str:
    for size, letter in _UNITS:
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _text(
    x: float, y: float, text: str, anchor: str, *, colour: str = "#222", weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )
