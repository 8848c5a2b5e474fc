"""Quantities of usage: checked, split into disjoint leaves, and written as exact text.

A quantity is an int or a Fraction, never negative, at most 10^12. Nothing here is money. Refuses booleans, floats
for all but seconds and dollars, what is not finite, meters that are not in meters.toml, and parts above their whole.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from callfare.errors import InvalidInput, InvalidQuantity, UnknownMeter
from callfare.usage.meters import ATTRIBUTES, LINEAGE, METERS

Quantity = int | Fraction
"""How much of a meter was used: exact, never negative."""

QUANTITY_MAX = 10**12
_ORDER = {name: place for place, name in enumerate(METERS)}
_KEEP_ZERO = frozenset(name for name, meter in METERS.items() if meter.keeps_zero)
_DECIMALS_MAX = 30
_DENOMINATOR_MAX = 10**_DECIMALS_MAX
_NAME_LENGTH_MAX = 64
_VALUE_LENGTH_MAX = 128
_TEXT = re.compile(r"-?(?:[0-9]{1,13}(?:\.[0-9]{1,30})?|[0-9]{1,43}/([0-9]{1,31}))", re.ASCII)


def check_usage(raw: Mapping[str, object]) -> dict[str, Quantity]:
    """Return usage as exact quantities in the order of meters.toml, without zeros that say nothing.

    raw: meter → int, Decimal, Fraction or decimal text. A float is taken for seconds only, as exactly the decimal
    that the provider wrote. When everything is zero, the zeros are kept: a call may use nothing.

    Raises UnknownMeter, and InvalidQuantity for what is empty, negative, not finite, boolean or above 10^12.
    """
    if type(raw) is not dict and not isinstance(raw, Mapping):
        raise InvalidQuantity(f"usage is {_kind(raw)}; give a mapping of meter to quantity", param="usage")
    if not raw:
        raise InvalidQuantity("usage is empty; name at least one meter, such as input_tokens", param="usage")
    for name in raw:
        if name not in METERS:
            raise _unknown_meter(name)
    names = sorted(raw, key=_ORDER.__getitem__) if len(raw) > 1 else raw
    usage: dict[str, Quantity] = {}
    for name in names:
        value = raw[name]
        # Nearly every quantity is a whole number of a believable size.
        usage[name] = value if type(value) is int and 0 <= value <= QUANTITY_MAX else _quantity_of(value, name)
    if 0 not in usage.values():
        return usage
    return _without_zeros(usage)


def check_attributes(raw: Mapping[str, object], *, also: Collection[str] = ()) -> dict[str, str]:
    """Return attributes of a call as clean text, in the order given.

    also: names that are known beside those of meters.toml, such as the ones a price book selects by.

    Raises InvalidInput for an unknown name, and for a value that is not text of 1 to 128 printable characters.
    """
    if type(raw) is not dict and not isinstance(raw, Mapping):
        raise InvalidInput(f"attributes are {_kind(raw)}; give a mapping of name to text", param="attributes")
    attributes: dict[str, str] = {}
    for name, value in raw.items():
        if name not in ATTRIBUTES and name not in also:
            known = [*ATTRIBUTES, *also]
            raise InvalidInput(f"there is no attribute {_shown(name)}{_suggestion(name, known)}", param="attributes")
        if not isinstance(value, str) or not 0 < len(value) <= _VALUE_LENGTH_MAX or not value.isprintable():
            raise InvalidInput(f"attribute {name} is {_shown(value)}; give 1 to 128 printable characters", param=name)
        attributes[str.__str__(name)] = str.__str__(value)
    return attributes


def leaves(usage: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """Return disjoint quantities whose sum is what was reported: a parent keeps what its children leave of it.

    A part counts against the nearest whole that was reported; one whose wholes were not reported stands alone.
    A remainder of zero is left out, unless everything is zero.

    Raises InvalidQuantity when the parts of a meter exceed it, naming both numbers.
    """
    disjoint: dict[str, Quantity] = {}
    for name, parts in _shape(tuple(usage)):
        quantity = usage[name]
        if parts:
            taken = usage[parts[0]] if len(parts) == 1 else sum([usage[part] for part in parts])
            if taken > quantity:
                numbers = f"{quantity_text(taken)}, above {name}, which includes it and is {quantity_text(quantity)}"
                raise InvalidQuantity(f"{' + '.join(parts)} is {numbers}", param=name)
            quantity -= taken
        disjoint[name] = quantity
    if 0 in disjoint.values():
        return _without_zeros(disjoint)
    return disjoint


def _without_zeros(usage: dict[str, Quantity]) -> dict[str, Quantity]:
    """Return what was used, and what says something although it is zero; all of it where nothing is left."""
    return {name: quantity for name, quantity in usage.items() if quantity or name in _KEEP_ZERO} or usage


def quantity_text(quantity: Quantity) -> str:
    """Return a quantity as exact text: "1200", "8.47", or "1/3" where no decimal of thirty places is exact."""
    numerator, denominator = quantity.numerator, quantity.denominator
    if denominator == 1:
        return str(numerator)
    places = 0
    for prime in (2, 5):
        power = 0
        while denominator % prime == 0:
            denominator //= prime
            power += 1
        places = max(places, power)
    if denominator != 1 or places > _DECIMALS_MAX:
        return f"{numerator}/{quantity.denominator}"
    digits = str(numerator * 10**places // quantity.denominator).zfill(places + 1)
    return f"{digits[:-places]}.{digits[-places:]}"


def parse_quantity(text: str) -> Quantity:
    """Return the quantity that `quantity_text` wrote: an int when it is whole, a Fraction otherwise.

    Raises InvalidQuantity for any other text, and for what is negative or above 10^12.
    """
    return _within(_rational_of_text(text), text, "quantity")


@lru_cache(maxsize=1024)
def _shape(names: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return each reported meter, in the order of meters.toml, with the reported parts to take from it."""
    parts: dict[str, list[str]] = {name: [] for name in METERS if name in names}
    for name in parts:
        whole = next((ancestor for ancestor in LINEAGE[name][1:] if ancestor in parts), None)
        if whole is not None:
            parts[whole].append(name)
    return tuple((name, tuple(below)) for name, below in parts.items())


