"""Rows of the table: a figure, the limit or peer of the same rounds, their ratio, the bar, what an operation took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.machine import Counts
from bench.rounds import Variant


@dataclass(frozen=True)
class Figure:
    """The median of some rounds, and how far they spread."""

    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The figure itself."""
        return median(self.values)

    def __str__(self) -> str:
        return f"{short(self.median)}{self.unit} [{short(min(self.values))}..{short(max(self.values))}]"


@dataclass(frozen=True)
class Bar:
    """What a ratio has to reach: at least, or at most, so much; and what is aimed at beyond.

    unit: that of the figure, when the figure itself has to reach it and not the ratio.
    """

    limit: float
    is_least: bool
    aims: tuple[float, ...] = ()
    unit: str = ""

    def is_met_by(self, ratio: float) -> bool:
        """Tell whether a ratio reaches the bar."""
        return self._holds(ratio, self.limit)

    def verdict(self, ratio: float) -> str:
        """Say whether a ratio reaches the bar, and the furthest aim that it reaches."""
        reached = [aim for aim in self.aims if self._holds(ratio, aim)]
        if reached:
            return f"met, aim {reached[-1]:g}"
        return "met" if self.is_met_by(ratio) else "MISSED"

    def __str__(self) -> str:
        aims = f" (aim {', '.join(f'{aim:g}' for aim in self.aims)})" if self.aims else ""
        return f"{'≥' if self.is_least else '≤'} {self.limit:g}{self.unit}{aims}"

    def _holds(self, ratio: float, limit: float) -> bool:
        return ratio >= limit if self.is_least else ratio <= limit


def at_least(limit: float, *aims: float) -> Bar:
    """Return a bar that a ratio must not stay below."""
    return Bar(limit, is_least=True, aims=aims)


def at_most(limit: float, *aims: float, unit: str = "") -> Bar:
    """Return a bar that a ratio must not exceed, or the figure itself where its unit is given."""
    return Bar(limit, is_least=False, aims=aims, unit=unit)


@dataclass(frozen=True)
class Row:
    """A line of the table. The ratio is the median of the ratios within each round."""

    work: str
    figure: Figure
    against: str = ""
    peer: Figure | None = None
    bar: Bar | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    client_us: float | None = None
    server_us: float | None = None
    counts: Counts = field(default_factory=Counts)
    series: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> Figure | None:
        """Figure by peer, round by round."""
        if self.peer is None:
            return None
        return Figure(
            "", tuple(mine / theirs for mine, theirs in zip(self.figure.values, self.peer.values, strict=True))
        )

    @property
    def verdict(self) -> str:
        """Whether the bar is met; empty where there is none."""
        if self.bar is None or self.ratio is None:
            return ""
        return self.bar.verdict(self.figure.median if self.bar.unit else self.ratio.median)

    def as_json(self) -> dict[str, Any]:
        """Return everything that was measured."""
        found = asdict(self)
        found["ratio"] = self.ratio.median if self.ratio else None
        found["verdict"] = self.verdict
        return found


def rate_row(
    variant: Variant, *, peer: Variant | None = None, bar: Bar | None = None, work: str = "", against: str = ""
) -> Row:
    """Return the row of a variant's operations a second, beside another variant of the same rounds."""
    samples = variant.samples
    has_server = any(sample.server_s for sample in samples)
    return Row(
        work=work or variant.name,
        figure=Figure("/s", tuple(sample.rate for sample in samples)),
        against=against or (peer.name if peer else ""),
        peer=Figure("/s", tuple(sample.rate for sample in peer.samples)) if peer else None,
        bar=bar,
        p50_ms=median(sample.p50_ms for sample in samples),
        p99_ms=median(sample.p99_ms for sample in samples),
        client_us=median(sample.client_us for sample in samples),
        server_us=median(sample.server_us for sample in samples) if has_server else None,
        counts=variant.counts,
        series={"name": variant.name},
    )


_TITLES = ("work", "figure [min..max]", "against", "its figure", "ratio [min..max]", "bar", "")
_COSTS = ("work", "p50, p99 ms", "commits", "statements", "flushes", "client µs", "server µs")


def _figures_of(row: Row) -> tuple[str, ...]:
    ratio = row.ratio
    return (
        row.work,
        str(row.figure),
        row.against,
        str(row.peer or ""),
        f"{short(ratio.median)} [{short(min(ratio.values))}..{short(max(ratio.values))}]" if ratio else "",
        str(row.bar or ""),
        row.verdict,
    )


def _costs_of(row: Row) -> tuple[str, ...]:
    return (
        row.work,
        "" if row.p50_ms is None else f"{short(row.p50_ms)}, {short(row.p99_ms)}",
        *(short(part) for part in (row.counts.commits, row.counts.statements, row.counts.flushes)),
        short(row.client_us),
        short(row.server_us),
    )


def _with_costs(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of which it is known what an operation took, each variant once."""
    found = {row.series.get("name", row.work): row for row in reversed(rows) if row.client_us is not None}
    return list(reversed(found.values()))


def text_of(rows: Sequence[Row]) -> str:
    """Return rows as aligned text: the figures, then what an operation took."""
    figures = _aligned([_TITLES, *(_figures_of(row) for row in rows)])
    with_costs = _with_costs(rows)
    if not with_costs:
        return figures
    costs = _aligned([_COSTS, *(_costs_of(row) for row in with_costs)])
    return f"{figures}\n\neach operation took, with processor time of this process and of the server\n{costs}"


def _aligned(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def markdown_of(rows: Sequence[Row]) -> str:
    """Return the figures as a table of a page."""
    return _markdown([_TITLES, *(_figures_of(row) for row in rows)]).replace("MISSED", "**MISSED**")


def markdown_of_costs(rows: Sequence[Row]) -> str:
    """Return what an operation took as a table of a page."""
    return _markdown([_COSTS, *(_costs_of(row) for row in _with_costs(rows))])


def _markdown(lines: Sequence[tuple[str, ...]]) -> str:
    titles, *rest = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in (titles, tuple("---" for _ in titles), *rest))


def short(value: float | None) -> str:
    """Return a number with about three digits that count."""
    if value is None:
        return ""
    for least, digits in ((100, 0), (10, 1), (1, 2), (0.1, 3)):
        if abs(value) >= least:
            return f"{value:,.{digits}f}"
    return f"{value:.4f}" if value else "0"
