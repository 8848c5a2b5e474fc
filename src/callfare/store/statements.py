"""Reads the .sql files: named statements, and numbered migrations. Builds no SQL."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"(?<!:):(\w+)")
_MIGRATION = re.compile(r"(\d{4})_\w+\.sql")


class Migration(NamedTuple):
    """One step of a schema: its number and its SQL."""

    number: int
    sql: str


def load_statements(dialect: str) -> dict[str, str]:
    """Return a dialect's statements by name: those that all dialects share, and its own."""
    folder = files("callfare.store") / "sql"
    return _named(folder / "queries.sql") | _named(folder / dialect / "queries.sql")


def _named(file: Traversable) -> dict[str, str]:
    parts = _NAME.split(file.read_text(encoding="utf-8"))
    return {name: body.strip().rstrip(";") for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def load_named_statements(dialect: str) -> dict[str, str]:
    """Return a dialect's statements by name, with placeholders as Python's database drivers name them."""
    return {name: _PLACEHOLDER.sub(r"%(\1)s", sql.replace("%", "%%")) for name, sql in load_statements(dialect).items()}


@cache
def load_migrations(dialect: str) -> list[Migration]:
    """Return a dialect's migrations in the order in which they apply."""
    folder = files("callfare.store") / "sql" / dialect
    found = [(match, file) for file in folder.iterdir() if (match := _MIGRATION.fullmatch(file.name))]
    steps = [Migration(int(match[1]), file.read_text(encoding="utf-8")) for match, file in found]
    return sorted(steps)
