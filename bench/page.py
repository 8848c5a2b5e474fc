"""Writes what was measured into docs/speed.md, between its marks, and the pictures beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bench.pictures import Line, chart
from bench.record import CALLERS
from bench.table import Row, markdown_of, markdown_of_costs

_STORES = ("PostgreSQL", "SQLite")


def write(docs: Path, rows: Sequence[Row], machine: dict[str, str]) -> list[Path]:
    """Put table, machine and pictures in place, and return the files that were written."""
    page = docs / "speed.md"
    text = page.read_text(encoding="utf-8")
    parts = {
        "machine": "\n".join(f"- {name}: {fact}" for name, fact in machine.items()),
        "table": markdown_of(rows),
        "costs": markdown_of_costs(rows),
    }
    for name, part in parts.items():
        marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text, count = marks.subn(lambda found, part=part: f"{found[1]}{part}\n{found[2]}", text)
        assert count == 1, name
    page.write_text(text, encoding="utf-8")
    written = [page]
    for name, picture in pictures(rows).items():
        file = docs / "speed" / f"{name}.svg"
        file.parent.mkdir(exist_ok=True)
        file.write_text(picture, encoding="utf-8")
        written.append(file)
    return written


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    """Return the pictures that can be drawn from rows, by name."""
    found = {}
    for store in _STORES:
        lines = [*_by_callers(rows, store, is_peer=False), *_by_callers(rows, f"naive on {store}", is_peer=True)]
        if lines:
            found[f"callers-{store.lower()}"] = chart(
                f"Durable records a second on {store}",
                across="callers at once",
                up="calls/s",
                lines=lines,
                ticks=CALLERS,
            )
    lines = _by_events(rows)
    if lines:
        found["reports"] = chart(
            "Time of a usage report",
            across="events of the user",
            up="ms",
            lines=lines,
            ticks=[events for events, _ in lines[0].points],
        )
    return found


def _by_callers(rows: Sequence[Row], name: str, *, is_peer: bool) -> list[Line]:
    lines = []
    for kind in ("spread", "one run"):
        figures = {row.series.get("name"): row.figure.median for row in rows}
        points = [
            (callers, figures[f"{name}, {kind}, {callers:,}"])
            for callers in CALLERS
            if f"{name}, {kind}, {callers:,}" in figures
        ]
        if points:
            lines.append(Line(f"{'naive' if is_peer else 'callfare'}, {kind}", points, is_peer))
    return lines


def _by_events(rows: Sequence[Row]) -> list[Line]:
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if "events" in row.series:
            name = f"{row.series['store']}, {row.series['report']}"
            points.setdefault(name, []).append((row.series["events"], row.figure.median))
    return [Line(name, sorted(found)) for name, found in points.items()]
