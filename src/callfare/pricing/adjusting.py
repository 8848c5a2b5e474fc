"""A share that a provider takes off all it lists, or adds to it: what the layers below cost while that holds. Pure.

An adjusted rate keeps its list price, so that a charge tells both. The result is exact: no amount is rounded here. What
a reply says was charged is left alone, for that is what was charged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Context, Decimal, Inexact
from itertools import pairwise

from callfare.pricing.rates import Adjustment, Entry, Rate
from callfare.pricing.timeline import Day, Timeline

_CHARGED = "billed_usd"
# Nine digits and eighteen more, times four and six more: always exact, or an error.
_EXACT = Context(prec=80, traps=[Inexact])

Placed = tuple[Adjustment, str]
"""An adjustment, and the edition of the layer that says it."""


def adjusted(timeline: Timeline, adjustments: Sequence[Placed]) -> Timeline:
    """Return the entries of a model as adjustments leave them: at each instant the first that holds then decides."""
    bounds = {bound for one, _ in adjustments for bound in (one.from_us, one.until_us) if bound is not None} | set(
        timeline.starts_us
    )
    starts_us = tuple(sorted(bounds))
    entries = []
    for from_us, until_us in pairwise((None, *starts_us, None)):
        found = timeline.standing_at(from_us)
        holding = next((placed for placed in adjustments if _covers(placed[0], from_us)), None)
        if holding is None or not holding[0].percent:
            entries.append(found)
        elif isinstance(found, Day):
            parts = tuple(None if part is None else _entry(part, holding, from_us, until_us) for part in found.entries)
            entries.append(Day(found.starts_s, parts))
        else:
            entries.append(None if found is None else _entry(found, holding, from_us, until_us))
    return Timeline(starts_us, tuple(entries))


def net_usd(list_usd: Decimal, percent: Decimal) -> Decimal:
    """Return what is left of a list price, or what it becomes, without a digit lost."""
    net = _EXACT.divide(_EXACT.multiply(list_usd, _EXACT.add(Decimal(100), percent)), Decimal(100))
    # Without zeros at the end, and without an exponent either.
    return Decimal(format(net.normalize(_EXACT), "f"))


def _covers(adjustment: Adjustment, at_us: int | None) -> bool:
    """Tell whether an adjustment holds from a bound on. at_us: None for the beginning of time."""
    has_begun = adjustment.from_us is None or (at_us is not None and adjustment.from_us <= at_us)
    return has_begun and (adjustment.until_us is None or at_us is None or at_us < adjustment.until_us)


def _entry(entry: Entry, placed: Placed, from_us: int | None, until_us: int | None) -> Entry:
    adjustment, edition = placed
    return replace(
        entry,
        rates=tuple(_rate(rate, adjustment) for rate in entry.rates),
        from_us=from_us,
        until_us=until_us,
        # Each source with its own day.
        source=f"{entry.source}, {entry.checked}; "
        f"{adjustment.text} by {edition.partition('+')[0]}: {adjustment.source}",
        checked=adjustment.checked,
        edition=f"{entry.edition},{edition}",
    )


def _rate(rate: Rate, adjustment: Adjustment) -> Rate:
    if rate.meter == _CHARGED:
        return rate
    return replace(rate, usd=net_usd(rate.usd, adjustment.percent), list_usd=rate.usd, adjustment=adjustment.text)
