"""Fixtures of the stores."""

from __future__ import annotations

from tests.support.fixtures import books, clock

__all__ = ["books", "clock"]
