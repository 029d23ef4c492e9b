"""Charts as inline SVG: lines with bands, dots with intervals. Plain numbers in, text out.

Colours are classes (``a0``, ``a1``, ...): the page's style sheet decides them, light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 26, 44
ROW = 22
LABEL = 250
"""Room for names beside dots."""
NUM_TICKS = 5
NUM_COLOURS = 8
DASHES = ("", "7 4", "2 3", "9 3 2 3")
"""Beyond eight lines colours come again, dashed; and a line is told by more than its colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart.

    Attributes:
        name: In the legend, and in the title of its points.
        place: Decides its colour.
        x: From left to right.
        y: As many.
        low: Lower edge of its band; None where there is none.
        high: Upper edge.
    """

    name: str
    place: int
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float | None]
    high: Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One row of a chart of intervals.

    Attributes:
        name: Beside it.
        place: Decides its colour.
        mean: Where the dot is.
        low: Where its bar begins; None: nothing is known of the spread.
        high: Where it ends.
        group: Rows of a group stand under its name.
    """

    name: str
    place: int
    mean: float
    low: float | None
    high: float | None
    group: str = ""


def ticks(low: float, high: float, most: int = NUM_TICKS) -> list[float]:
    """Round numbers from ``low`` to ``high``: steps of 1, 2 or 5 times a power of ten.

    Args:
        low: Least value shown.
        high: Greatest.
        most: About how many.
    """
    span = high - low
    if not span > 0:
        return [low]
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def number(value: float) -> str:
    """A number as an axis writes it: 1 500, 2.5 M, 0.25."""
    if value == 0:
        return "0"
    size = abs(value)
    for unit, letter in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if size >= unit:
            return f"{value / (1e3 if letter == ' k' else unit):.3g}{letter}"
    return f"{value:.3g}" if size < 1000 else f"{value:,.0f}".replace(",", " ")


