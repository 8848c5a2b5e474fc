"""The rating of one call: usage × rates in force → lines, with their exact cost and their credits. Pure.

A line is quantity × rate / per, rational until it is rounded once, half-even, to picodollars and once, from the same
rational, to nanocredits. Totals are sums of lines. What has no rate is unpriced as a whole: no line of it is billed,
and it can be rated again under a book that knows it. Refuses to guess an attribute that would decide the price.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
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
from callfare.pricing.book import PriceBook
from callfare.pricing.layer import ANY_MODEL
from callfare.pricing.rates import Entry, Rate
from callfare.usage.meters import LINEAGE
from callfare.usage.quantities import Quantity, leaves

Status = Literal["priced", "unpriced"]

_NO_MARKUP = Fraction(1)
_INPUT_METERS = frozenset(name for name, lineage in LINEAGE.items() if lineage[-1] == "input_tokens")


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One leaf of usage at one rate.

    rate: dollars for `per` of the meter; None where none was found, and then nothing of the call is billed.
    rate_meter: the meter the rate stands under: the leaf's own, or its nearest ancestor's.
    attributes: those that selected the rate. list_rate, adjustment: as `Rate` has them, where it is no list price.
    minimum: what was billed in place of the quantity, where that is less.
    """

    meter: str
    quantity: Quantity
    rate: Decimal | None
    per: int
    rate_meter: str
    attributes: dict[str, str]
    picousd: int
    nanocredits: int
    billed: bool
    list_rate: Decimal | None = None
    adjustment: str = ""
    minimum: int | None = None


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
    """How a leaf becomes a line: its rate, and what one of its meter is worth, as numerators and denominators."""

    meter: str
    rate_meter: str
    usd: Decimal | None
    per: int
    attributes: dict[str, str]
    picousd: tuple[int, int]
    nanocredits: tuple[int, int]
    list_usd: Decimal | None = None
    adjustment: str = ""
    minimum: int | None = None


class _Plan(NamedTuple):
    """How leaves of these names are rated. A reason says why they are not; `missing`, which attribute would decide.

    billed_meters: all below the basis, or below what stands in for it.
    """

    steps: tuple[_Step, ...]
    billed_meters: frozenset[str]
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


def nanocredits_at(
    entry: Entry, usage: Mapping[str, Quantity], attributes: Mapping[str, str], markup: Fraction
) -> tuple[int, str]:
    """Return what `rate` would charge for a call under an entry, and why it is unpriced; one of the two is empty.

    Raises as `rate` does.
    """
    disjoint = leaves(usage)
    plan = _plan_of(entry, disjoint, attributes, markup)
    if plan.missing:
        raise MissingAttribute(plan.reason, param=plan.missing)
    if plan.reason:
        return 0, plan.reason
    nanocredits = sum([_times(max(disjoint[step.meter], step.minimum or 0), step.nanocredits) for step in plan.steps])
    return in_range(nanocredits, "cost in credits", param="usage"), ""


