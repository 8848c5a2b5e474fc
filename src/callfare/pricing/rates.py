"""What a price book says: rates, the models they are of, and the rates of a model that are in force together.

Values and nothing else: layer.py finds them, rating.py applies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

ORDINARY_TIERS = ("auto", "default", "on_demand", "standard", "standard_only")
"""The tiers that serve a call as usual; each is some provider's word for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Dollars for so many of a meter, where all the attributes are reported.

    from_us, until_us: the first instant at which it holds and the first at which it no longer does; None for no bound.
    above: the input tokens of a call beyond which all of it costs this, and no less far rate; None for any size.
    daily: the second of the UTC day from which it holds and that from which it does not; None for the whole day.
    minimum: the least of the meter that a call is billed for; None where it is billed for what it used.
    list_usd, adjustment: what is listed, and the share that was taken off or added; None and empty for a list price.
    """

    meter: str
    usd: Decimal
    per: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    from_us: int | None = None
    until_us: int | None = None
    above: int | None = None
    daily: tuple[int, int] | None = None
    list_usd: Decimal | None = None
    adjustment: str = ""
    minimum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """A share that a provider takes off all that it lists in the layers below, or adds to it, and where that is said.

    percent: of the list price; below zero for a discount. from_us, until_us: as a rate has them.
    """

    provider: str
    percent: Decimal
    source: str
    checked: date
    from_us: int | None = None
    until_us: int | None = None

    @property
    def text(self) -> str:
        """How it is told: -15% or +10%."""
        # Without arithmetic, which the context of the thread that reads a book would round.
        share = format(self.percent.copy_abs(), "f")
        share = share.rstrip("0").rstrip(".") if "." in share else share
        return f"{'-' if self.percent < 0 else '+'}{share}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrices:
    """All rates of one model in one layer, past and present, and the page they were read from.

    basis: the meters it bills; what is reported besides is kept as information.
    otherwise: what it is billed by instead when nothing of its basis was reported, the first of which something was.
    derived: attribute → the attribute it is read from when it is not reported, and the values that correspond.
    ordinary: attribute → the values that select nothing; with any other value a call needs a rate of that value.
    names: other names of the model. patterns: regular expressions for further ones, in lower case.
    """

    provider: str
    model: str
    basis: tuple[str, ...]
    rates: tuple[Rate, ...]
    source: str
    checked: date
    derived: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    ordinary: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    otherwise: tuple[tuple[str, ...], ...] = ()
    names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """The rates of a model that are in force together, from one instant until another.

    billed_meters: all below the basis. instead: the same for what it is billed by otherwise.
    thresholds: the counts of input tokens beyond which other rates hold, rising.
    """

    provider: str
    model: str
    basis: tuple[str, ...]
    otherwise: tuple[tuple[str, ...], ...]
    rates: tuple[Rate, ...]
    from_us: int | None
    until_us: int | None
    source: str
    checked: date
    layer: str
    edition: str
    derived: Mapping[str, tuple[str, Mapping[str, str]]]
    ordinary: Mapping[str, tuple[str, ...]]
    attribute_names: tuple[str, ...]
    billed_meters: frozenset[str]
    instead: tuple[frozenset[str], ...]
    thresholds: tuple[int, ...]
