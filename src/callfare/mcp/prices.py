"""The rates that are in force: what a price book says of now, by model."""

from __future__ import annotations

from callfare.clock import moment_of
from callfare.engine.engine import Engine
from callfare.mcp import wire
from callfare.pricing.rates import Entry
from callfare.pricing.shipped import is_catalogue
from callfare.usage.quantities import quantity_text


def price_list(engine: Engine) -> wire.PriceBook:
    """Return the rates of an engine's price book that are in force, and the markup on them.

    The catalogue's thousands of models are left out: nobody reads them, and any of them can be asked for.
    """
    book, now_us = engine.settings.book, engine.clock.now_us()
    layers = [layer for layer in reversed(book.layers) if not is_catalogue(layer)]
    named = {prices.model.casefold(): prices.model for layer in layers for prices in layer.models}
    found = [book.entry(model, at_us=now_us) for _, model in sorted(named.items())]
    return wire.PriceBook(
        edition=book.edition,
        at=moment_of(now_us),
        markup=quantity_text(engine.settings.markup_at(now_us)),
        models=[_model(entry) for entry in found if entry is not None],
    )


def _model(entry: Entry) -> wire.ModelPrices:
    return wire.ModelPrices(
        provider=entry.provider,
        model=entry.model,
        rates=[
            wire.Rate(meter=rate.meter, usd=format(rate.usd, "f"), per=rate.per, attributes=dict(rate.attributes))
            for rate in entry.rates
        ],
        edition=entry.edition,
        source=entry.source,
        checked=entry.checked,
    )
