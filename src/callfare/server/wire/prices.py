"""Bodies about prices: the book in force, and what rating again has done."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Self

from pydantic import Field

from callfare import answers
from callfare.clock import moment_of
from callfare.pricing import layer as said_layer
from callfare.pricing import rates as said
from callfare.pricing.edition import Catalogue
from callfare.server.wire.base import Answer, Asked, CreditsText
from callfare.settings import Settings
from callfare.usage.quantities import quantity_text

DecimalText = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$", examples=["0.15"])]
FactorText = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+|/[0-9]+)?$", examples=["1"])]


class Rate(Answer):
    """Dollars for `per` of a meter, where all the attributes are reported. since, until: null for no bound.

    aboveInputTokens: the size beyond which all of a call costs this. daily: the seconds of the UTC day between which it
    holds. minimum: the least that a call is billed for.
    """

    meter: str
    usd: DecimalText
    per: int
    attributes: dict[str, str]
    since: datetime | None
    until: datetime | None
    above_input_tokens: int | None
    daily: tuple[int, int] | None
    minimum: int | None


class Derived(Answer):
    """An attribute that is read from another where it is not reported."""

    attribute: str
    source: str
    values: dict[str, str]


class ModelPrices(Answer):
    """All rates of one model, past and present, and the page they were read from. basis: the meters it bills.

    otherwise: what it is billed by when nothing of its basis was reported. ordinary: values of attributes that select
    nothing. names: other names of the model.
    """

    provider: str
    model: str
    names: list[str]
    basis: list[str]
    otherwise: list[list[str]]
    rates: list[Rate]
    derived: list[Derived]
    ordinary: dict[str, list[str]]
    source: str
    checked: date

    @classmethod
    def of(cls, prices: said.ModelPrices) -> Self:
        """Return the prices of a model as they go out."""
        return cls(
            provider=prices.provider,
            model=prices.model,
            names=list(prices.names),
            basis=list(prices.basis),
            otherwise=[list(basis) for basis in prices.otherwise],
            rates=[
                Rate(
                    meter=rate.meter,
                    usd=format(rate.usd, "f"),
                    per=rate.per,
                    attributes=dict(rate.attributes),
                    since=None if rate.from_us is None else moment_of(rate.from_us),
                    until=None if rate.until_us is None else moment_of(rate.until_us),
                    above_input_tokens=rate.above,
                    daily=rate.daily,
                    minimum=rate.minimum,
                )
                for rate in prices.rates
            ],
            derived=[
                Derived(attribute=name, source=source, values=dict(values))
                for name, (source, values) in prices.derived.items()
            ],
            ordinary={name: list(values) for name, values in prices.ordinary.items()},
            source=prices.source,
            checked=prices.checked,
        )


class Adjustment(Answer):
    """What a provider takes off all that the layers below list, below zero, or adds. since, until: as a rate's."""

    provider: str
    percent: Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$", examples=["-15"])]
    source: str
    checked: date
    since: datetime | None
    until: datetime | None

    @classmethod
    def of(cls, one: said.Adjustment) -> Self:
        """Return an adjustment as it goes out."""
        return cls(
            provider=one.provider,
            percent=format(one.percent, "f"),
            source=one.source,
            checked=one.checked,
            since=None if one.from_us is None else moment_of(one.from_us),
            until=None if one.until_us is None else moment_of(one.until_us),
        )


class Layer(Answer):
    """One price book. Of the layers the first that names a model decides. The catalogue's models are left out here.

    adjustments: of the layers below it, and none of its own models.
    """

    name: str
    edition: str
    models: list[ModelPrices]
    adjustments: list[Adjustment]

    @classmethod
    def of(cls, layer: said_layer.Layer) -> Self:
        """Return a price book as it goes out."""
        return cls(
            name=layer.name,
            edition=layer.edition,
            models=[ModelPrices.of(model) for model in layer.models],
            adjustments=[Adjustment.of(one) for one in layer.adjustments],
        )


class CatalogueText(Answer):
    """The catalogue, the last of the layers. text: its whole file; null for whoever has it already, or did not ask."""

    edition: str
    text: str | None


class Markup(Answer):
    """What list cost is multiplied by, from an instant on."""

    since: datetime
    factor: FactorText


class Prices(Answer):
    """The price book in force. requireUser: a call has to name its user."""

    edition: str
    layers: list[Layer]
    catalogue: CatalogueText | None
    markups: list[Markup]
    require_user: bool

    @classmethod
    def of(cls, settings: Settings, known: str | None = None) -> Self:
        """Return the prices of a ledger as they go out. known: the edition of the catalogue that the asker has."""
        catalogue = next((layer for layer in settings.book.layers if isinstance(layer, Catalogue)), None)
        return cls(
            edition=settings.book.edition,
            layers=[Layer.of(layer) for layer in settings.book.layers if layer is not catalogue],
            catalogue=None
            if catalogue is None
            else CatalogueText(
                edition=catalogue.edition,
                text=None if known in {None, catalogue.edition} else catalogue.text.decode(),
            ),
            markups=[
                Markup(since=moment_of(since_us), factor=quantity_text(factor)) for since_us, factor in settings.markups
            ],
            require_user=settings.require_user,
        )


class RateAgain(Asked):
    """A question without any content."""


class Repriced(Answer):
    """What rating again has done: calls that have a price now, those that still have none, and what was charged."""

    priced: int
    still_unpriced: int
    credits: CreditsText

    @classmethod
    def of(cls, repriced: answers.Repriced) -> Self:
        """Return what was done as it goes out."""
        return cls(priced=repriced.priced, still_unpriced=repriced.still_unpriced, credits=str(repriced.credits))
