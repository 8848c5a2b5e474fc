"""Answers told to people. Takes finished answers and writes them to a screen; asks nothing and computes no money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callfare.cli import show
from callfare.cli.show import Column, Table, numbers, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callfare.answers import (
        Balance,
        Call,
        Estimate,
        GrantReceipt,
        Package,
        Price,
        Repriced,
        RunSummary,
        Share,
        Transaction,
        UsageReport,
    )
    from callfare.cli.screen import Screen
    from callfare.money import Credits
    from callfare.pages import Page

_DAYS_SHOWN_MAX = 92
_BAR_WIDTH, _BAR_WIDTH_MIN = 24, 4
_ONCE = "once"
_AMOUNTS = (numbers("calls"), numbers("credits"), numbers("cost"), Column("besides"))


def balance(screen: Screen, found: Balance) -> None:
    """Tell a balance; amounts are cut down to two decimals, never up."""
    screen.line(show.clean(found.user), "head")
    spent = f", of which {show.floored(found.spent)} are spent in open runs" if found.spent else ""
    screen.pairs(
        {
            "available": f"{show.floored(found.available)} credits ({show.floored(found.available.usd)})",
            "posted": f"{show.floored(found.posted)} credits",
            "held": f"{show.floored(found.held)} credits{spent}",
            "debt": f"{show.short(found.debt)} credits; the next grant pays it first" if found.debt else "none",
        }
    )


def grant(screen: Screen, receipt: GrantReceipt) -> None:
    """Tell what a grant did."""
    said = f"{show.exact(receipt.credits)} credits ({show.exact(receipt.credits.usd)})"
    user = show.clean(receipt.user)
    if receipt.is_replay:
        screen.line(f"{user} was granted {said} under this key before; nothing was added", "head")
    else:
        screen.line(f"granted {user} {said}", "head")
    screen.pairs(
        {
            "key": receipt.key,
            "repaid": f"{show.exact(receipt.repaid)} credits of older debt" if receipt.repaid else "",
            "expires": f"{show.moment(receipt.expires_at)} UTC" if receipt.expires_at else "",
            "available": f"{show.floored(receipt.available)} credits",
        }
    )


def usage(screen: Screen, found: UsageReport, doctor: str) -> None:
    """Tell a user's usage: in all, by workflow, by model, by day. `doctor` is the command that names what is amiss."""
    calls = show.counted(found.calls, "call")
    screen.line(f"{show.clean(found.user)}: {calls}, {_covered(found)}", "head")
    screen.line(f"from {show.moment(found.since)} until {show.moment(found.until)} UTC, days of {found.tz}")
    if found.unpriced_calls:
        screen.line(f"{show.counted(found.unpriced_calls, 'call')} of these had no price; `{doctor}` names the models")
    for title, shares, has_units in (("workflow", found.by_workflow, False), ("model", found.by_model, True)):
        if shares:
            screen.line()
            screen.table(_shares(title, shares, has_units=has_units))
    if found.by_day:
        screen.line()
        screen.table(_days(screen, found))


def _shares(title: str, shares: Sequence[Share], *, has_units: bool) -> Table:
    columns = [Column(title), *_AMOUNTS]
    rows = [[share.name or "(no run)", *_amounts(share)] for share in shares]
    if has_units:
        columns.append(wrapped("units"))
        rows = [[*row, show.units(share.units)] for row, share in zip(rows, shares, strict=True)]
    return Table(columns=columns, rows=rows)


def _days(screen: Screen, found: UsageReport) -> Table:
    """Return the days of a report. A terminal shows the empty ones between and a bar for each."""
    used = {share.name: share for share in found.by_day}
    names = list(used)
    columns = [Column("day"), *_AMOUNTS]
    if not screen.is_terminal:
        return Table(columns=columns, rows=[_day(name, used.get(name)) for name in names])
    between = _days_between(names[0], names[-1])
    names = between if len(between) <= _DAYS_SHOWN_MAX else names
    most = max(share.cost.units for share in used.values())
    rows = [_day(name, used.get(name)) for name in names]
    width = min(_BAR_WIDTH, show.room_beside(Table(columns=columns, rows=rows), screen.width))
    if width < _BAR_WIDTH_MIN:
        return Table(columns=columns, rows=rows)
    parts = (used[name].cost.units if name in used else 0 for name in names)
    bars = [show.bar(part, most, width, has_blocks=screen.has_blocks) for part in parts]
    return Table(columns=[*columns, Column("")], rows=[[*row, bar] for row, bar in zip(rows, bars, strict=True)])