def _plan_of(entry: Entry, disjoint: Mapping[str, Quantity], attributes: Mapping[str, str], markup: Fraction) -> _Plan:
    values = tuple(map(attributes.get, entry.attribute_names))
    band = 0
    if entry.thresholds:
        read = sum([quantity for name, quantity in disjoint.items() if name in _INPUT_METERS])
        band = bisect_left(entry.thresholds, read)
    return _plan(entry, tuple(disjoint), values, band, markup.as_integer_ratio())


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
    steps, billed_meters, reason, _ = plan
    lines: list[Line] = []
    picousd = nanocredits = 0
    for step in steps:
        line = _line(step, disjoint[step.meter], is_billed=not reason)
        picousd += line.picousd
        nanocredits += line.nanocredits
        lines.append(line)
    return Rating(
        status="unpriced" if reason else "priced",
        reason=reason,
        model=model,
        entry_model=entry.model,
        provider=entry.provider,
        edition=entry.edition,
        markup=markup,
        lines=tuple(lines),
        picousd=in_range(picousd, "cost", param="usage"),
        nanocredits=in_range(nanocredits, "cost in credits", param="usage"),
        information=_beside(usage, billed_meters),
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
        _line(_step_without_rate(meter, meter), quantity, is_billed=False) for meter, quantity in leaves(usage).items()
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
    # Taken apart at once: each line of each call passes here.
    meter, rate_meter, usd, per, attributes, worth_picousd, worth_nanocredits, list_usd, adjustment, minimum = step
    picousd = nanocredits = 0
    if minimum is not None and (not is_billed or minimum <= quantity):
        minimum = None
    if is_billed:
        billed = quantity if minimum is None else minimum
        if type(billed) is int and worth_picousd[1] == worth_nanocredits[1] == 1:
            # Whole amounts for whole quantities, the common case, want no rounding.
            picousd, nanocredits = billed * worth_picousd[0], billed * worth_nanocredits[0]
        else:
            picousd, nanocredits = _times(billed, worth_picousd), _times(billed, worth_nanocredits)
    return Line(
        meter=meter,
        quantity=quantity,
        rate=usd,
        per=per,
        rate_meter=rate_meter,
        attributes=attributes,
        picousd=picousd,
        nanocredits=nanocredits,
        billed=is_billed,
        list_rate=list_usd,
        adjustment=adjustment,
        minimum=minimum,
    )


def _times(quantity: Quantity, worth: tuple[int, int]) -> int:
    """Return quantity × worth, rounded half-even."""
    return divide_half_even(worth[0] * quantity.numerator, worth[1] * quantity.denominator)


def _beside(usage: Mapping[str, Quantity], billed_meters: frozenset[str]) -> dict[str, Quantity]:
    """Return what was reported and is not billed."""
    if billed_meters.issuperset(usage):
        return {}
    return {name: quantity for name, quantity in usage.items() if name not in billed_meters}


@lru_cache(maxsize=4096)
def _plan(
    entry: Entry,
    names: tuple[str, ...],
    values: tuple[str | None, ...],
    band: int,
    markup: tuple[int, int],
) -> _Plan:
    """Return how leaves of these names are rated where the entry's attributes have these values.

    band: how many of the entry's thresholds the call has passed.
    """
    reported = _reported(entry, values)
    rates = _in_band(entry, band)
    billed_meters = next(
        (meters for meters in (entry.billed_meters, *entry.instead) if not meters.isdisjoint(names)),
        entry.billed_meters,
    )
    steps: list[_Step] = []
    gaps: list[_Gap] = []
    for name in names:
        if name not in billed_meters:
            continue
        rate_meter = next((meter for meter in LINEAGE[name] if any(row.meter == meter for row in rates)), name)
        found = _choose(entry, [row for row in rates if row.meter == rate_meter], rate_meter, reported)
        if isinstance(found, _Gap):
            gaps.append(found)
            steps.append(_step_without_rate(name, rate_meter))
        else:
            steps.append(_step(name, found, Fraction(*markup)))
    if not steps:
        gaps.append(_Gap(f"{_named(entry)} is billed by {_shown_bases(entry)}, and none was reported"))
    # An attribute that is merely missing can be given; a gap in the book cannot, so it is what people must hear.
    gap = min(gaps, key=lambda gap: bool(gap.missing), default=_Gap(""))
    return _Plan(tuple(steps), billed_meters, gap.reason, gap.missing)


def _in_band(entry: Entry, band: int) -> tuple[Rate, ...]:
    """Return the rates that hold for a call of this size: of those that differ in nothing else, the furthest."""
    if not entry.thresholds:
        return entry.rates
    passed = entry.thresholds[:band]
    furthest: dict[tuple[object, ...], Rate] = {}
    for row in sorted(entry.rates, key=lambda row: -1 if row.above is None else row.above):
        if row.above is None or row.above in passed:
            furthest[(row.meter, *sorted(row.attributes.items()))] = row
    return tuple(furthest.values())


def _named(entry: Entry) -> str:
    return f"any other model of {entry.provider}" if entry.model == ANY_MODEL else entry.model


def _shown_bases(entry: Entry) -> str:
    bases = (entry.basis, *entry.otherwise)
    return ", or by ".join(" and ".join(filter(None, [", ".join(basis[:-1]), basis[-1]])) for basis in bases)


def _step_without_rate(name: str, rate_meter: str) -> _Step:
    return _Step(name, rate_meter, usd=None, per=1, attributes={}, picousd=(0, 1), nanocredits=(0, 1))


def _step(name: str, row: Rate, markup: Fraction) -> _Step:
    cost_usd = Fraction(row.usd) / row.per
    return _Step(
        meter=name,
        rate_meter=row.meter,
        usd=row.usd,
        per=row.per,
        attributes=dict(row.attributes),
        picousd=(cost_usd * PICOUSD_PER_USD).as_integer_ratio(),
        nanocredits=(cost_usd * CREDITS_PER_USD * NANOCREDITS_PER_CREDIT * markup).as_integer_ratio(),
        list_usd=row.list_usd,
        adjustment=row.adjustment,
        minimum=row.minimum,
    )


def _reported(entry: Entry, values: tuple[str | None, ...]) -> dict[str, str]:
    """Return the attributes that decide, in lower case, derived where they were not reported and can be."""
    given = {
        name: value.casefold() for name, value in zip(entry.attribute_names, values, strict=True) if value is not None
    }
    # A value that corresponds to nothing must not look like a missing one, so it is carried as what it was read from.
    derived = {
        name: values_of.get(given[source], f"of {source} {given[source]}")
        for name, (source, values_of) in entry.derived.items()
        if source in given
    }
    deciding = derived | given
    return {name: value for name, value in deciding.items() if value not in entry.ordinary.get(name, ())}


def _choose(entry: Entry, rows: list[Rate], meter: str, reported: Mapping[str, str]) -> Rate | _Gap:
    """Return the rate whose attributes were all reported, the most particular of several, or why there is none.

    A reported attribute that tells rates apart is never passed over: a tier without a rate does not cost what the
    ordinary one costs.
    """
    if not rows:
        return _Gap(f"{entry.layer} has no rate for {meter} of {_named(entry)} in force at that time")
    matching = [row for row in rows if row.attributes.items() <= reported.items()]
    best = max(matching, key=lambda row: len(row.attributes), default=None)
    settled = dict(best.attributes) if best else {}
    rivals = [row for row in rows if row is not best and settled.items() <= row.attributes.items()]
    open_names = {name for row in rivals for name in row.attributes if name in reported and name not in settled}
    # What is not ordinary costs what its own rate says, and has no price where there is none.
    open_names |= {name for name in entry.ordinary if name in reported and name not in settled}
    if best and not open_names:
        return best
    possible = [
        row for row in rivals if all(reported.get(name, value) == value for name, value in row.attributes.items())
    ]
    return _gap(
        entry,
        reported,
        rivals=rivals,
        possible=[row for row in possible if not best or open_names & row.attributes.keys()],
    )


def _gap(entry: Entry, reported: Mapping[str, str], *, rivals: list[Rate], possible: list[Rate]) -> _Gap:
    """Return which attribute would decide among the rates that are possible, or which value none of them has."""
    if possible:
        absent = min(name for row in possible for name in row.attributes if name not in reported)
        either = f"{absent} or {entry.derived[absent][0]}" if absent in entry.derived else absent
        values = ", ".join(_values(possible, absent))
        return _Gap(f"the price of {_named(entry)} depends on {either}; give {absent} as one of {values}", absent)
    names = sorted(
        {name for row in rivals for name in row.attributes if name in reported}
        | entry.ordinary.keys() & reported.keys()
    )
    for name in names:
        if reported[name] not in _values(rivals, name):
            return _Gap(f"{_named(entry)} has no rate for {name} {reported[name]}{_only_for(_values(rivals, name))}")
    return _Gap(
        f"{_named(entry)} has no rate for {' and '.join(f'{name} {reported[name]}' for name in names)} together"
    )


def _values(rows: Iterable[Rate], name: str) -> list[str]:
    return sorted({row.attributes[name] for row in rows if name in row.attributes})


def _only_for(values: list[str]) -> str:
    return f", only for {', '.join(values)}" if values else ""
