"""How prices, their differences and their changes look to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from callfare.cli import show
from callfare.cli.show import Column, Table, numbers, wrapped
from callfare.usage.meters import LINEAGE

if TYPE_CHECKING:
    from callfare.cli.screen import Screen
    from callfare.engine.price_list import PricedModel
    from callfare.engine.price_review import Difference, Lost, Review, Selected, ShownAdjustment, ShownPrices, Traffic

_SHOWN_MAX = 20


def listed(screen: Screen, found: Sequence[PricedModel]) -> None:
    """Tell which models have prices, in which layer, and what they cost in an ordinary call."""
    if not found:
        screen.line("no price book names such a model")
        return
    rows = [
        (row.model, row.provider, row.layer, _listed_rates(row), "" if row.decides else "a layer above decides")
        for row in found
    ]
    columns = (Column("model"), Column("provider"), Column("layer"), wrapped("price"), Column("note"))
    screen.table(Table(columns=columns, rows=rows))


def _listed_rates(row: PricedModel) -> str:
    """Return rates together that are for as many: `input_tokens $5, output_tokens $10 / 1,000,000; images $1 / 1`."""
    by_per: dict[int, list[str]] = {}
    says_its_charge = any(rate.meter == "billed_usd" for rate in row.rates)
    for rate in row.rates:
        if rate.meter == "billed_usd":
            continue
        most = "" if rate.most_usd == rate.usd else f"–{show.rate(rate.most_usd)}"
        by_per.setdefault(rate.per, []).append(f"{rate.meter} {show.rate(rate.usd)}{most}")
    told = "; ".join(f"{', '.join(rates)} / {per:,}" for per, rates in by_per.items())
    return ", else ".join(filter(None, ["what a reply says" if says_its_charge else "", told])) + _ended(row.ended)


def shown(screen: Screen, found: Sequence[ShownPrices], reason: str) -> None:
    """Tell the rates of a model, the deciding layer's and those that it stands before."""
    for prices in found:
        screen.line(f"{prices.model} of {prices.provider}, by {prices.edition}", "" if prices.decides else "below")
        bases = (_billed(basis, prices) for basis in (prices.basis, *prices.otherwise))
        screen.pairs(
            {
                "billed by": ", or by ".join(map(show.listed, filter(None, bases))),
                "source": f"{prices.source}, {prices.checked}",
                "in force": _span(prices),
                "changes": _days(prices.changes),
                "note": "" if prices.decides else "another layer or provider decides",
            }
        )
        has_list = any(rate.list_usd is not None for rate in prices.rates)
        rows = [
            (
                rate.meter,
                _usd(rate.usd, rate.per, rate.minimum),
                *(["" if rate.list_usd is None else f"{rate.adjustment} of {show.rate(rate.list_usd)}"] * has_list),
                _selected(rate.attributes),
                _size(rate.above_input_tokens),
                f"{rate.hours}, now" if rate.hours and rate.holds else rate.hours,
            )
            for rate in prices.rates
        ]
        columns = (
            Column("meter"), numbers("price"), *([Column("list price")] * has_list), Column("where"), Column("size"),
            Column("hours, UTC"),
        )  # fmt: skip
        screen.table(Table(columns=columns, rows=rows))
        screen.line()
    if not any(prices.decides and not prices.has_ended for prices in found):
        screen.line(f"as it was asked for, it has no price: {reason}", "warn")


def diff(
    screen: Screen,
    found: Sequence[Difference],
    past: Sequence[Traffic],
    days: int,
    adjustments: Sequence[ShownAdjustment],
) -> None:
    """Tell the prices above the catalogue beside its own, and what past calls cost at either."""
    _adjustments(screen, adjustments)
    if not found and not adjustments:
        screen.line("no book above the catalogue names such a model")
    _differences(screen, found, ("here", "catalogue"))
    _traffic(screen, past, days, ("here", "by the catalogue"))


def review(screen: Screen, found: Review, days: int, *, next_step: str) -> None:
    """Tell what a newer catalogue changes."""
    if not _changes(screen, found, days):
        return
    screen.line(f"next: {next_step}")


def updated(screen: Screen, found: Review, days: int, place: Path, *, is_named: bool) -> None:
    """Tell what has changed now."""
    _changes(screen, found, days)
    screen.line(f"{found.other_edition} is accepted: {place}", "ok")
    screen.line("processes that run price by what they began with; those that start from now on, by this one")
    if is_named:
        screen.line(f"next: set CALLFARE_CATALOGUE={place} wherever this ledger is opened")


def rates_set(screen: Screen, book: Path, edition: str, found: Lost) -> None:
    """Tell what a model is billed by now, and what it was billed by before and is no more."""
    screen.line(f"{book} is now {edition}", "ok")
    screen.line(f"{found.model} of {found.provider} is billed by {show.listed(found.basis)}")
    plain = [row.meter for row in found.lacks if not _when(row)]
    where = dict.fromkeys(_when(row) for row in found.lacks if _when(row))
    if plain or where:
        screen.line(f"{found.below} has rates that it lacks now: {', '.join([*plain, *where])}", "warn")
        screen.line("a book stands for all of a model; what it has no rate for is not filled from below")


