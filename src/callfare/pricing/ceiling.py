"""What a call may cost at the most, from what its request fixes: the dearest rate where the deciding attribute is open.

For holds before a call, never for charges after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from callfare.errors import MissingAttribute
from callfare.money import in_range, nanocredits_of
from callfare.pricing.book import PriceBook
from callfare.pricing.rates import Entry, Rate
from callfare.pricing.rating import Rating, nanocredits_at, rate
from callfare.usage.meters import LINEAGE
from callfare.usage.quantities import Quantity, leaves

_NO_MARKUP = Fraction(1)
_INPUT = frozenset(name for name, lineage in LINEAGE.items() if lineage[-1] == "input_tokens")


def ceiling(
    book: PriceBook,
    *,
    model: str,
    usage: Mapping[str, Quantity],
    attributes: Mapping[str, str],
    at_us: int,
    markup: Fraction = _NO_MARKUP,
    provider: str | None = None,
) -> tuple[int, str]:
    """Return the nanocredits a call may cost at the most, and why it has no price; one of the two is empty.

    A request that fixes nothing of what its model is billed by costs 0 here.
    """
    entry = book.entry(model, provider=provider, at_us=at_us)
    if entry is None:
        return 0, book.absence(model, provider=provider, at_us=at_us)
    fixed = next((fixed for basis in (entry.billed_meters, *entry.instead) if (fixed := _within(usage, basis))), {})
    if not fixed:
        return 0, ""
    try:
        nanocredits, reason = nanocredits_at(entry, fixed, attributes, markup)
    except MissingAttribute:
        return _dearest(entry, fixed, markup), ""
    if not reason and entry.thresholds and _INPUT.isdisjoint(fixed):
        # How much the model will read is open, so the call may pass every threshold.
        rating = rate(
            book, model=model, usage=fixed, attributes=attributes, at_us=at_us, markup=markup, provider=provider
        )
        return max(nanocredits, _at_any_size(entry, rating)), ""
    return nanocredits, reason


def _within(usage: Mapping[str, Quantity], meters: frozenset[str]) -> dict[str, Quantity]:
    return {meter: quantity for meter, quantity in usage.items() if meter in meters}


def _at_any_size(entry: Entry, rating: Rating) -> int:
    """Return the nanocredits of the same lines at the dearest rates that sizes tell apart."""
    total = 0
    for line in rating.lines:
        rows = [row for row in entry.rates if row.meter == line.rate_meter and row.attributes == line.attributes]
        total += nanocredits_of(max(_cost_at(row, line.quantity) for row in rows), rating.markup)
    return in_range(total, "cost in credits", param="usage")


def _cost_at(row: Rate, quantity: Quantity) -> Fraction:
    return Fraction(row.usd) / row.per * max(quantity, row.minimum or 0)


def _dearest(entry: Entry, usage: Mapping[str, Quantity], markup: Fraction) -> int:
    cost_usd = Fraction(0)
    for meter, quantity in leaves(usage).items():
        rates = [row for row in entry.rates if row.meter in LINEAGE[meter]]
        cost_usd += max((_cost_at(row, quantity) for row in rates), default=Fraction(0))
    return in_range(nanocredits_of(cost_usd, markup), "cost in credits", param="usage")
