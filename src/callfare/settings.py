"""The settings of one ledger, checked once and passed down. Reads no environment and keeps no state."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from callfare.answers import Package, Plan
from callfare.clock import instant_of
from callfare.errors import InvalidAmount
from callfare.money import decimal_of
from callfare.pricing.book import PriceBook
from callfare.pricing.shipped import shipped_book

_MARKUP_MAX = 1000
_NO_MARKUP = Fraction(1)


class Terms(Protocol):
    """How a ledger prices and whom it serves. Where a server says so, asking may take a request."""

    @property
    def book(self) -> PriceBook:
        """The price book in force. Raises LedgerUnavailable where it cannot be known."""
        ...

    @property
    def require_user(self) -> bool:
        """Whether a call that names no user is refused, instead of being charged to `unattributed`."""
        ...

    def markup_at(self, instant_us: int) -> Fraction:
        """Return the markup in force at an instant."""
        ...

    def assumed(self) -> Settings:
        """Return what finished calls are rated by until the ledger itself does it. Never raises and never waits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a ledger prices and whom it serves.

    markups: what a credit's worth of list cost is multiplied by, each from an instant on; 1 before the first.
    require_user: refuse a call that names no user, instead of charging it to `unattributed`.
    packages, plans: what is for sale; the seed's packages where there are neither.
    """

    book: PriceBook = field(default_factory=shipped_book)
    markups: tuple[tuple[int, Fraction], ...] = ()
    require_user: bool = False
    packages: tuple[Package, ...] = ()
    plans: tuple[Plan, ...] = ()

    def markup_at(self, instant_us: int) -> Fraction:
        """Return the markup in force at an instant."""
        if len(self.markups) == 1 and instant_us >= self.markups[0][0]:
            return self.markups[0][1]
        index = bisect_right(self.markups, instant_us, key=lambda dated: dated[0])
        return self.markups[index - 1][1] if index else _NO_MARKUP

    def assumed(self) -> Settings:
        """Return these settings: nobody else decides."""
        return self


def check_markups(
    markup: int | Decimal | str | dict[datetime, int | Decimal | str],
) -> tuple[tuple[int, Fraction], ...]:
    """Return dated markups in order; a single one holds at all times.

    Raises InvalidAmount for what is no decimal above 0 and at most 1000, InvalidTime for a time without a zone.
    """
    if not isinstance(markup, dict):
        return ((0, _markup(markup)),)
    return tuple(sorted((instant_of(moment, "markup"), _markup(value)) for moment, value in markup.items()))


def _markup(value: object) -> Fraction:
    factor = Fraction(decimal_of(value, "markup"))
    if not 0 < factor <= _MARKUP_MAX:
        raise InvalidAmount(f"markup must lie above 0 and at most {_MARKUP_MAX}", param="markup")
    return factor
