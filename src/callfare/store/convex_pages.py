"""Reading whole tables of Convex: page by page, and all of them as they stood at one instant.

Convex sees one instant in one call, and one call reads no more than some thousand rows. A longer look at one instant is
a reading: as long as it lasts, every write keeps a row as it stood before it changes it, and pages are read with those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import astuple

from callfare.clock import elapsed_s
from callfare.errors import LedgerUnavailable
from callfare.ids import new_id
from callfare.ledger.rows import lowest_key
from callfare.store.convex_answers import check_rows, unreadable
from callfare.store.convex_questions import Range
from callfare.store.convex_tables import layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from callfare.ledger.rows import Pk, Row
    from callfare.store.convex_load import Ask
    from callfare.store.protocol import R

_PAGE_ROWS = 500
# A reading lasts two minutes after it was last gone on with.
_RENEW_S = 30


def pages_of(table: type[R], after: Pk | None, ask: Ask) -> Iterator[tuple[R, int]]:
    """Yield all rows of a table with their seals, in the order of their primary key, a page at a time."""
    low: tuple[Any, ...] = after[1:] if after else ()
    while True:
        [pages] = ask([Range(table=table, low=low, limit=_PAGE_ROWS)], None)[1]
        rows = [row for _, page in pages for row in page]
        for *columns, seal in rows:
            yield table(*columns), seal
        if len(rows) < _PAGE_ROWS:
            return
        before, low = low, tuple(rows[-1][: table.pk_columns])
        if low <= before:
            raise unreadable()


class Reading:
    """A look at the whole ledger as of one instant."""

    def __init__(self, read: Callable[..., Any], write: Callable[..., Any]) -> None:
        self._read = read
        self._write = write
        self._name = new_id("reading")
        self._write("beginReading", {"name": self._name})
        self._renewed_s = elapsed_s()

    def end(self) -> None:
        """End the reading, and clear away what was kept for it. What is not is cleared away by a later one."""
        try:
            while self._write("endReading", {"name": self._name}):
                pass
        except LedgerUnavailable:
            return

    def scan(self, table: type[R], after: Pk | None = None) -> Iterator[tuple[R, int]]:
        """Yield all rows of a table as they stood, with their seals, in the order of their primary key."""
        low: list[Any] | None = list(after[1:]) if after else []
        while low is not None:
            page = self._page(table, low)
            for *columns, seal in _as_it_stood(page, table.pk_columns):
                yield table(*columns), seal
            low = page["end"]

    def rows(self, wanted: Range) -> Iterator[list[Any]]:
        """Yield the rows of a range as they stood, each with its seal at the end."""
        places = layout_of(wanted.table).places(wanted.index)
        size = len(wanted.eq)
        found = []
        first = _first(wanted)
        for row, seal in self.scan(wanted.table, first):
            values = [*astuple(row), seal]
            place = tuple(values[place] for place in places)
            if first is not None and values[0] != wanted.eq[0]:
                break
            if place[:size] == wanted.eq and _lies_in(place[size:], wanted):
                found.append((place, values))
        found.sort(key=lambda pair: pair[0], reverse=wanted.is_descending)
        yield from (values for _, values in found[: wanted.limit or None])

    def _page(self, table: type[Row], low: list[Any]) -> dict[str, Any]:
        if elapsed_s() - self._renewed_s > _RENEW_S:
            self._write("renewReading", {"name": self._name})
            self._renewed_s = elapsed_s()
        page: dict[str, Any] = self._read("page", {"reading": self._name, "table": layout_of(table).name, "low": low})
        check_rows(table, page["rows"])
        check_rows(table, [kept["values"] for kept in page["earlier"] if kept["values"] is not None])
        if page["end"] is not None and page["end"] <= low:
            raise unreadable()
        return page


def _first(wanted: Range) -> Pk | None:
    """Return after which row of the table those of a range come, None where they may be anywhere in it."""
    layout = layout_of(wanted.table)
    if not wanted.eq or layout.indexes[wanted.index][0] != layout.fields[0].name:
        return None
    leading: Any = wanted.eq[0]
    return (wanted.table.table, leading, *lowest_key(wanted.table)[1:])


def _lies_in(place: tuple[Any, ...], wanted: Range) -> bool:
    low, high = place[: len(wanted.low)], place[: len(wanted.high)]
    is_above = low > wanted.low or (wanted.is_low_in and low == wanted.low) or not wanted.low
    is_below = high < wanted.high or (wanted.is_high_in and high == wanted.high) or not wanted.high
    return is_above and is_below


def _as_it_stood(page: dict[str, Any], key_size: int) -> list[list[Any]]:
    """Return the rows of a page with those that were changed since as they were before."""
    end = None if page["end"] is None else tuple(page["end"])
    rows = {tuple(row[:key_size]): row for row in page["rows"]}
    for kept in page["earlier"]:
        key = tuple(kept["key"])
        rows.pop(key, None)
        if kept["values"] is not None:
            rows[key] = kept["values"]
    return [row for key, row in sorted(rows.items()) if end is None or key <= end]
