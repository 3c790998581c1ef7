"""Pictures as SVG text: bars, lines, histograms, areas and points, in the colours of the page that they stand in."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH = 520
HEIGHT = 260
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 14, 40
COLOURS = 6
"""Classes c0 to c5 that the page gives colours to."""
DASHES = 4
"""Classes d0 to d3, kinds of dashed lines that the page tells apart."""
LABEL_LETTERS = 58
"""Letters of a label that a picture is wide enough for, in the larger letters of a narrow page too."""
LABEL_HEIGHT = 17
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class SvgBar:
    """A line of a bar chart."""

    label: str
    value: float
    shown: str
    """The value as text."""
    colour: int = 0
    mark: float | None = None
    """Where a stroke stands across the bar: an aim, a threshold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One axis: what it shows, from where to where, and how its numbers are written."""

    label: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    """Whether only whole numbers mean something."""
    shown: Callable[[float], str] = lambda value: short(value)

    def at(self, value: float) -> float:
        """The place of a value, from 0 to 1."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        place = math.log10(max(value, self.low)) if self.log else value
        return min(1.0, max(0.0, (place - low) / (high - low))) if high > low else 0.5

    def ticks(self) -> list[float]:
        """Round numbers along the axis: few enough to be read."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            step = max(1, -(-(last - first + 1) // 6))
            return [10.0**power for power in range(first, last + 1, step)]
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = 10 ** math.floor(math.log10(span / 4))
        step = next(rough * factor for factor in (1, 2, 5, 10) if span / (rough * factor) <= 5)
        step = max(1.0, step) if self.whole else step
        return [step * number for number in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def axis_over(label: str, values: Sequence[float], *, log: bool = False, from_zero: bool = True, **more: Any) -> Axis:
    """An axis that has room for all values; a logarithmic one from a power of ten below those that are positive."""
    if log:
        positive = [value for value in values if value > 0] or [1.0]
        low, high = 10.0 ** math.floor(math.log10(min(positive))), 10.0 ** math.ceil(math.log10(max(positive)))
        return Axis(label=label, low=low, high=high if high > low else low * 10, log=True, **more)
    high = max(values, default=1.0) or 1.0
    low = 0.0 if from_zero else min(values, default=0.0)
    return Axis(label=label, low=low, high=high * 1.06 if high > low else low + 1, **more)


def short(value: float) -> str:
    """A number in few characters: 1.5M, 20k, 0.25, 3µ."""
    if value == 0:
        return "0"
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value * 1e6:.3g}µ"


def seconds(value: float) -> str:
    """Seconds in few characters."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return "0" if value == 0 else f"{value * 1e9:.3g} ns"


def picture(title: str, inside: str, *, width: float = WIDTH, height: float = HEIGHT) -> str:
    """An SVG that says to those who cannot see it what it shows."""
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>{inside}</svg>'


def bars(title: str, rows: Sequence[SvgBar], *, high: float | None = None, limit: float | None = None) -> str:
    """Bars beneath each other, labels above them, in as many lines as they need; a dashed stroke stands at `limit` in each bar."""
    step, top, room = 38, 6, 86
    scale = (WIDTH - room) / max(1e-12, high or max([row.value for row in rows] + [limit or 0.0], default=1.0))
    parts: list[str] = []
    y = top - step
    for row in rows:
        y += step
        said = textwrap.wrap(row.label, LABEL_LETTERS) or [""]
        parts += [f'<text x="0" y="{y + 12 + LABEL_HEIGHT * at}" class="label">{escape(line)}</text>' for at, line in enumerate(said)]
        y += LABEL_HEIGHT * (len(said) - 1)
        width = max(1.0, row.value * scale)
        parts.append(f'<rect x="0" y="{y + 17}" width="{WIDTH - room:g}" height="13" rx="3" class="track"/>')
        parts.append(
            f'<rect x="0" y="{y + 17}" width="{min(width, WIDTH - room):.1f}" height="13" rx="3" class="f{row.colour % COLOURS}"/>'
        )
        if row.mark is not None:
            at = min(row.mark * scale, WIDTH - room)
            parts.append(f'<path d="M{at:.1f} {y + 14}v19" class="mark"/>')
        parts.append(f'<text x="{WIDTH}" y="{y + 28}" class="value" text-anchor="end">{escape(row.shown)}</text>')
        if limit is not None:
            parts.append(f'<path d="M{limit * scale:.1f} {y + 15}v18" class="limit"/>')
    return picture(title, "".join(parts), height=y + step + 4)


def _frame(x: Axis, y: Axis, height: float) -> str:
    """Axes, their grid and their numbers."""
    right, floor = WIDTH - RIGHT, height - BOTTOM
    parts: list[str] = []
    for tick in y.ticks():
        at = floor - y.at(tick) * (floor - TOP)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{right}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" class="tick" text-anchor="end">{escape(y.shown(tick))}</text>')
    for tick in x.ticks():
        at = LEFT + x.at(tick) * (right - LEFT)
        anchor = "end" if at > right - 12 else "middle"
        parts.append(f'<text x="{at:.1f}" y="{floor + 18}" class="tick" text-anchor="{anchor}">{escape(x.shown(tick))}</text>')
    parts.append(f'<path d="M{LEFT} {floor}H{right}" class="axis"/>')
    parts.append(f'<text x="{(LEFT + right) / 2:g}" y="{height - 6:g}" class="label" text-anchor="middle">{escape(x.label)}</text>')
    middle = (TOP + floor) / 2
    parts.append(
        f'<text x="4" y="{middle:g}" class="label" text-anchor="middle" transform="rotate(-90 4 {middle:g})">{escape(y.label)}</text>'
    )
    return "".join(parts)


