"""The table that benchmarks print."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure, the limit or peer measured in the same run, and their ratio."""

    work: str
    figure: str
    against: str
    limit: str
    ratio: float


def text_of(rows: list[Row]) -> str:
    """Return rows as aligned text."""
    cells = [("work", "figure", "against", "its figure", "ratio")]
    cells += [(row.work, row.figure, row.against, row.limit, f"{row.ratio:.2f}x") for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    return "\n".join(
        "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )
