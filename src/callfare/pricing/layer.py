"""Layers: the prices of one source, found by the name of a model, and of its provider where it is known.

A name is compared without case: as it is given, then with its date in the other form, then as the family of a dated
snapshot, then with the tag `latest` or without it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cached_property

from callfare.pricing.rates import Adjustment, ModelPrices, Rate
from callfare.pricing.timeline import Timeline, attribute_names, timeline_of
from callfare.usage.quantities import quantity_text

_SNAPSHOT = re.compile(r"(.+)-(20\d\d)(-?)(0[1-9]|1[0-2])\3(0[1-9]|[12]\d|3[01])", re.ASCII | re.DOTALL)
_EDITION_DIGITS = 8
# The tag of a model whose name tells none, where names have tags, as on servers of one's own.
_LATEST = ":latest"
ANY_MODEL = "*"
"""The name of prices that hold for whatever model of a provider has none of its own in the same layer."""


class Layer:
    """The prices of one source, under a name and an edition that changes whenever a price does."""

    def __init__(self, name: str, models: Iterable[ModelPrices], adjustments: Iterable[Adjustment] = ()) -> None:
        self.name = name
        self.models = tuple(models)
        self.adjustments = tuple(adjustments)
        self.edition = edition_of(name, self.models, self.adjustments)
        self._by_name: dict[str, dict[str, ModelPrices]] = {}
        for prices in self.models:
            for own_name in (prices.model, *prices.names):
                self._by_name.setdefault(own_name.casefold(), {})[prices.provider.casefold()] = prices
        self._timelines: dict[int, Timeline] = {}

    @cached_property
    def attribute_names(self) -> frozenset[str]:
        """The attributes that some rate depends on, or that one is derived from."""
        return frozenset(name for prices in self.models for name in attribute_names(prices, prices.rates))

    @property
    def resellers(self) -> frozenset[str]:
        """The providers that sell others' models at those others' prices."""
        return frozenset()

    @property
    def size(self) -> int:
        """How many models it has prices of."""
        return len(self.models)

    @property
    def names(self) -> Iterable[tuple[str, str]]:
        """The provider and the name of each model."""
        return ((prices.provider, prices.model) for prices in self.models)

    def sold_as(self, provider: str) -> frozenset[str]:
        """Return the providers, in lower case, whose models one sells: its own name, and those it sells for."""
        return frozenset({self.provider_named(provider)})

    def timelines(self, model: str, provider: str | None) -> Mapping[str, Timeline]:
        """Return what this layer knows of a model, by provider. A dated snapshot without prices has its family's."""
        return {prices.provider: self._timeline(prices) for prices in self.sellers(model, provider)}

    def sellers(self, model: str, provider: str | None) -> tuple[ModelPrices, ...]:
        """Return the prices of a model, one for each provider that may be meant."""
        forms = (*forms_of(model.casefold()), _tagged_otherwise(model.casefold()))
        by_provider = next((self._by_name[form] for form in forms if form in self._by_name), {})
        if provider is None:
            return tuple(by_provider.values())
        wanted = provider.casefold()
        found = by_provider.get(wanted) or self._by_name.get(ANY_MODEL, {}).get(wanted)
        return () if found is None else (found,)

    def provider_named(self, provider: str) -> str:
        """Return how this layer writes a provider, in lower case, whatever name it was given of those it knows."""
        return provider.casefold()

    def absence(self, model: str, provider: str | None) -> str:  # noqa: ARG002 - a layer that left something out knows it
        """Return why this layer has nothing for a model, as a phrase for people; empty where it just has not."""
        return ""

    def _timeline(self, prices: ModelPrices) -> Timeline:
        found = self._timelines.get(id(prices))
        if found is None:
            # All prices that are ever found are kept, so no other object has their identity; and of two threads that
            # make a timeline at once both get the same, which is kept.
            made = timeline_of(prices, layer=self.name, edition=self.edition)
            found = self._timelines.setdefault(id(prices), made)
        return found


def forms_of(name: str) -> tuple[str, ...]:
    """Return what a name may stand under: as it is, with its date in the other form, without its date."""
    snapshot = _SNAPSHOT.fullmatch(name)
    if snapshot is None:
        return (name,)
    family, year, dash, month, day = snapshot.groups()
    other = "" if dash else "-"
    return name, f"{family}-{year}{other}{month}{other}{day}", family


def _tagged_otherwise(name: str) -> str:
    """Return a name without the tag `latest`, or with it where it has no tag: both name the same model."""
    return name.removesuffix(_LATEST) if ":" in name else name + _LATEST


def edition_of(name: str, models: Iterable[ModelPrices], adjustments: Sequence[Adjustment] = ()) -> str:
    """Return the name of an edition: the layer's, and a short hash of all that its prices say."""
    content = sorted(_content(prices) for prices in models)
    if adjustments:
        # Where there are none, editions stay what they were before there could be any.
        content.append(["adjustments", sorted(map(_content_of_adjustment, adjustments))])
    return f"{name}+{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:_EDITION_DIGITS]}"


def _content(prices: ModelPrices) -> list[object]:
    """Return what prices say, whatever the order and spelling of their file."""
    more: list[object] = [
        sorted((name, sorted(values)) for name, values in prices.ordinary.items()),
        [sorted(basis) for basis in prices.otherwise],
        sorted(prices.names),
        list(prices.patterns),
    ]
    return [
        prices.provider,
        prices.model,
        sorted(prices.basis),
        sorted(_content_of_rate(rate) for rate in prices.rates),
        sorted((name, source, sorted(values.items())) for name, (source, values) in prices.derived.items()),
        prices.source,
        prices.checked.isoformat(),
        # What older books could not say is left out where it is not said, so that their editions stay what they were.
        *([more] if any(more) else []),
    ]


def _content_of_adjustment(one: Adjustment) -> list[str]:
    return [one.provider, one.text, one.source, one.checked.isoformat(), str(one.from_us), str(one.until_us)]


def _content_of_rate(rate: Rate) -> list[object]:
    amount = [quantity_text(Fraction(rate.usd)), str(rate.per)]
    more = [str(rate.above), str(rate.daily)] if rate.above is not None or rate.daily is not None else []
    more += [] if rate.minimum is None else [f"minimum {rate.minimum}"]
    return [rate.meter, sorted(rate.attributes.items()), str(rate.from_us), str(rate.until_us), *amount, *more]
