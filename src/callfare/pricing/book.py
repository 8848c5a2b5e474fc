"""Price books: dated rates in layers, and which of them is in force for a model at an instant.

The first layer that names a model decides, at every instant: where it has no rate in force the model is unpriced, and
no lower layer is asked, because a gap in one's own book must be seen and not filled with somebody else's price.
Books are immutable; an edition id names their content. Refuses nothing itself: load.py does.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from callfare.clock import moment_of
from callfare.usage.meters import LINEAGE
from callfare.usage.quantities import quantity_text

_SNAPSHOT = re.compile(r"(.+)-20\d\d(-?)(?:0[1-9]|1[0-2])\2(?:0[1-9]|[12]\d|3[01])", re.ASCII | re.DOTALL)
_NAME_SHOWN_MAX = 64
_REMEMBERED_MAX = 4096
_EDITION_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Dollars for so many of a meter, where all the attributes are reported.

    from_us, until_us: the first instant at which it holds and the first at which it no longer does; None for no bound.
    """

    meter: str
    usd: Decimal
    per: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    from_us: int | None = None
    until_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrices:
    """All rates of one model in one layer, past and present, and the page they were read from.

    basis: the meters it bills; what is reported besides is kept as information.
    derived: attribute → the attribute it is read from when it is not reported, and the values that correspond.
    """

    provider: str
    model: str
    basis: tuple[str, ...]
    rates: tuple[Rate, ...]
    source: str
    checked: date
    derived: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """The rates of a model that are in force together, from one instant until another."""

    provider: str
    model: str
    basis: tuple[str, ...]
    rates: tuple[Rate, ...]
    from_us: int | None
    until_us: int | None
    source: str
    checked: date
    layer: str
    edition: str
    derived: Mapping[str, tuple[str, Mapping[str, str]]]
    attribute_names: tuple[str, ...]
    billed_meters: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Timeline:
    """The entries of one model, one after another. An entry is None while no rate is in force."""

    starts_us: tuple[int, ...]
    entries: tuple[Entry | None, ...]

    def at(self, at_us: int) -> Entry | None:
        return self.entries[bisect_right(self.starts_us, at_us)]


class Layer:
    """The prices of one source, under a name and an edition that changes whenever a price does."""

    def __init__(self, name: str, models: Iterable[ModelPrices]) -> None:
        self.name = name
        self.models = tuple(models)
        self.edition = f"{name}+{_fingerprint(self.models)}"
        self._timelines: dict[str, dict[str, _Timeline]] = {}
        for prices in self.models:
            by_provider = self._timelines.setdefault(prices.model.casefold(), {})
            by_provider[prices.provider.casefold()] = _timeline_of(prices, layer=self.name, edition=self.edition)

    def timelines(self, model: str, provider: str | None) -> Mapping[str, _Timeline]:
        """Return what this layer knows of a model, by provider. A dated snapshot without prices has its family's."""
        name = model.casefold()
        by_provider = self._timelines.get(name)
        if by_provider is None and (snapshot := _SNAPSHOT.fullmatch(name)):
            by_provider = self._timelines.get(snapshot[1])
        if by_provider is None or provider is None:
            return by_provider or {}
        return {name: timeline for name, timeline in by_provider.items() if name == provider.casefold()}