def adjustment_set(screen: Screen, book: Path, found: ShownAdjustment, own: Sequence[str]) -> None:
    """Tell what a provider takes off or adds now. own: its models that the book itself has, whose rates stay."""
    screen.line(f"{book} is now {found.edition}", "ok")
    _adjustments(screen, [found])
    if own:
        screen.line(f"not adjusted, since the book itself says what they cost: {', '.join(own)}", "warn")


def _adjustments(screen: Screen, found: Sequence[ShownAdjustment]) -> None:
    for one in found:
        begin = "" if one.since is None else f" from {one.since:%Y-%m-%d}"
        end = "" if one.until is None else f" until {one.until:%Y-%m-%d}"
        models = show.counted(one.models, "model")
        screen.line(f"{one.adjustment} of what {one.provider} lists{begin}{end}, for {models}, by {one.edition}")
        screen.line(f"  source: {one.source}, {one.checked}")


def _changes(screen: Screen, found: Review, days: int) -> bool:
    screen.line(f"in force {found.edition}; {found.other_made_from} makes {found.other_edition}")
    if found.edition == found.other_edition:
        screen.line("nothing would change", "ok")
        return False
    for title, names in (("new", found.added), ("gone", found.removed), ("changed", found.changed)):
        if names:
            more = f" and {len(names) - _SHOWN_MAX:,} more" if len(names) > _SHOWN_MAX else ""
            screen.line(f"{show.counted(len(names), 'model')} {title}: {', '.join(names[:_SHOWN_MAX])}{more}")
    _differences(screen, found.differences, ("now", "then"))
    if found.adjustments:
        screen.line("these are list prices; on either stands what the books above the catalogue take off or add:")
        _adjustments(screen, found.adjustments)
    _traffic(screen, found.traffic, days, ("now", "then"))
    return True


def _differences(screen: Screen, found: Sequence[Difference], titles: tuple[str, str]) -> None:
    rows = [
        (
            row.model,
            row.provider,
            row.meter,
            _selected(row.attributes),
            _usd(row.usd, row.per, row.minimum),
            _usd(row.other_usd, row.other_per, row.other_minimum) + _ended(row.other_ended),
            _times(row.change),
        )
        for row in found
    ]
    columns = (
        Column("model"),
        Column("provider", leaves=1),
        Column("meter"),
        Column("where"),
        *(numbers(title) for title in titles),
        numbers("factor"),
    )
    screen.table(Table(columns=columns, rows=rows))


def _traffic(screen: Screen, past: Sequence[Traffic], days: int, titles: tuple[str, str]) -> None:
    if not past:
        screen.line(f"no calls in the last {show.counted(days, 'day')}")
        return
    screen.line(f"calls of the last {show.counted(days, 'day')}, each at the rates of its time:")
    rows = [
        (
            row.model,
            row.provider,
            show.count(row.calls),
            _cost(show.short(row.cost), row.unpriced),
            _cost(show.short(row.other_cost), row.other_unpriced),
            show.short(row.other_cost - row.cost),
        )
        for row in past
    ]
    columns = (
        Column("model"),
        Column("provider", leaves=1),
        numbers("calls"),
        *(numbers(title) for title in titles),
        numbers("difference"),
    )
    screen.table(Table(columns=columns, rows=rows))


def _cost(cost: str, unpriced: int) -> str:
    return f"{cost} + {unpriced:,} unpriced" if unpriced else cost


def _usd(usd: Decimal | None, per: int | None, minimum: int | None) -> str:
    least = "" if minimum is None else f", at least {minimum:,}"
    return "" if usd is None else f"{show.rate(usd)} / {per:,}{least}"


def _ended(at: datetime | None) -> str:
    return "" if at is None else f", ended {at:%Y-%m-%d}"


def _times(change: Fraction | None) -> str:
    """Return a factor in at most three digits after the point, for eyes only."""
    if change is None:
        return ""
    thousandths = round(change * 1000)
    return f"× {thousandths // 1000}.{thousandths % 1000:03}".rstrip("0").rstrip(".")


def _selected(attributes: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(attributes.items()))


def _when(row: Selected) -> str:
    return " ".join(filter(None, [_selected(row.attributes), _size(row.above_input_tokens)]))


def _size(above: int | None) -> str:
    return "" if above is None else f"above {above:,} read"


def _billed(basis: Sequence[str], prices: ShownPrices) -> list[str]:
    """Return what a basis bills: its meters with a rate, and the parts that have one where the whole has none."""
    rated = list(dict.fromkeys(rate.meter for rate in prices.rates))
    return [
        name
        for meter in basis
        for name in ([meter] if meter in rated else [part for part in rated if meter in LINEAGE[part]])
    ]


def _days(changes: Sequence[datetime]) -> str:
    days = ", ".join(f"{change:%Y-%m-%d}" for change in changes)
    return f"{days}; --at DAY shows those of another time" if days else ""


def _span(prices: ShownPrices) -> str:
    begin = "" if prices.since is None else f"from {prices.since:%Y-%m-%d} "
    end = "" if prices.until is None else f"until {prices.until:%Y-%m-%d}"
    ended = "; a call since then has no price" if prices.has_ended else ""
    return (begin + end).strip() + ended
