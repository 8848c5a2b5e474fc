"""Fixtures of the stores."""

from __future__ import annotations

from tests.support.fixtures import books, clock, make_books

__all__ = ["books", "clock", "make_books"]