class PriceBook:
    """Layers of prices, the first that names a model deciding. Immutable, and safe to share between threads.

    attribute_names: the attributes that some rate of the book depends on, or that one is derived from.
    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = tuple(layers)
        self.edition = ",".join(layer.edition for layer in self.layers)
        self.attribute_names = frozenset(
            name
            for layer in self.layers
            for prices in layer.models
            for name in _attribute_names(prices.rates, prices.derived)
        )
        self._decided: dict[tuple[str, str | None], _Timeline | None] = {}

    def entry(self, model: str, *, provider: str | None = None, at_us: int) -> Entry | None:
        """Return what is in force for a model at an instant, or None when it has no price then.

        provider: None when the caller does not know it; a model that two providers sell then has no price.
        """
        key = (model, provider)
        try:
            timeline = self._decided[key]
        except KeyError:
            timeline = self._decide(model, provider)
            if len(self._decided) >= _REMEMBERED_MAX:
                self._decided.clear()
            if len(model) <= _NAME_SHOWN_MAX:
                self._decided[key] = timeline
        return None if timeline is None else timeline.at(at_us)

    def absence(self, model: str, *, provider: str | None = None, at_us: int) -> str:
        """Return why `entry` is None, as a phrase for people."""
        shown = model if len(model) <= _NAME_SHOWN_MAX and model.isprintable() else ascii(model[:_NAME_SHOWN_MAX])
        for layer in self.layers:
            sellers = layer.timelines(model, provider)
            if len(sellers) > 1:
                return (
                    f"{layer.name} has prices of {' and '.join(sorted(sellers))} for {shown}, and no provider was named"
                )
            if sellers:
                return f"{layer.name} has no rate for {shown} in force on {moment_of(at_us):%Y-%m-%d %H:%M} UTC"
        return f"no price book names {shown}{f' of {provider}' if provider else ''}"

    def _decide(self, model: str, provider: str | None) -> _Timeline | None:
        for layer in self.layers:
            sellers = layer.timelines(model, provider)
            if sellers:
                return next(iter(sellers.values())) if len(sellers) == 1 else None
        return None


def _attribute_names(rates: Iterable[Rate], derived: Mapping[str, tuple[str, Mapping[str, str]]]) -> tuple[str, ...]:
    """Return the attributes that decide among rates, with those they are derived from, sorted."""
    names = {name for rate in rates for name in rate.attributes}
    return tuple(sorted(names | {derived[name][0] for name in names if name in derived}))


def _timeline_of(prices: ModelPrices, *, layer: str, edition: str) -> _Timeline:
    """Return the entries of a model, cut wherever a rate begins or ends."""
    bounds = {bound for rate in prices.rates for bound in (rate.from_us, rate.until_us) if bound is not None}
    starts_us = tuple(sorted(bounds))
    billed = frozenset(meter for meter, lineage in LINEAGE.items() if not set(lineage).isdisjoint(prices.basis))
    entries: list[Entry | None] = []
    for from_us, until_us in pairwise((None, *starts_us, None)):
        rates = tuple(rate for rate in prices.rates if _covers(rate, from_us, until_us))
        entry = Entry(
            provider=prices.provider,
            model=prices.model,
            basis=prices.basis,
            rates=rates,
            from_us=from_us,
            until_us=until_us,
            source=prices.source,
            checked=prices.checked,
            layer=layer,
            edition=edition,
            derived=prices.derived,
            attribute_names=_attribute_names(rates, prices.derived),
            billed_meters=billed,
        )
        entries.append(entry if rates else None)
    return _Timeline(starts_us, tuple(entries))


def _covers(rate: Rate, from_us: int | None, until_us: int | None) -> bool:
    """Tell whether a rate holds all through a stretch of time that no rate's bound divides."""
    begins_in_time = rate.from_us is None or (from_us is not None and rate.from_us <= from_us)
    ends_in_time = rate.until_us is None or (until_us is not None and until_us <= rate.until_us)
    return begins_in_time and ends_in_time


def _fingerprint(models: Iterable[ModelPrices]) -> str:
    """Return a short hash of everything the prices say, whatever the order and spelling of their file."""
    content = sorted(
        [
            prices.provider,
            prices.model,
            sorted(prices.basis),
            sorted(_content(rate) for rate in prices.rates),
            sorted((name, source, sorted(values.items())) for name, (source, values) in prices.derived.items()),
            prices.source,
            prices.checked.isoformat(),
        ]
        for prices in models
    )
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:_EDITION_DIGITS]


def _content(rate: Rate) -> list[object]:
    amount = [quantity_text(Fraction(rate.usd)), str(rate.per)]
    return [rate.meter, sorted(rate.attributes.items()), str(rate.from_us), str(rate.until_us), *amount]
