"""What every model costs, in a line each: the ordinary rates of the meters it is billed by. Reads and no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from callfare.clock import moment_of
from callfare.engine.price_review import listed
from callfare.pricing.book import PriceBook
from callfare.pricing.rates import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRate:
    """What a meter costs: usd to most_usd for `per`, where size, quality or place decide; the same where none does."""

    meter: str
    usd: Decimal
    most_usd: Decimal
    per: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedModel:
    """A model that some layer has prices of, and its ordinary rates. decides: no layer above names it too.

    ended: when the last of its rates ended, None while one holds.
    """

    provider: str
    model: str
    layer: str
    decides: bool
    rates: tuple[ListedRate, ...]
    ended: datetime | None


def priced(book: PriceBook, text: str, provider: str | None, at_us: int) -> list[PricedModel]:
    """Return the models whose name holds a text, with what they cost at an instant, or cost last."""
    found = []
    for row in listed(book, text, provider):
        # Two books may have one name.
        named = (book.timelines(layer, row.model, row.provider) for layer in book.layers if layer.name == row.layer)
        (timeline,) = next(filter(None, named)).values()
        ended_us = timeline.ended_us(at_us)
        entry = timeline.at(at_us if ended_us is None else ended_us - 1)
        found.append(
            PricedModel(
                provider=row.provider,
                model=row.model,
                layer=row.layer,
                decides=row.decides,
                rates=() if entry is None else tuple(_rates_of(entry)),
                ended=None if ended_us is None else moment_of(ended_us),
            )
        )
    return found


def _rates_of(entry: Entry) -> Iterator[ListedRate]:
    """Yield what each meter of an entry's bases costs in calls of any size and of the ordinary tier."""
    for meter in dict.fromkeys(meter for basis in (entry.basis, *entry.otherwise) for meter in basis):
        rows = [
            row
            for row in entry.rates
            if row.meter == meter and row.above is None and not row.attributes.keys() & entry.ordinary.keys()
        ]
        rows = [row for row in rows if not row.attributes] or rows
        if rows:
            worth = sorted((Fraction(row.usd) / row.per, row.per, row.usd) for row in rows if row.per == rows[0].per)
            yield ListedRate(meter=meter, usd=worth[0][2], most_usd=worth[-1][2], per=rows[0].per)
