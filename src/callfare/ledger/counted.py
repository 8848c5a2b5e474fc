"""Units as roll-ups count them: meter → exact quantity, as JSON text. Adds and subtracts; judges nothing."""

from __future__ import annotations

from fractions import Fraction

import msgspec

Units = dict[str, int | Fraction]

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(dict[str, str]).decode


def units_of(text: str) -> Units:
    """Return units that were written as JSON, meter → quantity. Whole ones, nearly all of them, are integers."""
    return {
        meter: int(quantity) if quantity.isdecimal() else Fraction(quantity)
        for meter, quantity in _decode(text).items()
    }


def units_text(units: Units) -> str:
    """Return units as JSON with sorted meters and exact quantities, without the meters that are zero."""
    return _encode({meter: str(quantity) for meter, quantity in units.items() if quantity}).decode()


def add_to(units: Units, more: Units) -> None:
    """Add units to others in place."""
    for meter, quantity in more.items():
        units[meter] = units.get(meter, 0) + quantity


def difference(now: str, before: str) -> str:
    """Return what must be added to `before` to count `now`."""
    units = units_of(now)
    for meter, quantity in units_of(before).items():
        units[meter] = units.get(meter, 0) - quantity
    return units_text(units)
