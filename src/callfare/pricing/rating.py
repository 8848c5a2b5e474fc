"""The rating of one call: usage × rates in force → lines, with their exact cost and their credits. Pure.

A line is quantity × rate / per, rational until it is rounded once, half-even, to picodollars and once, from the same
rational, to nanocredits. Totals are sums of lines. What has no rate is unpriced as a whole: no line of it is billed,
and it can be rated again under a book that knows it. Refuses to guess an attribute that would decide the price.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import gcd
from typing import Literal, NamedTuple

from msgspec import Struct

from callfare.errors import MissingAttribute
from callfare.money import (
    CREDITS_PER_USD,
    NANOCREDITS_PER_CREDIT,
    PICOUSD_PER_USD,
    divide_half_even,
    in_range,
)
from callfare.pricing.book import Entry, PriceBook, Rate
from callfare.usage.meters import LINEAGE
from callfare.usage.quantities import Quantity, leaves

Status = Literal["priced", "unpriced"]

_NO_MARKUP = Fraction(1)


class Line(Struct, frozen=True, kw_only=True):
    """One leaf of usage at one rate.

    rate: dollars for `per` of the meter; None where none was found, and then nothing of the call is billed.
    rate_meter: the meter the rate stands under: the leaf's own, or its nearest ancestor's.
    attributes: those that selected the rate.
    """

    meter: str
    quantity: Quantity
    rate: Decimal | None
    per: int
    rate_meter: str
    attributes: Mapping[str, str]
    picousd: int
    nanocredits: int
    billed: bool


class Rating(Struct, frozen=True, kw_only=True):
    """What one call costs, line by line, and under which edition of which prices.

    reason: why the call is unpriced, as a phrase for people; empty when it is priced.
    entry_model, provider: the entry that decided; empty when there is none.
    information: what was reported beside the basis, as it was reported.
    """

    status: Status
    reason: str
    model: str
    entry_model: str
    provider: str
    edition: str
    markup: Fraction
    lines: tuple[Line, ...]
    picousd: int
    nanocredits: int
    information: dict[str, Quantity]


class _Step(NamedTuple):
    """How a leaf becomes a line: its rate, and the two fractions by which its quantity is multiplied."""

    meter: str
    rate: Rate | None
    rate_meter: str
    picousd_numerator: int
    picousd_denominator: int
    nanocredits_numerator: int
    nanocredits_denominator: int


class _Plan(NamedTuple):
    """How leaves of these names are rated. A reason says why they are not; `missing`, which attribute would decide."""

    steps: tuple[_Step, ...]
    reason: str
    missing: str


class _Gap(NamedTuple):
    """Why a leaf has no rate, and the attribute that would decide, if one would."""

    reason: str
    missing: str = ""


def rate(
    book: PriceBook,
    *,
    model: str,
    usage: Mapping[str, Quantity],
    attributes: Mapping[str, str],
    at_us: int,
    markup: Fraction = _NO_MARKUP,
    provider: str | None = None,
) -> Rating:
    """Return what a call costs at an instant, or that it is unpriced, and why.

    usage: as `check_usage` returns it. attributes: those no rate depends on are ignored.
    provider: None when it is not known; then the model's name alone decides.

    Raises MissingAttribute when an attribute that decides the price is absent, InvalidQuantity when parts of a meter
    exceed it, AmountOutOfRange when the cost or the credits leave the range of the ledger.
    """
    entry = book.entry(model, provider=provider, at_us=at_us)
    if entry is None:
        return _unnamed(book, model=model, usage=usage, at_us=at_us, markup=markup, provider=provider)
    disjoint = leaves(usage)
    plan = _plan_of(entry, disjoint, attributes, markup)
    if plan.missing:
        raise MissingAttribute(plan.reason, param=plan.missing)
    return _rating(entry, plan, disjoint, model=model, usage=usage, markup=markup)


def rate_finished(
    book: PriceBook,
    *,
    model: str,
    usage: Mapping[str, Quantity],
    attributes: Mapping[str, str],
    at_us: int,
    markup: Fraction = _NO_MARKUP,
    provider: str | None = None,
) -> Rating:
    """Return what a call that was already made costs: as `rate`, but a missing attribute makes it unpriced.

    Raises InvalidQuantity and AmountOutOfRange as `rate` does.
    """
    entry = book.entry(model, provider=provider, at_us=at_us)
    if entry is None:
        return _unnamed(book, model=model, usage=usage, at_us=at_us, markup=markup, provider=provider)
    disjoint = leaves(usage)
    plan = _plan_of(entry, disjoint, attributes, markup)
    return _rating(entry, plan, disjoint, model=model, usage=usage, markup=markup)


def _plan_of(
    entry: Entry, disjoint: Mapping[str, Quantity], attributes: Mapping[str, str], markup: Fraction
) -> _Plan:
    values = tuple([attributes.get(name) for name in entry.attribute_names])
    return _plan(entry, tuple(disjoint), values, markup.numerator, markup.denominator)


def _rating(
    entry: Entry,
    plan: _Plan,
    disjoint: Mapping[str, Quantity],
    *,
    model: str,
    usage: Mapping[str, Quantity],
    markup: Fraction,
) -> Rating:
    """Return the lines of a plan with the quantities of one call, and their sums."""
    is_billed = not plan.reason
    lines = tuple([_line(step, disjoint[step.meter], is_billed=is_billed) for step in plan.steps])
    billed_meters = entry.billed_meters
    return Rating(
        status="priced" if is_billed else "unpriced",
        reason=plan.reason,
        model=model,
        entry_model=entry.model,
        provider=entry.provider,
        edition=entry.edition,
        markup=markup,
        lines=lines,
        picousd=in_range(sum([line.picousd for line in lines]), "cost"),
        nanocredits=in_range(sum([line.nanocredits for line in lines]), "credits"),
        information={name: quantity for name, quantity in usage.items() if name not in billed_meters},
    )


def _unnamed(
    book: PriceBook,
    *,
    model: str,
    usage: Mapping[str, Quantity],
    at_us: int,
    markup: Fraction,
    provider: str | None,
) -> Rating:
    """Return the rating of a call no entry is in force for: every leaf a line without a rate."""
    lines = [
        _line(_Step(meter, None, meter, 0, 1, 0, 1), quantity, is_billed=False)
        for meter, quantity in leaves(usage).items()
    ]
    return Rating(
        status="unpriced",
        reason=book.absence(model, provider=provider, at_us=at_us),
        model=model,
        entry_model="",
        provider=provider or "",
        edition=book.edition,
        markup=markup,
        lines=tuple(lines),
        picousd=0,
        nanocredits=0,
        information={},
    )


def _line(step: _Step, quantity: Quantity, *, is_billed: bool) -> Line:
    """Return a leaf at its rate, each amount rounded once from the rational."""
    found = step.rate
    picousd = nanocredits = 0
    if is_billed:
        numerator, denominator = quantity.numerator, quantity.denominator
        picousd = divide_half_even(numerator * step.picousd_numerator, denominator * step.picousd_denominator)
        nanocredits = divide_half_even(
            numerator * step.nanocredits_numerator, denominator * step.nanocredits_denominator
        )
    return Line(
        meter=step.meter,
        quantity=quantity,
        rate=None if found is None else found.usd,
        per=1 if found is None else found.per,
        rate_meter=step.rate_meter,
        attributes={} if found is None else found.attributes,
        picousd=picousd,
        nanocredits=nanocredits,
        billed=is_billed,
    )


@lru_cache(maxsize=4096)
def _plan(
    entry: Entry,
    names: tuple[str, ...],
    values: tuple[str | None, ...],
    markup_numerator: int,
    markup_denominator: int,
) -> _Plan:
    """Return how leaves of these names are rated where the entry's attributes have these values."""
    reported = _reported(entry, values)
    steps: list[_Step] = []
    gaps: list[_Gap] = []
    for name in names:
        if name not in entry.billed_meters:
            continue
        rate_meter = next((meter for meter in LINEAGE[name] if any(rate.meter == meter for rate in entry.rates)), name)
        found = _choose(entry, rate_meter, reported)
        if isinstance(found, _Gap):
            gaps.append(found)
            steps.append(_Step(name, None, rate_meter, 0, 1, 0, 1))
            continue
        cost_usd = Fraction(found.usd) / found.per
        value = cost_usd * CREDITS_PER_USD * Fraction(markup_numerator, markup_denominator)
        picousd, nanocredits = cost_usd * PICOUSD_PER_USD, value * NANOCREDITS_PER_CREDIT
        steps.append(_Step(name, found, rate_meter, *picousd.as_integer_ratio(), *nanocredits.as_integer_ratio()))
    if not steps:
        gaps.append(_Gap(f"{entry.model} is billed by {' and '.join(entry.basis)}, and none was reported"))
    # An attribute that is merely missing can be given; a gap in the book cannot, so it is what people must hear.
    gap = min(gaps, key=lambda gap: bool(gap.missing), default=_Gap(""))
    return _Plan(tuple(steps), gap.reason, gap.missing)


