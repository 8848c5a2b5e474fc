"""Amounts of credit and of dollars, and the one rounding. Refuses floats: value is int, Decimal or decimal text.

The ledger counts nanocredits (1 credit = 1 000 000 000) and costs are kept in picodollars, both as signed 64-bit
integers. A credit is one cent of list cost. Leaving the range is an error, never a wrap.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import total_ordering
from typing import Any, ClassVar, Self

from callfare.errors import AmountOutOfRange, InvalidAmount

NANOCREDITS_PER_CREDIT = 1_000_000_000
PICOUSD_PER_USD = 1_000_000_000_000
CREDITS_PER_USD = 100
INT64_MAX = 2**63 - 1

# Far beyond any amount; a decimal outside is refused before it is scaled, which would make it a huge integer.
_DIGITS_MAX = 30
_PLACES_MAX = 60
_DECIMAL_TEXT = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?", re.ASCII)


def divide_half_even(numerator: int, denominator: int) -> int:
    """Return the integer nearest to a quotient, ties to even: the only rounding of money in callfare.

    The denominator is positive.
    """
    whole, rest = divmod(numerator, denominator)
    doubled = 2 * rest
    return whole + (doubled > denominator or (doubled == denominator and whole % 2 == 1))


def round_half_even(rational: Fraction) -> int:
    """Return the integer nearest to a rational, ties to even."""
    return divide_half_even(rational.numerator, rational.denominator)


def in_range(amount: int, what: str, limit: int = INT64_MAX, *, param: str) -> int:
    """Return the amount when it fits a signed 64-bit integer, or lies within another limit.

    param: the argument that is too much. Raises AmountOutOfRange, naming both.
    """
    if -limit <= amount <= limit:
        return amount
    raise AmountOutOfRange(f"{what} is beyond the range of the ledger", param=param)


def nanocredits_of(cost_usd: Fraction, markup: Fraction) -> int:
    """Return what a cost in dollars is worth in nanocredits, rounded once."""
    return round_half_even(cost_usd * CREDITS_PER_USD * NANOCREDITS_PER_CREDIT * markup)


def picousd_of(cost_usd: Fraction) -> int:
    """Return a cost in picodollars, rounded once from the same rational as its credits."""
    return round_half_even(cost_usd * PICOUSD_PER_USD)


def decimal_of(value: object, what: str) -> Decimal:
    """Return an int, Decimal or plain decimal text as a Decimal.

    Raises InvalidAmount for floats, booleans, exponents, NaN, infinities and anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        kind = type(value).__name__
        raise InvalidAmount(f"{what} is {kind}; give an int, a Decimal or a decimal string such as '18.5'", param=what)
    if isinstance(value, Decimal) and not value.is_finite():
        raise InvalidAmount(f"{what} is {value}; give a finite amount", param=what)
    if isinstance(value, str) and not _DECIMAL_TEXT.fullmatch(value):
        raise InvalidAmount(f"{what} is not a decimal number such as '18.5'", param=what)
    return Decimal(value)


@total_ordering
@dataclass(frozen=True, slots=True, repr=False, order=False)
class _Amount:
    """An exact amount, counted in units of the last decimal place that is kept."""

    units: int
    places: ClassVar[int]
    what: ClassVar[str]
    limit: ClassVar[int] = INT64_MAX

    def __init__(self, value: int | Decimal | str | Self = 0) -> None:
        if isinstance(value, type(self)):
            object.__setattr__(self, "units", value.units)
            return
        decimal = decimal_of(value, self.what)
        exponent = decimal.as_tuple().exponent
        if decimal and (decimal.adjusted() > _DIGITS_MAX or (isinstance(exponent, int) and exponent < -_PLACES_MAX)):
            raise AmountOutOfRange(f"{self.what} is beyond the range of the ledger", param=self.what)
        scaled = Fraction(decimal) * 10**self.places
        if scaled.denominator != 1:
            raise InvalidAmount(f"{self.what} {value} is finer than {self.places} decimal places", param=self.what)
        object.__setattr__(self, "units", in_range(scaled.numerator, self.what, self.limit, param=self.what))

    @classmethod
    def of_units(cls, units: int) -> Self:
        """Return the amount that is this many of the smallest unit."""
        amount = cls.__new__(cls)
        object.__setattr__(amount, "units", in_range(units, cls.what, cls.limit, param=cls.what))
        return amount

    @property
    def decimal(self) -> Decimal:
        """The amount as an exact Decimal."""
        return Decimal(str(self))

    def __str__(self) -> str:
        whole, part = divmod(abs(self.units), 10**self.places)
        sign = "-" if self.units < 0 else ""
        decimals = f"{part:0{self.places}d}".rstrip("0")
        return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self}')"

    def __add__(self, other: Self) -> Self:
        return self.of_units(self.units + other.units) if type(other) is type(self) else NotImplemented

    def __sub__(self, other: Self) -> Self:
        return self.of_units(self.units - other.units) if type(other) is type(self) else NotImplemented

    def __neg__(self) -> Self:
        return self.of_units(-self.units)

    def __lt__(self, other: Self) -> bool:
        return self.units < other.units if type(other) is type(self) else NotImplemented

    def __bool__(self) -> bool:
        return self.units != 0

    def __reduce__(self) -> tuple[Any, ...]:
        return (self.of_units, (self.units,))


class Credits(_Amount):
    """An amount of prepaid credit, exact to a nanocredit. `Credits("18.5")`, `Credits(2000)`.

    Raises InvalidAmount for a float or anything finer than nine decimals, AmountOutOfRange beyond 64 bits.
    """

    __slots__ = ()
    places = 9
    what = "credits"

    @property
    def nanocredits(self) -> int:
        """The amount as the ledger counts it."""
        return self.units

    @property
    def usd(self) -> Usd:
        """What the credits are worth in dollars of list cost: one cent each."""
        return Usd.of_units(self.units * 10)

    @classmethod
    def from_usd(cls, cost_usd: Fraction, markup: Fraction = Fraction(1)) -> Credits:
        """Return what a rational cost is worth in credits, rounded half-even to a nanocredit."""
        return cls.of_units(nanocredits_of(cost_usd, markup))


class Usd(_Amount):
    """An amount of dollars, exact to a picodollar."""

    __slots__ = ()
    places = 12
    what = "usd"
    # Ten picodollars are a nanocredit: whatever can be held in credits can be said in dollars.
    limit = INT64_MAX * 10

    @property
    def picousd(self) -> int:
        """The amount as the ledger counts it."""
        return self.units

    @classmethod
    def from_rational(cls, cost_usd: Fraction) -> Usd:
        """Return a rational cost in dollars, rounded half-even to a picodollar."""
        return cls.of_units(picousd_of(cost_usd))