def lines_chart(
    lines: Sequence[Line], *, x_label: str, y_label: str, y_range: tuple[float, float] | None = None
) -> str:
    """Lines over each other with their bands, and axes.

    Args:
        lines: At least one.
        x_label: Below.
        y_label: Above the axis, and told to screen readers.
        y_range: Unset: what the lines and bands take up.
    """
    numbers = [n for line in lines for part in (line.y, line.low, line.high) for n in part
               if n is not None]  # fmt: skip
    low, high = y_range or _with_margin(min(numbers), max(numbers))
    left, right = min(min(line.x) for line in lines), max(max(line.x) for line in lines)
    right = right if right > left else left + 1.0

    def place(x: float, y: float) -> str:
        across = LEFT + (WIDTH - LEFT - RIGHT) * (x - left) / (right - left)
        down = TOP + (HEIGHT - TOP - BOTTOM) * (1 - (y - low) / (high - low))
        return f"{across:.1f},{min(max(down, TOP), HEIGHT - BOTTOM):.1f}"

    parts = [_opening(WIDTH, HEIGHT, f"{y_label} against {x_label}")]
    for tick in ticks(low, high):
        y = place(left, tick).split(",")[1]
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{float(y) + 4:.1f}" text-anchor="end">'
            f"{number(tick)}</text>"
        )
    for tick in ticks(left, right, 6):
        x = place(tick, low).split(",")[0]
        parts.append(
            f'<text class="tick" x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{number(tick)}</text>"
        )
    parts.append(
        f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" '
        f'text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(f'<text class="label" x="4" y="12">{escape(y_label)}</text>')
    for line in lines:
        parts += _band(line, place)
    for line in lines:
        parts += _stroke(line, place)
    return "".join([*parts, "</svg>"])


def _band(line: Line, place: Callable[[float, float], str]) -> list[str]:
    ends = [
        (x, low, high)
        for x, low, high in zip(line.x, line.low, line.high, strict=True)
        if low is not None and high is not None
    ]
    if len(ends) < 2:
        return []
    outline = [place(x, high) for x, _, high in ends] + [place(x, low) for x, low, _ in ends[::-1]]
    return [f'<polygon class="band a{line.place % NUM_COLOURS}" points="{" ".join(outline)}"/>']


def _stroke(line: Line, place: Callable[[float, float], str]) -> list[str]:
    colour = f"a{line.place % NUM_COLOURS}"
    dash = DASHES[line.place // NUM_COLOURS % len(DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    points = [place(x, y) for x, y in zip(line.x, line.y, strict=True)]
    found = [f'<polyline class="line {colour}"{dashed} points="{" ".join(points)}"/>']
    if len(points) > NUM_COLOURS * 3:  # a smooth line: its points would be a ribbon
        return found
    for point, x, y in zip(points, line.x, line.y, strict=True):
        across, down = point.split(",")
        found.append(
            f'<circle class="dot {colour}" cx="{across}" cy="{down}" r="3">'
            f"<title>{escape(line.name)}: {y:.4g} at {number(x)}</title></circle>"
        )
    return found


def dots_chart(dots: Sequence[Dot], *, label: str, zero: bool = False) -> str:
    """Dots with their intervals, a row each, numbers at the right.

    Args:
        dots: At least one; those of a group stand together.
        label: Below the axis.
        zero: Draw a line at 0 and keep it in sight.
    """
    numbers = [n for d in dots for n in (d.mean, d.low, d.high) if n is not None]
    low, high = _with_margin(min([*numbers, *([0.0] * zero)]), max([*numbers, *([0.0] * zero)]))
    num_groups = len(dict.fromkeys(d.group for d in dots if d.group))
    height = TOP + ROW * (len(dots) + num_groups) + BOTTOM
    right = WIDTH - 150

    def across(x: float) -> float:
        return LABEL + (right - LABEL) * (x - low) / (high - low)

    parts = [_opening(WIDTH, height, label)]
    for tick in ticks(low, high):
        x = across(tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>'
            f'<text class="tick" x="{x:.1f}" y="{height - BOTTOM + 18}" text-anchor="middle">'
            f"{number(tick)}</text>"
        )
    if zero:
        x = across(0.0)
        parts.append(
            f'<line class="zero" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>'
        )
    down, group = TOP + ROW / 2, ""
    for dot in dots:
        if dot.group and dot.group != group:
            group = dot.group
            parts.append(f'<text class="group" x="4" y="{down + 4:.1f}">{escape(group)}</text>')
            down += ROW
        parts.append(_row(dot, down, across, right))
        down += ROW
    parts.append(
        f'<text class="label" x="{(LABEL + right) / 2}" y="{height - 6}" text-anchor="middle">'
        f"{escape(label)}</text>"
    )
    return "".join([*parts, "</svg>"])


def _row(dot: Dot, down: float, across: Callable[[float], float], right: float) -> str:
    colour = f"a{dot.place % NUM_COLOURS}"
    told = f"{dot.mean:.3f}"
    bar = ""
    if dot.low is not None and dot.high is not None:
        told += f" [{dot.low:.3f}, {dot.high:.3f}]"
        bar = (
            f'<line class="bar {colour}" x1="{across(dot.low):.1f}" x2="{across(dot.high):.1f}" '
            f'y1="{down:.1f}" y2="{down:.1f}"/>'
        )
    return (
        f'<text class="name" x="{LABEL - 12}" y="{down + 4:.1f}" text-anchor="end">'
        f"{escape(short(dot.name, 34))}</text>{bar}"
        f'<circle class="dot {colour}" cx="{across(dot.mean):.1f}" cy="{down:.1f}" r="4.5">'
        f"<title>{escape(dot.name)}: {told}</title></circle>"
        f'<text class="value" x="{right + 12}" y="{down + 4:.1f}">{told}</text>'
    )


def short(text: str, most: int) -> str:
    """The beginning of a long name, with a sign that it goes on."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _opening(width: int, height: float, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(label)}" '
        f'style="max-width:{width}px">'
    )


def _with_margin(low: float, high: float) -> tuple[float, float]:
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return low - margin, high + margin
