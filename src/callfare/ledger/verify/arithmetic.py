"""The arithmetic of a charge, done again from its stored lines: quantity × rate / per, and × markup for credits.

Shares the one rounding with pricing and nothing else, so that a mistake there shows here. Whatever stands in a row may
have been tampered with: text that is no number, or far too long a one, is wrong and never an error.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

import msgspec

from callfare.errors import InvalidQuantity
from callfare.money import CREDITS_PER_USD, NANOCREDITS_PER_CREDIT, PICOUSD_PER_USD, divide_half_even
from callfare.usage.quantities import leaves

Number: TypeAlias = int | Fraction
Worth: TypeAlias = tuple[int, int]

_NUMBER = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:E[+-]?[0-9]{1,2}|/[0-9]{1,40})?", re.ASCII)
_SHARE = re.compile(r"((?:-|\+)[0-9]{1,3}(?:\.[0-9]{1,6})?)%", re.ASCII)
_WHOLE_DIGITS_MAX = 30


class Wrong(Exception):
    """What is wrong with a stored charge."""


class _StoredLine(msgspec.Struct, frozen=True, gc=False):
    meter: str
    quantity: str | int
    rate: str | int | None
    per: str | int
    rate_meter: str
    attributes: dict[str, str]
    picousd: str | int
    nanocredits: str | int
    billed: bool
    list_rate: str | int | None = None
    adjustment: str = ""
    minimum: str | int | None = None


_lines = msgspec.json.Decoder(list[_StoredLine]).decode
_usage = msgspec.json.Decoder(dict[str, str]).decode


def number(text: str | int) -> Number:
    """Return a stored number: whole, decimal or a fraction.

    Raises Wrong for anything else.
    """
    if isinstance(text, int):
        return text
    return int(text) if text.isdigit() and text.isascii() and len(text) <= _WHOLE_DIGITS_MAX else _rational(text)


@lru_cache(maxsize=4096)
def _rational(text: str) -> Number:
    if not _NUMBER.fullmatch(text):
        raise Wrong(f"{text[:40]!r} is no number")
    try:
        rational = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise Wrong(f"{text[:40]!r} is no number") from None
    return rational.numerator if rational.denominator == 1 else rational


def quantities(text: str) -> dict[str, Number]:
    """Return stored usage, meter → quantity.

    Raises Wrong when it is not such JSON.
    """
    try:
        usage = _usage(text)
    except msgspec.MsgspecError:
        raise Wrong("it is not JSON of meters and quantities") from None
    return {meter: number(quantity) for meter, quantity in usage.items()}


@lru_cache(maxsize=4096)
def _worth(rate: str | int, per: str | int, markup: str) -> tuple[Worth, Worth]:
    """Return what one of a meter is worth in picodollars and in nanocredits, as numerators and denominators."""
    whole = number(per)
    if not isinstance(whole, int) or whole <= 0:
        raise Wrong(f"per is {per}")
    usd = Fraction(number(rate)) / whole
    cost, credit = usd * PICOUSD_PER_USD, usd * CREDITS_PER_USD * NANOCREDITS_PER_CREDIT * Fraction(number(markup))
    return (cost.numerator, cost.denominator), (credit.numerator, credit.denominator)


def _times(quantity: Number, worth: Worth) -> int:
    numerator, denominator = quantity.numerator * worth[0], quantity.denominator * worth[1]
    return numerator if denominator == 1 else divide_half_even(numerator, denominator)


def _check_adjustment(line: _StoredLine) -> None:
    """Refuse a rate that is not what its adjustment leaves of the listed one. Raises Wrong."""
    if line.list_rate is None and not line.adjustment:
        return
    parts = _SHARE.fullmatch(line.adjustment)
    if parts is None or line.list_rate is None or line.rate is None:
        raise Wrong(f"{line.meter} is adjusted by {line.adjustment[:40]!r} from {str(line.list_rate)[:40]}")
    if number(line.rate) != Fraction(number(line.list_rate)) * (100 + Fraction(parts[1])) / 100:
        raise Wrong(f"{line.meter} costs {line.rate}, which is not {line.list_rate} and {line.adjustment}")


def rated(text: str, usage: dict[str, Number], markup: str) -> tuple[int, int]:
    """Return what stored lines come to, in picodollars and nanocredits, each line computed again.

    usage: as reported; each line must be one of its disjoint leaves.

    Raises Wrong naming the first line that is not what it says.
    """
    try:
        lines = _lines(text)
    except msgspec.MsgspecError:
        raise Wrong("they are not JSON of charge lines") from None
    if not lines:
        return 0, 0
    try:
        disjoint = leaves(usage)
    except InvalidQuantity as error:
        raise Wrong(error.message) from None
    picousd = nanocredits = 0
    for line in lines:
        quantity = number(line.quantity)
        if disjoint.get(line.meter) != quantity:
            raise Wrong(f"{line.meter} is {line.quantity}, the usage says {disjoint.get(line.meter)}")
        _check_adjustment(line)
        found = (0, 0)
        if line.billed and line.rate is not None:
            worth = _worth(line.rate, line.per, markup)
            billed = quantity if line.minimum is None else max(quantity, number(line.minimum))
            found = _times(billed, worth[0]), _times(billed, worth[1])
        if (number(line.picousd), number(line.nanocredits)) != found:
            raise Wrong(f"{line.meter} comes to {found[0]} picodollars and {found[1]} nanocredits")
        picousd += found[0]
        nanocredits += found[1]
    return picousd, nanocredits
