"""Small price books for the tests beside this file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from callfare.clock import instant_of
from callfare.pricing import PriceBook, load_book

NOON_US = instant_of(datetime(2026, 11, 22, 12, tzinfo=UTC), "noon")


def book_of(*models: str, name: str = "project") -> PriceBook:
    """Return a book of the models, each given as the TOML that stands below [[model]] and its source."""
    text = "\n".join(f'[[model]]\nsource = "a page"\nchecked = 2026-11-20\n{model}' for model in models)
    return load_book(f'book = "{name}"\n{text}')


def model(name: str, basis: str, *rates: str, provider: str = "openai") -> str:
    """Return a model of a basis given as TOML, with rates given as TOML keys separated by semicolons."""
    rows = "".join("[[model.rate]]\n" + rate.replace("; ", "\n") + "\n" for rate in rates)
    return f'provider = "{provider}"\nname = "{name}"\nbasis = {basis}\n{rows}'


def at(*date: Any) -> int:
    """Return an instant in UTC as microseconds since 1970."""
    return instant_of(datetime(*date, tzinfo=UTC), "at")
