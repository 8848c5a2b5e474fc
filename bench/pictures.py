"""Curves as SVG, drawn without a library: two logarithmic axes, a line for each series, its name at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 190, 50, 50
_COLOURS = ("#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce", "#b91c1c", "#475569")
_LABEL_HEIGHT = 15
_SVG = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
    'font-family="system-ui, sans-serif" font-size="12" fill="#334155">'
)


@dataclass(frozen=True)
class Line:
    """A series: its name, its points, and whether it is a peer's, which is drawn in dashes."""

    name: str
    points: Sequence[tuple[float, float]]
    is_peer: bool = False


class _Axis:
    """A logarithmic axis from the decade below the least value to the one above the greatest, unless it is bounded."""

    def __init__(self, values: Sequence[float], start: float, end: float, *, is_tight: bool) -> None:
        low, high = math.log10(min(values)), math.log10(max(values))
        if not is_tight:
            low, high = math.floor(low), math.ceil(high)
        self._low, self._high = low, max(high, low + 0.5)
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        """Return where a value stands."""
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def decades(self) -> list[float]:
        """Return the powers of ten on the axis."""
        return [10.0**power for power in range(math.ceil(self._low), math.floor(self._high) + 1)]


def chart(title: str, *, across: str, up: str, lines: Sequence[Line], ticks: Sequence[float]) -> str:
    """Return a picture of some series. `ticks` are the values named on the axis across."""
    x = _Axis([point[0] for line in lines for point in line.points], _LEFT, _WIDTH - _RIGHT, is_tight=True)
    y = _Axis([point[1] for line in lines for point in line.points], _HEIGHT - _BOTTOM, _TOP, is_tight=False)
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = [
        _SVG,
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="26" font-size="15" font-weight="600" fill="#0f172a">{escape(title)}</text>',
        f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(across)}</text>',
        f'<text x="{_LEFT}" y="{_TOP - 8}" text-anchor="end">{escape(up)}</text>',
    ]
    for value in y.decades():
        parts.append(f'<path d="M{_LEFT} {y.at(value):.1f}H{right}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y.at(value) + 4:.1f}" text-anchor="end">{value:,g}</text>')
    for value in ticks:
        parts.append(f'<path d="M{x.at(value):.1f} {bottom}v5" stroke="#94a3b8"/>')
        parts.append(f'<text x="{x.at(value):.1f}" y="{bottom + 20}" text-anchor="middle">{value:,g}</text>')
    for line, colour, label_y in zip(
        lines, _COLOURS, _apart([y.at(line.points[-1][1]) for line in lines]), strict=False
    ):
        path = "L".join(f"{x.at(across_):.1f} {y.at(up_):.1f}" for across_, up_ in line.points)
        dashes = ' stroke-dasharray="5 4"' if line.is_peer else ""
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        parts += [f'<circle cx="{x.at(a):.1f}" cy="{y.at(b):.1f}" r="3" fill="{colour}"/>' for a, b in line.points]
        parts.append(f'<text x="{right + 10}" y="{label_y + 4:.1f}" fill="{colour}">{escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _apart(heights: Sequence[float]) -> list[float]:
    """Return heights near the given ones, far enough from each other for a line of text."""
    placed = list(heights)
    order = sorted(range(len(placed)), key=placed.__getitem__)
    for above, below in pairwise(order):
        placed[below] = max(placed[below], placed[above] + _LABEL_HEIGHT)
    return placed
