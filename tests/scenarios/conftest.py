"""Fixtures of the stores; stories are few enough to be played on every PostgreSQL there is."""

from __future__ import annotations

from tests.support.fixtures import EVERY_STORE, books, books_on, clock

__all__ = ["books", "clock", "make_books"]

make_books = books_on(EVERY_STORE)
