"""All rows of a ledger as plain lists, for tests that change one behind the ledger's back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from callfare.ledger.rows import TABLES, Row, seal_of
from callfare.ledger.verify import Verification, verify
from tests.support.books import Books

Rows = dict[type[Row], list[tuple[Row, int]]]


def rows_of(books: Books) -> Rows:
    return {table: list(books.store.scan(table)) for table in TABLES}


def verified(rows: Rows, progress: Callable[[str, int], None] | None = None) -> Verification:
    def scan(table: Any) -> Iterator[Any]:
        return iter(sorted(rows[table], key=lambda pair: pair[0].pk))

    return verify(scan, progress=progress)


def key_of(row: Row) -> tuple[str, ...]:
    return tuple(str(part) for part in row.pk[1:])


def with_row(rows: Rows, row: Row, other: Row | None) -> Rows:
    """The rows with another one, properly sealed, in the place of one, or with nothing there."""
    table = [pair for pair in rows[type(row)] if pair[0] is not row]
    return {**rows, type(row): table if other is None else [*table, (other, seal_of(other))]}


def changed(rows: Rows, row: Row, **columns: Any) -> Verification:
    return verified(with_row(rows, row, replace(row, **columns)))


def find(rows: Rows, table: type[Any], **columns: Any) -> Any:
    return next(row for row, _ in rows[table] if all(getattr(row, name) == value for name, value in columns.items()))


def places(verification: Verification) -> list[tuple[str, tuple[str, ...], str | None]]:
    return [(fault.table, fault.key, fault.column) for fault in verification.faults]
