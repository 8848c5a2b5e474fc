"""Ledgers as an older callfare left them: the first steps of the schema only, with rows of that time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import msgspec
import psycopg
from msgspec.structs import astuple

from callfare.clock import ManualClock
from callfare.ledger.rows import TABLES, ApiKey, AuditRow, KeyDay, Retention, Row
from callfare.ledger.sale_rows import Customer, Delivery, Installation, Order, Quarantined, Sale, Subscription
from callfare.store.memory import MemoryStore
from callfare.store.sqlite_file import APPLICATION_ID
from callfare.store.statements import load_migrations, load_named_statements, load_statements
from tests.support.books import Books
from tests.support.commands import START
from tests.support.rich import write_rich_ledger

# Tables that a step after the first has added.
_ADDED = {
    Retention, ApiKey, KeyDay, AuditRow, Order, Sale, Customer, Subscription, Delivery, Quarantined, Installation,
}  # fmt: skip


def rows_of_old() -> dict[type[Row], list[tuple[Any, int]]]:
    """Return the rows of a ledger with something of everything that the first schema has."""
    clock = ManualClock(START)
    books = Books(MemoryStore(clock), clock)
    write_rich_ledger(books, has_keys=False)
    return {table: list(books.store.scan(table)) for table in TABLES if table not in _ADDED}


def make_old_file(path: Path) -> None:
    """Make a SQLite ledger at schema 1."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute(load_migrations("sqlite")[0].sql)
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", 1)
    for table, rows in rows_of_old().items():
        statement = load_statements("sqlite")[f"put_{table.table}"]
        connection.executemany(statement, [(*astuple(row), seal) for row, seal in rows])
    connection.close()


def make_old_database(url: str) -> None:
    """Make a PostgreSQL ledger at schema 1."""
    sql: dict[str, Any] = load_named_statements("postgres")
    with psycopg.connect(url, options="-c search_path=callfare") as connection:
        connection.execute(sql["make_schema"])
        connection.execute(sql["make_versions"])
        connection.execute(load_migrations("postgres")[0].sql.encode())
        connection.execute(sql["note_version"], {"number": 1})
        for table, rows in rows_of_old().items():
            values = [[*astuple(row), seal] for row, seal in rows]
            connection.execute(sql[f"put_{table.table}"], {"rows": msgspec.json.encode(values).decode()})