def _day(name: str, share: Share | None) -> list[str]:
    return [name, *([""] * len(_AMOUNTS) if share is None else _amounts(share))]


def _amounts(share: Share) -> list[str]:
    calls, unpriced = share.calls, share.unpriced_calls
    return [
        show.count(calls),
        show.priced(share.credits, calls, unpriced),
        show.priced(share.cost, calls, unpriced),
        show.besides(calls, unpriced),
    ]


def _days_between(first: str, last: str) -> list[str]:
    from datetime import date, timedelta

    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [(start + timedelta(days=count)).isoformat() for count in range((end - start).days + 1)]


def history(screen: Screen, user: str, page: Page[RunSummary]) -> None:
    """Tell a page of a user's runs."""
    if not page.items:
        screen.line(f"no runs of {show.clean(user)}")
    columns = [
        Column("opened (UTC)"), Column("run", leaves=1), Column("workflow"), Column("status"), numbers("calls"),
        numbers("charged"), numbers("cost"), Column("besides", leaves=4), numbers("held", leaves=3),
        numbers("estimate", leaves=2),
    ]  # fmt: skip
    screen.table(Table(columns=columns, rows=[_run(run) for run in page.items]))


def _run(run: RunSummary) -> list[str]:
    return [
        show.moment(run.opened_at),
        run.run_id,
        run.workflow,
        run.status,
        show.count(run.calls),
        show.priced(run.charged, run.calls, run.unpriced_calls),
        show.priced(run.cost, run.calls, run.unpriced_calls),
        show.besides(run.calls, run.unpriced_calls),
        show.short(run.held) if run.held else "",
        _range(run.low, run.high),
    ]


def calls(screen: Screen, run: str, page: Page[Call]) -> None:
    """Tell a page of a run's calls, each with its charge's id."""
    if not page.items:
        screen.line(f"no calls of {show.clean(run)}")
    columns = [
        Column("at (UTC)"), Column("model"), Column("provider", leaves=3), numbers("credits"), numbers("cost"),
        Column("step", leaves=1), Column("notes", leaves=2),
    ]  # fmt: skip
    rows = [
        [
            show.moment(call.at),
            call.model,
            call.provider,
            show.exact(call.credits) if call.status == "priced" else show.UNPRICED,
            show.exact(call.cost) if call.status == "priced" else show.UNPRICED,
            call.step or "",
            " ".join([*([] if call.kind == "usage" else [call.kind]), *call.flags]),
        ]
        for call in page.items
    ]
    below = {
        wrapped("units"): [show.units(call.usage) for call in page.items],
        Column("charge"): [call.id for call in page.items],
    }
    screen.table(Table(columns=columns, rows=rows, below=below))


def transactions(screen: Screen, user: str, page: Page[Transaction]) -> None:
    """Tell a page of a user's transfers."""
    if not page.items:
        screen.line(f"no transactions of {show.clean(user)}")
    columns = [
        numbers("number"), Column("at (UTC)"), Column("kind"), numbers("credit"), numbers("debt"),
        Column("run or reference", leaves=1),
    ]  # fmt: skip
    rows = [
        [
            show.count(item.number),
            show.moment(item.at),
            item.kind,
            show.change(item.change),
            show.change(item.debt_change),
            item.run_id or (item.reference or "").removeprefix("key:"),
        ]
        for item in page.items
    ]
    screen.table(Table(columns=columns, rows=rows))


