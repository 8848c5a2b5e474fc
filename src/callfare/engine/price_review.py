"""What prices say, what others would say, and what the difference would have been for past calls. Reads and no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from callfare.clock import moment_of
from callfare.engine.engine import Engine
from callfare.engine.shapes import units
from callfare.errors import LedgerNotFound
from callfare.ledger.rows import Event
from callfare.money import Usd
from callfare.pricing.book import PriceBook
from callfare.pricing.edition import Catalogue
from callfare.pricing.layer import Layer
from callfare.pricing.rates import Adjustment, Entry, ModelPrices, Rate
from callfare.pricing.rating import rate_finished
from callfare.pricing.shipped import is_catalogue
from callfare.pricing.timeline import Timeline
from callfare.usage.meters import LINEAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model that some layer has prices of. decides: no layer above names it too."""

    provider: str
    model: str
    layer: str
    decides: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRate:
    """A rate as people read it. hours: of the UTC day, empty for all of it. holds: at the very time asked about.

    minimum: the least that a call is billed for.

    list_usd, adjustment: what is listed, and the share taken off it or added; None and empty where usd is listed.
    """

    meter: str
    usd: Decimal
    per: int
    list_usd: Decimal | None
    adjustment: str
    attributes: Mapping[str, str]
    above_input_tokens: int | None
    hours: str
    holds: bool
    minimum: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPrices:
    """What is in force for a model in one layer on a day, or was last, where it has ended.

    since, until: None for no bound. changes: when its rates change, in the past and to come.
    """

    provider: str
    model: str
    layer: str
    edition: str
    decides: bool
    basis: tuple[str, ...]
    otherwise: tuple[tuple[str, ...], ...]
    source: str
    checked: date
    since: datetime | None
    until: datetime | None
    has_ended: bool
    changes: tuple[datetime, ...]
    rates: tuple[ShownRate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A meter, and what a rate for it needs: the attributes, and that a call reads more than so much."""

    meter: str
    attributes: Mapping[str, str]
    above_input_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What a model is billed by in a book, and which rates of the layer below it has no more.

    below: that layer's name, None where no layer below names the model.
    """

    provider: str
    model: str
    basis: tuple[str, ...]
    below: str | None
    lacks: tuple[Selected, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAdjustment:
    """A share that a book takes off all that the layers below it list of a provider, or adds. since, until: its bounds.

    models: how many of those layers' models it changes. holds: at the time asked about.
    """

    provider: str
    adjustment: str
    edition: str
    source: str
    checked: date
    since: datetime | None
    until: datetime | None
    models: int
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A meter of a model as one edition prices it and as another does. None where one has no rate for it.

    change: the other's figure by this one's; None where one of the two is missing or nothing. other_ended: when the
    other's figure ceased to hold, where it has. minimum, other_minimum: the least that a call is billed for.
    """

    provider: str
    model: str
    meter: str
    attributes: Mapping[str, str]
    usd: Decimal | None
    per: int | None
    minimum: int | None
    other_usd: Decimal | None
    other_per: int | None
    other_minimum: int | None
    other_ended: datetime | None
    change: Fraction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The calls of a model in a window of time, at the rates of one book and of another, each of its own time.

    unpriced, other_unpriced: how many of the calls have no price in the one and in the other.
    """

    provider: str
    model: str
    calls: int
    cost: Usd
    unpriced: int
    other_cost: Usd
    other_unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One edition beside another: the models of only one, the rates that differ now, and past calls at both."""

    edition: str
    other_edition: str
    other_made_from: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    differences: tuple[Difference, ...]
    since: datetime
    traffic: tuple[Traffic, ...]
    adjustments: tuple[ShownAdjustment, ...]


def listed(book: PriceBook, text: str = "", provider: str | None = None) -> list[ListedModel]:
    """Return the models that the layers of a book name, those whose name holds a text, by name."""
    found, seen = [], set[tuple[str, str]]()
    for layer in book.layers:
        for seller, model in sorted(layer.names):
            if text.casefold() in model.casefold() and (provider is None or provider.casefold() == seller.casefold()):
                key = (seller.casefold(), model.casefold())
                found.append(ListedModel(provider=seller, model=model, layer=layer.name, decides=key not in seen))
                seen.add(key)
    return sorted(found, key=lambda row: (row.model, row.provider, not row.decides))


def shown(book: PriceBook, model: str, provider: str | None, at_us: int) -> list[ShownPrices]:
    """Return what each layer has in force for a model, the deciding one first, of each provider that may be meant.

    What has ended is told as it was last; where it decides, the model has no price.
    """
    found: list[ShownPrices] = []
    for layer in book.layers:
        sellers = book.timelines(layer, model, provider)
        decides = not found and len(sellers) == 1
        found += filter(None, (_shown_at(timeline, at_us, decides=decides) for timeline in sellers.values()))
    return found


def _shown_at(timeline: Timeline, at_us: int, *, decides: bool) -> ShownPrices | None:
    """Return what is in force in a layer, what was in force last where that has ended, or None before all of it."""
    ended_us = timeline.ended_us(at_us)
    day = timeline.of_day(at_us if ended_us is None else ended_us - 1)
    if not day:
        return None
    entry = day[0]
    now = timeline.at(at_us)
    holding = () if now is None else now.rates
    rates = {id(rate): rate for part in day for rate in part.rates}.values()
    return ShownPrices(
        provider=entry.provider,
        model=entry.model,
        layer=entry.layer,
        edition=entry.edition,
        decides=decides,
        basis=entry.basis,
        otherwise=entry.otherwise,
        source=entry.source,
        checked=entry.checked,
        since=None if entry.from_us is None else moment_of(entry.from_us),
        until=None if entry.until_us is None else moment_of(entry.until_us),
        has_ended=ended_us is not None,
        changes=tuple(map(moment_of, timeline.starts_us)),
        rates=tuple(_shown_rate(rate, holds=rate in holding) for rate in sorted(rates, key=_order)),
    )


def _shown_rate(rate: Rate, *, holds: bool) -> ShownRate:
    hours = "" if rate.daily is None else "–".join(f"{s // 3600:02}:{s % 3600 // 60:02}" for s in rate.daily)
    return ShownRate(
        meter=rate.meter,
        usd=rate.usd,
        per=rate.per,
        list_usd=rate.list_usd,
        adjustment=rate.adjustment,
        attributes=rate.attributes,
        above_input_tokens=rate.above,
        hours=hours,
        holds=holds,
        minimum=rate.minimum,
    )


def _order(rate: Rate) -> tuple[object, ...]:
    place = list(LINEAGE).index(rate.meter)
    return len(rate.attributes), sorted(rate.attributes.items()), rate.above or 0, rate.daily or (), place


def lost(layer: Layer, below: Iterable[Layer], model: str, provider: str, at_us: int) -> Lost:
    """Return what a model has of a layer, and what it has no more of the first one below that names it."""
    (prices,) = layer.sellers(model, provider)
    mine = {_selected(rate) for rate in prices.rates}
    stood = next((row for row in below if row.sellers(model, provider)), None)
    entry = None if stood is None else PriceBook([stood]).entry(model, provider=provider, at_us=at_us)
    rows = [] if entry is None else sorted(entry.rates, key=_order)
    gone = [rate for rate in rows if _selected(rate) not in mine]
    return Lost(
        provider=prices.provider,
        model=prices.model,
        basis=prices.basis,
        below=None if stood is None else stood.name,
        lacks=tuple(
            Selected(meter=rate.meter, attributes=rate.attributes, above_input_tokens=rate.above) for rate in gone
        ),
    )


def _selected(rate: Rate) -> tuple[object, ...]:
    return rate.meter, rate.above, *sorted(rate.attributes.items())


def beside_catalogue(book: PriceBook, at_us: int, text: str = "") -> list[Difference]:
    """Return the models of the layers above the catalogue, each rate beside the one that would hold without them.

    text: only models whose name holds it.
    """
    upper = [layer for layer in book.layers if not is_catalogue(layer)]
    lower = PriceBook([layer for layer in book.layers if is_catalogue(layer)])
    found: list[Difference] = []
    for number, layer in enumerate(upper):
        for prices in layer.models:
            is_decided = any(above.sellers(prices.model, prices.provider) for above in upper[:number])
            if is_decided or text.casefold() not in prices.model.casefold():
                continue
            mine = book.entry(prices.model, provider=prices.provider, at_us=at_us)
            other = _entry_of(lower, prices, at_us)
            found += _differences(prices, mine, other, at_us)
    return found


def _entry_of(book: PriceBook, prices: ModelPrices, at_us: int) -> Entry | None:
    """Return what a book has in force for a model; for one that was retired, what was in force last."""
    found = book.entry(prices.model, provider=prices.provider, at_us=at_us)
    sellers = (layer.sellers(prices.model, prices.provider) for layer in book.layers)
    ends = [rate.until_us for own in sellers for seller in own for rate in seller.rates if rate.until_us is not None]
    if found is not None or not ends:
        return found
    return book.entry(prices.model, provider=prices.provider, at_us=min(max(ends) - 1, at_us))


def adjustments(book: PriceBook, at_us: int) -> list[ShownAdjustment]:
    """Return the adjustments of all layers, the topmost first, which is the one that decides where two hold."""
    return [
        adjustment_shown(book, number, one, at_us)
        for number, layer in enumerate(book.layers)
        for one in layer.adjustments
    ]


def adjustment_shown(book: PriceBook, number: int, one: Adjustment, at_us: int) -> ShownAdjustment:
    """Return one of the adjustments of a book's layer. number: that layer's place."""
    layer, below = book.layers[number], book.layers[number + 1 :]
    names = {lower.provider_named(one.provider) for lower in book.layers}
    own = {model.casefold() for seller, model in layer.names if seller.casefold() in names}
    theirs = {model.casefold() for lower in below for seller, model in lower.names if seller.casefold() in names}
    has_begun = one.from_us is None or one.from_us <= at_us
    return ShownAdjustment(
        provider=one.provider,
        adjustment=one.text,
        edition=layer.edition,
        source=one.source,
        checked=one.checked,
        since=None if one.from_us is None else moment_of(one.from_us),
        until=None if one.until_us is None else moment_of(one.until_us),
        models=len(theirs - own),
        holds=has_begun and (one.until_us is None or at_us < one.until_us),
    )


def without_seed(book: PriceBook) -> PriceBook:
    """Return a book without the layers above the catalogue."""
    return PriceBook([layer for layer in book.layers if is_catalogue(layer)])


def with_catalogue(book: PriceBook, catalogue: Catalogue) -> PriceBook:
    """Return a book with another catalogue in place of its own."""
    return PriceBook([catalogue if isinstance(layer, Catalogue) else layer for layer in book.layers])


def _differences(prices: ModelPrices, mine: Entry | None, other: Entry | None, at_us: int) -> Iterator[Difference]:
    """Yield the ordinary rates of both, meter by meter; those of tiers follow them in nearly every case."""
    ended_us = None if other is None or other.until_us is None or other.until_us > at_us else other.until_us
    rows = [row for entry in (mine, other) if entry is not None for row in entry.rates if _is_ordinary(entry, row)]
    keys = dict.fromkeys((row.meter, tuple(sorted(row.attributes.items()))) for row in sorted(rows, key=_order))
    for meter, attributes in keys:
        ours, theirs = _rate_of(mine, meter, dict(attributes)), _rate_of(other, meter, dict(attributes))
        change = None
        if ours is not None and theirs is not None and ours.usd:
            change = Fraction(theirs.usd) / theirs.per / (Fraction(ours.usd) / ours.per)
        yield Difference(
            provider=prices.provider,
            model=prices.model,
            meter=meter,
            attributes=dict(attributes),
            usd=None if ours is None else ours.usd,
            per=None if ours is None else ours.per,
            minimum=None if ours is None else ours.minimum,
            other_usd=None if theirs is None else theirs.usd,
            other_per=None if theirs is None else theirs.per,
            other_minimum=None if theirs is None else theirs.minimum,
            other_ended=None if theirs is None or ended_us is None else moment_of(ended_us),
            change=change,
        )


def _is_ordinary(entry: Entry, row: Rate) -> bool:
    return row.above is None and not row.attributes.keys() & entry.ordinary.keys()


def _rate_of(entry: Entry | None, meter: str, attributes: Mapping[str, str]) -> Rate | None:
    """Return the rate a meter takes, its own or its nearest ancestor's."""
    rows = [row for row in (() if entry is None else entry.rates) if row.above is None and row.attributes == attributes]
    return next((row for own in LINEAGE[meter] for row in rows if row.meter == own), None)


# One catalogue beside another


def review(engine: Engine, other: Catalogue, since_us: int) -> Review:
    """Return what another catalogue in place of the present one changes, and what past calls would have cost.

    since_us: from when on calls are looked at.
    """
    book = engine.settings.book
    present = next(layer for layer in book.layers if isinstance(layer, Catalogue))
    now_us = engine.clock.now_us()
    mine = {(prices.provider, prices.model): prices for prices in present.models}
    theirs = {(prices.provider, prices.model): prices for prices in other.models}
    changed = [key for key in mine if key in theirs and _says(mine[key]) != _says(theirs[key])]
    then = with_catalogue(book, other)
    differences = [
        difference
        for provider, model in changed
        for difference in _differences(
            mine[provider, model],
            PriceBook([present]).entry(model, provider=provider, at_us=now_us),
            PriceBook([other]).entry(model, provider=provider, at_us=now_us),
            now_us,
        )
        if difference.change != 1 or difference.minimum != difference.other_minimum
    ]
    return Review(
        edition=present.edition,
        other_edition=other.edition,
        other_made_from=other.header.made_from,
        added=_shown_names(theirs.keys() - mine.keys()),
        removed=_shown_names(mine.keys() - theirs.keys()),
        changed=_shown_names(changed),
        differences=tuple(differences),
        since=moment_of(since_us),
        traffic=tuple(traffic(engine, then, since_us)),
        adjustments=tuple(adjustments(book, now_us)),
    )


def _says(prices: ModelPrices) -> object:
    return prices.basis, prices.otherwise, prices.rates, prices.ordinary, prices.names, prices.patterns


def _shown_names(keys: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(f"{provider} {model}" for provider, model in sorted(keys))


def traffic(engine: Engine, other: PriceBook, since_us: int) -> Iterator[Traffic]:
    """Yield the calls since an instant by model, at the present book and at another, those first that differ most."""
    tallies: dict[tuple[str, str], list[int]] = {}
    for event in _calls(engine, since_us):
        tally = tallies.setdefault((event.provider, event.model), [0, 0, 0, 0, 0])
        tally[0] += 1
        for position, book in ((1, engine.settings.book), (3, other)):
            picousd = _cost(book, event, engine)
            if picousd is None:
                tally[position + 1] += 1
            else:
                tally[position] += picousd
    for (provider, model), (calls, cost, unpriced, other_cost, other_unpriced) in sorted(
        tallies.items(), key=lambda item: (-abs(item[1][3] - item[1][1]), item[0])
    ):
        yield Traffic(
            provider=provider,
            model=model,
            calls=calls,
            cost=Usd.of_units(cost),
            unpriced=unpriced,
            other_cost=Usd.of_units(other_cost),
            other_unpriced=other_unpriced,
        )


def _calls(engine: Engine, since_us: int) -> Iterator[Event]:
    """Yield each call once, as it was corrected where it was; none where there is no ledger yet."""
    waiting: Event | None = None
    with suppress(LedgerNotFound), engine.store.one_instant() as scan:
        for row, _ in scan(Event, None):
            assert isinstance(row, Event), row
            if waiting is not None and row.corrects == waiting.key and row.account_id == waiting.account_id:
                waiting = row if row.kind == "correction" else waiting
            elif row.corrects is None:
                if waiting is not None and waiting.at_us >= since_us:
                    yield waiting
                waiting = row
    if waiting is not None and waiting.at_us >= since_us:
        yield waiting


def _cost(book: PriceBook, event: Event, engine: Engine) -> int | None:
    rating = rate_finished(
        book,
        model=event.model,
        usage=units(event.usage),
        attributes=engine.requests.attributes_of(event.attributes),
        at_us=event.at_us,
        provider=event.provider or None,
    )
    return rating.picousd if rating.status == "priced" else None