def _reported(entry: Entry, values: tuple[str | None, ...]) -> dict[str, str]:
    """Return the attributes that decide, in lower case, those that were not reported derived where the book says how."""
    given = {
        name: value.casefold() for name, value in zip(entry.attribute_names, values, strict=True) if value is not None
    }
    derived = {
        name: values_of.get(given[source], f"of {source} {given[source]}")
        for name, (source, values_of) in entry.derived.items()
        if source in given
    }
    return derived | given


def _choose(entry: Entry, meter: str, reported: Mapping[str, str]) -> Rate | _Gap:
    """Return the rate whose attributes were all reported, the most particular of several, or why there is none."""
    rates = [rate for rate in entry.rates if rate.meter == meter]
    if not rates:
        return _Gap(f"{entry.layer} has no rate for {meter} of {entry.model} in force at that time")
    for name in sorted({name for rate in rates for name in rate.attributes}):
        values = sorted({rate.attributes[name] for rate in rates if name in rate.attributes})
        if name in reported and reported[name] not in values:
            return _Gap(f"{entry.model} has no rate for {name} {reported[name]!r}; it has {', '.join(values)}")
    matching = [rate for rate in rates if rate.attributes.items() <= reported.items()]
    if matching:
        return max(matching, key=lambda rate: len(rate.attributes))
    possible = [rate for rate in rates if all(reported.get(name, value) == value for name, value in rate.attributes.items())]
    if not possible:
        named = " and ".join(f"{name} {value!r}" for name, value in sorted(reported.items()))
        return _Gap(f"{entry.model} has no rate for {named} together")
    absent = min(name for rate in possible for name in rate.attributes if name not in reported)
    values = sorted({rate.attributes[absent] for rate in possible if absent in rate.attributes})
    return _Gap(f"the price of {entry.model} depends on {absent}; give one of {', '.join(values)}", missing=absent)