def estimate(screen: Screen, user: str | None, found: Estimate) -> None:
    """Tell what a run is expected to cost, and what that rests on."""
    dollars = f"{show.short(found.low.usd)}–{show.short(found.high.usd)}"
    screen.line(f"{show.clean(found.workflow)}: {_range(found.low, found.high)} credits ({dollars})", "head")
    past = ""
    if user is not None:
        past = "none completed"
        if found.past_median is not None and found.past_highest is not None:
            completed = show.counted(found.past_runs, "completed run")
            past = (
                f"{completed}, median {show.short(found.past_median)}, highest {show.short(found.past_highest)} credits"
            )
    screen.pairs(
        {
            "rests on": "the range it was declared with" if found.rests_on == "declared" else "its parts",
            "failed run": "pays for what it used" if found.on_failure == "charge" else "is waived",
            f"{user}'s past": past,
        }
    )
    columns = [Column("model"), Column("calls"), numbers("credits each"), wrapped("units")]
    rows = [
        [
            part.model,
            f"{show.count(part.at_least)}–{show.count(part.at_most)}",
            show.exact(part.credits_each),
            show.units(part.usage),
        ]
        for part in found.parts
    ]
    screen.table(Table(columns=columns, rows=rows))


def packages(screen: Screen, found: Sequence[Package]) -> None:
    """Tell what is for sale, and of plans what becomes of a month's credits."""
    columns = [
        Column("id"), Column("name"), numbers("credits"), numbers("price"), numbers("credits per $"),
    ]  # fmt: skip
    rows = [
        [package.id, package.name, show.exact(package.credits), show.exact(package.price), f"{package.credits_per_usd}"]
        for package in found
    ]
    sold = [_sold(package) for package in found]
    if set(sold) != {_ONCE}:
        columns.append(Column("sold"))
        rows = [[*row, when] for row, when in zip(rows, sold, strict=True)]
    screen.table(Table(columns=columns, rows=rows))


def _sold(package: Package) -> str:
    from callfare.answers import Plan

    if not isinstance(package, Plan):
        return _ONCE
    return "each month, kept" if package.rolls_over else "each month, ends with it"


def price(screen: Screen, found: Price) -> None:
    """Tell what a call would cost, each line with the rate it took."""
    whose = f"{show.clean(found.model)} of {show.clean(found.provider)}"
    screen.line(f"{whose}: {show.exact(found.cost)}, {show.exact(found.credits)} credits", "head")
    columns = [
        Column("meter"), numbers("quantity"), numbers("rate"), numbers("per"), numbers("cost"),
        numbers("credits"), wrapped("note"),
    ]  # fmt: skip
    rows = []
    for line in found.lines:
        taken = "" if line.rate_meter == line.meter else f"at the rate of {line.rate_meter}"
        adjusted = "" if line.list_rate is None else f"{line.adjustment} of {show.rate(line.list_rate)}"
        least = "" if line.minimum is None else f"billed as {line.minimum:,}"
        rows.append(
            [
                line.meter,
                show.quantity(line.quantity),
                "" if line.rate is None else show.rate(line.rate),
                show.count(line.per),
                show.exact(line.cost),
                show.exact(line.credits),
                ", ".join(filter(None, [show.attributes(line.attributes), taken, adjusted, least])),
            ]
        )
    screen.table(Table(columns=columns, rows=rows))
    screen.pairs(
        {
            "not billed": show.units(found.information),
            "selects nothing": show.attributes(found.ignored),
            "price book": found.edition,
            "source": f"{show.clean(found.source)}, {found.checked}",
        }
    )


def repriced(screen: Screen, found: Repriced, doctor: str) -> None:
    """Tell what was rated again. `doctor` is the command that names what still has no price."""
    if not found.priced and not found.still_unpriced:
        screen.line("every call has a price; nothing to do")
        return
    screen.line(f"{show.counted(found.priced, 'call')} priced now, {show.exact(found.credits)} credits charged", "head")
    if found.still_unpriced:
        screen.line(f"{show.counted(found.still_unpriced, 'call')} still without a price; `{doctor}` names the models")


def _covered(found: UsageReport) -> str:
    """Return what calls cost together, and how many of them that leaves out."""
    if show.priced(found.cost, found.calls, found.unpriced_calls) == show.UNPRICED:
        return show.UNPRICED
    others = show.besides(found.calls, found.unpriced_calls)
    return f"{show.short(found.credits)} credits ({show.short(found.cost)}){' ' if others else ''}{others}"


def _range(low: Credits | None, high: Credits | None) -> str:
    return "" if low is None or high is None else f"{show.exact(low)}–{show.exact(high)}"
