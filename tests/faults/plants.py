"""Faults planted into every process of a fleet, each of which some check must notice."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from typing import Any

import psycopg

from callfare.ledger.rows import Key
from callfare.ledger.state import Draft
from callfare.store import postgres
from callfare.store.postgres_server import BoundedConnection

_LOCKING = re.compile(r"FOR (NO KEY )?UPDATE( OF \w+)?")


def plant(name: str) -> None:
    """Plant one fault in this process and in its children."""
    globals()[name]()


def retry_with_another_key() -> None:
    """Once: whoever repeats gives what it repeats another key. The writers themselves do it."""


def answer_before_the_commit() -> None:
    """Durable: one answer in eight is given although nothing was committed."""
    numbers = count(1)
    real: Callable[[Any], None] = psycopg.Connection.commit

    def commit(connection: Any) -> None:
        if next(numbers) % 8:
            real(connection)
        else:
            connection.execute("ROLLBACK")

    psycopg.Connection.commit = commit  # type: ignore[method-assign]


def forget_the_keys() -> None:
    """Once: the key is not written beside its effect."""
    real = Draft.put

    def put(self: Draft, row: Any) -> None:
        if not isinstance(row, Key):
            real(self, row)

    Draft.put = put  # type: ignore[method-assign]


def wait_for_ever() -> None:
    """A frozen server still answers TCP: nothing on this side ends a wait."""
    BoundedConnection.wait = psycopg.Connection.wait  # type: ignore[method-assign]


def lock_nothing() -> None:
    """Nobody spends what is not there: rows are read, decided on and written without a lock."""
    real = postgres.load_named_statements

    def statements(dialect: str) -> dict[str, str]:
        return {name: _LOCKING.sub("", sql) for name, sql in real(dialect).items()}

    postgres.load_named_statements = statements
