"""The entries of one model, one after another: its rates, cut wherever one begins or ends, by date and by hour."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from callfare.pricing.rates import Entry, ModelPrices, Rate
from callfare.usage.meters import LINEAGE

DAY_S = 24 * 3600
_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Day:
    """The entries of one day, one after another, where rates depend on the hour."""

    starts_s: tuple[int, ...]
    entries: tuple[Entry | None, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The entries of one model. An entry is None while no rate is in force."""

    starts_us: tuple[int, ...]
    entries: tuple[Entry | Day | None, ...]

    def at(self, at_us: int) -> Entry | None:
        """Return what is in force at an instant, or None."""
        found = self.entries[bisect_right(self.starts_us, at_us)]
        if type(found) is Day:
            return found.entries[bisect_right(found.starts_s, at_us // _US % DAY_S)]
        return found  # type: ignore[return-value]  # what is no day is an entry or none

    def standing_at(self, at_us: int | None) -> Entry | Day | None:
        """Return what stands at an instant, all hours of a day together. at_us: None for the beginning of time."""
        return self.entries[0 if at_us is None else bisect_right(self.starts_us, at_us)]

    def of_day(self, at_us: int) -> tuple[Entry, ...]:
        """Return what is in force at some hour of the UTC day of an instant, one entry where hours do not differ."""
        found = self.entries[bisect_right(self.starts_us, at_us)]
        entries = found.entries if type(found) is Day else (found,)
        return tuple(entry for entry in entries if isinstance(entry, Entry))

    def ended_us(self, at_us: int) -> int | None:
        """Return when the last rate before an instant ended, or None where one holds then or none ever did."""
        place = bisect_right(self.starts_us, at_us)
        if self.entries[place] is not None:
            return None
        return next((self.starts_us[n] for n in reversed(range(place)) if self.entries[n] is not None), None)


def timeline_of(prices: ModelPrices, *, layer: str, edition: str) -> Timeline:
    """Return the entries of a model, cut wherever a rate begins or ends."""
    bounds = {bound for rate in prices.rates for bound in (rate.from_us, rate.until_us) if bound is not None}
    starts_us = tuple(sorted(bounds))
    entries = []
    for (from_us, until_us), rates in zip(
        pairwise((None, *starts_us, None)), _holding(prices.rates, starts_us), strict=True
    ):
        stretch = _Stretch(prices, layer, edition, from_us, until_us)
        entries.append(stretch.day_of(rates) if any(rate.daily for rate in rates) else stretch.entry_of(rates))
    return Timeline(starts_us, tuple(entries))


def attribute_names(prices: ModelPrices, rates: Iterable[Rate]) -> tuple[str, ...]:
    """Return the attributes that decide among rates of a model, with those they are derived from, sorted."""
    names = {name for rate in rates for name in rate.attributes} | set(prices.ordinary)
    return tuple(sorted(names | {prices.derived[name][0] for name in names if name in prices.derived}))


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A stretch of time that no bound of a rate divides."""

    prices: ModelPrices
    layer: str
    edition: str
    from_us: int | None
    until_us: int | None

    def day_of(self, rates: tuple[Rate, ...]) -> Day:
        """Return the entries of a day, one for each part of it that no rate divides."""
        bounds = {bound for rate in rates if rate.daily for bound in rate.daily if bound % DAY_S}
        starts_s = tuple(sorted(bounds))
        entries = [
            self.entry_of(tuple(rate for rate in rates if holds_at(rate.daily, second))) for second in (0, *starts_s)
        ]
        return Day(starts_s, tuple(entries))

    def entry_of(self, rates: tuple[Rate, ...]) -> Entry | None:
        """Return the entry of rates that are in force together, None when there is no rate."""
        if not rates:
            return None
        prices = self.prices
        return Entry(
            provider=prices.provider,
            model=prices.model,
            basis=prices.basis,
            otherwise=prices.otherwise,
            rates=rates,
            from_us=self.from_us,
            until_us=self.until_us,
            source=prices.source,
            checked=prices.checked,
            layer=self.layer,
            edition=self.edition,
            derived=prices.derived,
            ordinary=prices.ordinary,
            attribute_names=attribute_names(prices, rates),
            billed_meters=_below(prices.basis),
            instead=tuple(_below(basis) for basis in prices.otherwise),
            thresholds=tuple(sorted({rate.above for rate in rates if rate.above is not None})),
        )


def _below(basis: tuple[str, ...]) -> frozenset[str]:
    """Return all the meters that a basis bills: its own and their parts."""
    return frozenset(meter for meter, lineage in LINEAGE.items() if not set(lineage).isdisjoint(basis))


def _holding(rates: Sequence[Rate], starts_us: Sequence[int]) -> Iterator[tuple[Rate, ...]]:
    """Yield the rates that hold before the first bound and after each, in their order.

    Each rate is taken in once and let go once: a model may have thousands, one after another.
    """
    holding = {number: rate for number, rate in enumerate(rates) if rate.from_us is None}
    beginning, ending = _by_bound(rates, "from_us"), _by_bound(rates, "until_us")
    yield tuple(holding.values())
    for start_us in starts_us:
        for number in ending.get(start_us, ()):
            del holding[number]
        holding |= {number: rates[number] for number in beginning.get(start_us, ())}
        yield tuple(holding[number] for number in sorted(holding))


def _by_bound(rates: Sequence[Rate], bound: Literal["from_us", "until_us"]) -> dict[int | None, list[int]]:
    found: dict[int | None, list[int]] = {}
    for number, rate in enumerate(rates):
        found.setdefault(getattr(rate, bound), []).append(number)
    return found


def holds_at(hours: tuple[int, int] | None, second: int) -> bool:
    """Tell whether hours hold a second of the UTC day. Those that end before they begin pass midnight."""
    if hours is None:
        return True
    begin, end = hours
    return begin <= second < end if begin < end else second >= begin or second < end