def _placed(points: Sequence[Point], x: Axis, y: Axis, height: float) -> list[Point]:
    right, floor = WIDTH - RIGHT, height - BOTTOM
    return [(LEFT + x.at(a) * (right - LEFT), floor - y.at(b) * (floor - TOP)) for a, b in points]


def lines(title: str, series: Sequence[tuple[str, Sequence[Point]]], x: Axis, y: Axis, *, limits: Sequence[tuple[str, float]] = ()) -> str:
    """Lines with a point at each value; dashed lines for limits, each in dashes of its own: `limit_legend` names them."""
    parts = [_frame(x, y, HEIGHT)]
    for number, (name, value) in enumerate(limits):
        if y.low <= value <= y.high:
            (_, at), *_ = _placed([(x.low, value)], x, y, HEIGHT)
            dashed = f'class="limit d{number % DASHES}"'
            parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" {dashed}><title>{escape(name)}</title></path>')
    for number, (_, points) in enumerate(series):
        placed = _placed(points, x, y, HEIGHT)
        if placed:
            path = "L".join(f"{a:.1f} {b:.1f}" for a, b in placed)
            parts.append(f'<path d="M{path}" class="line s{number % COLOURS}"/>')
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.2" class="f{number % COLOURS}"/>' for a, b in placed]
    return picture(title, "".join(parts))


def histogram(title: str, edges: Sequence[float], counts: Sequence[int], x: Axis, *, marks: Sequence[tuple[str, float]] = ()) -> str:
    """Counts between edges, and named strokes across them, whose names stand above the counts, each in a line of its own."""
    floor, named = HEIGHT - BOTTOM, LABEL_HEIGHT * len(marks)
    most = max(counts, default=1) or 1
    y = Axis(label="steps", low=0.0, high=most * 1.03 * (floor - TOP) / (floor - TOP - named), whole=True)
    parts = [_frame(x, y, HEIGHT)]
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        if count:
            (a, top), (b, _) = _placed([(low, count), (high, 0)], x, y, HEIGHT)
            parts.append(f'<rect x="{a:.1f}" y="{top:.1f}" width="{max(1.0, b - a - 0.6):.1f}" height="{floor - top:.1f}" class="f0"/>')
    for number, (name, value) in enumerate(marks):
        (at, _), *_ = _placed([(value, 0)], x, y, HEIGHT)
        anchor = "end" if at > WIDTH * 0.7 else "start"
        shift, top = -5 if anchor == "end" else 5, TOP + LABEL_HEIGHT * number
        parts.append(f'<path d="M{at:.1f} {top}V{floor}" class="mark"/>')
        parts.append(f'<text x="{at + shift:.1f}" y="{top + 11}" class="tick" text-anchor="{anchor}">{escape(name)}</text>')
    return picture(title, "".join(parts))


def areas(title: str, series: Sequence[tuple[str, Sequence[Point]]], x: Axis, y: Axis) -> str:
    """Areas on top of each other: each series is stacked on those before it, at the same places."""
    parts = [_frame(x, y, HEIGHT)]
    below = [0.0] * len(series[0][1]) if series else []
    for number, (_, points) in enumerate(series):
        above = [base + value for base, (_, value) in zip(below, points, strict=True)]
        places = [place for place, _ in points]
        outline = _placed([*zip(places, above, strict=True), *reversed(list(zip(places, below, strict=True)))], x, y, HEIGHT)
        if outline:
            parts.append(f'<path d="M{"L".join(f"{a:.1f} {b:.1f}" for a, b in outline)}Z" class="f{number % COLOURS} area"/>')
        below = above
    return picture(title, "".join(parts))


def points(title: str, placed: Sequence[Point], x: Axis, y: Axis, *, colour: int = 0) -> str:
    """A point for each pair: what a good order scatters evenly, and a bad one draws lines with."""
    side = 300
    right, floor = side - 8, side - 30
    strokes = "".join(f"M{28 + x.at(a) * (right - 28):.1f} {floor - y.at(b) * (floor - 8):.1f}h0" for a, b in placed)
    frame = f'<rect x="28" y="8" width="{right - 28}" height="{floor - 8}" class="box"/>'
    names = (
        f'<text x="{(28 + right) / 2:g}" y="{side - 10}" class="label" text-anchor="middle">{escape(x.label)} →</text>'
        f'<text x="16" y="{(8 + floor) / 2:g}" class="label" text-anchor="middle" '
        f'transform="rotate(-90 16 {(8 + floor) / 2:g})">{escape(y.label)} →</text>'
    )
    return picture(title, f'{frame}<path d="{strokes}" class="dots s{colour % COLOURS}"/>{names}', width=side, height=side)


def legend(names: Sequence[str]) -> str:
    """What the colours stand for, as HTML."""
    return (
        '<p class="legend">'
        + "".join(f'<span><i class="b{k % COLOURS}"></i>{escape(name)}</span>' for k, name in enumerate(names))
        + "</p>"
    )


def limit_legend(limits: Sequence[tuple[str, str]]) -> str:
    """What the dashed lines of `lines` stand for, as HTML: names and values, in the same order."""
    drawn = [
        f'<span><svg viewBox="0 0 26 8" aria-hidden="true"><path d="M0 4H26" class="limit d{k % DASHES}"/></svg>'
        f"{escape(name)}, {escape(value)}</span>"
        for k, (name, value) in enumerate(limits)
    ]
    return f'<p class="legend">{"".join(drawn)}</p>' if drawn else ""
