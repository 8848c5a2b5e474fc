"""Units as roll-ups count them: meter → exact quantity, as JSON. Adds and subtracts; judges nothing."""

from __future__ import annotations

from fractions import Fraction

import msgspec

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(dict[str, str]).decode


def units_of(text: str) -> dict[str, Fraction]:
    """Return units that were written as JSON, meter → quantity."""
    return {meter: Fraction(quantity) for meter, quantity in _decode(text).items()}


def units_text(units: dict[str, Fraction]) -> str:
    """Return units as JSON with sorted meters and exact quantities, without the meters that are zero."""
    return _encode({meter: str(quantity) for meter, quantity in units.items() if quantity}).decode()


def add_units(one: str, other: str) -> str:
    """Return the sum of two sets of units."""
    units = units_of(one)
    for meter, quantity in units_of(other).items():
        units[meter] = units.get(meter, Fraction(0)) + quantity
    return units_text(units)


def difference(now: str, before: str) -> str:
    """Return what must be added to `before` to count `now`."""
    units = units_of(now)
    for meter, quantity in units_of(before).items():
        units[meter] = units.get(meter, Fraction(0)) - quantity
    return units_text(units)