def _quantity_of(value: object, meter: str) -> Quantity:
    if type(value) is int and 0 <= value <= QUANTITY_MAX:
        return value
    quantity = _within(_rational_of(value, meter), value, meter)
    if METERS[meter].is_whole and quantity.denominator != 1:
        raise InvalidQuantity(f"{meter} is {_shown(value)}; give a whole number", param=meter)
    return quantity


def _rational_of(value: object, meter: str) -> Fraction | None:
    """Return a number as a rational, or None when it is not finite or has too many digits to be a quantity."""
    if isinstance(value, str):
        return _rational_of_text(value)
    if isinstance(value, Decimal):
        return _rational_of_decimal(value)
    if isinstance(value, float) and not METERS[meter].is_whole:
        # repr gives back the shortest decimal, which is what the provider's JSON said.
        return _rational_of_decimal(Decimal(float.__repr__(value)))
    if isinstance(value, int | Fraction) and not isinstance(value, bool):
        return Fraction(value)
    raise InvalidQuantity(f"{meter} is {_kind(value)}; give an int, a Decimal or a decimal string", param=meter)


def _rational_of_text(text: str) -> Fraction | None:
    match = _TEXT.fullmatch(text)
    if match is None or (match[1] is not None and not int(match[1])):
        return None
    return Fraction(text)


def _rational_of_decimal(decimal: Decimal) -> Fraction | None:
    exponent = decimal.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_DECIMALS_MAX or decimal.adjusted() > _DECIMALS_MAX:
        return None
    return Fraction(decimal)


def _within(rational: Fraction | None, value: object, meter: str) -> Quantity:
    """Return a rational as a quantity, a whole one as int."""
    if rational is None:
        raise InvalidQuantity(
            f"{meter} is {_shown(value)}; give a number up to 10^12, of at most thirty decimals", param=meter
        )
    if rational < 0:
        raise InvalidQuantity(f"{meter} is {_shown(value)}; a quantity is never negative", param=meter)
    if rational > QUANTITY_MAX:
        raise InvalidQuantity(f"{meter} is {_shown(value)}, above the largest quantity, 10^12", param=meter)
    if rational.denominator > _DENOMINATOR_MAX:
        raise InvalidQuantity(f"{meter} is {_shown(value)}, finer than thirty decimal places", param=meter)
    return rational.numerator if rational.denominator == 1 else rational


def _unknown_meter(name: object) -> UnknownMeter:
    return UnknownMeter(f"there is no meter {_shown(name)}{_suggestion(name, METERS)}", param="usage")


# What providers call these, where spelling would lead to another meter with another price.
_ELSEWHERE = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "total_tokens": "input_tokens and output_tokens",
    "cached_tokens": "cached_input_tokens",
    "cache_read_input_tokens": "cached_input_tokens",
    "cache_creation_input_tokens": "cache_write_input_tokens",
    "seconds": "audio_seconds or video_seconds",
    "duration": "audio_seconds or video_seconds",
    "minutes": "audio_seconds",
}


def _suggestion(name: object, known: Collection[str]) -> str:
    """Return the next step after an unknown name: the nearest known one, or where to read all of them."""
    if isinstance(name, str) and name.lower() in _ELSEWHERE and known is METERS:
        return f"; it is {_ELSEWHERE[name.lower()]} here"
    if isinstance(name, str) and len(name) <= _NAME_LENGTH_MAX:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        if near:
            return f"; did you mean {near[0]}?"
    return "; docs/reference/meters.md lists them"


def _shown(value: object) -> str:
    """Return a value as short, printable text, whatever it is."""
    if isinstance(value, str):
        text = ascii(value[:_NAME_LENGTH_MAX])
    elif isinstance(value, int | Fraction) and max(abs(value.numerator), value.denominator) > _DENOMINATOR_MAX:
        return "a number of more than thirty digits"
    elif isinstance(value, int | float | Decimal | Fraction):
        text = str(value)
    else:
        return _kind(value)
    return text if len(text) <= _NAME_LENGTH_MAX else text[: _NAME_LENGTH_MAX - 1] + "…"


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"
