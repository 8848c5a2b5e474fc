"""How answers read to people. Amounts are cut down or short; the exact ones stand in the structured part.

What others named stands in them as `names.named` has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from callfare.answers import (
    Balance,
    Estimate,
    EstimatePart,
    Package,
    Plan,
    RunSummary,
    Share,
    UsageReport,
)
from callfare.mcp.names import named
from callfare.mcp.wire import LOW, costliest
from callfare.money import Credits, Usd, divide_half_even
from callfare.pages import Page
from callfare.usage.quantities import Quantity, quantity_text

_ROWS_SHOWN_MAX = 20
_CENTS = 2
_DIGITS = 2
_PERIODS = {"day": "the last 24 hours", "week": "the last 7 days", "month": "the last 30 days", "all": "all time"}
_RESTS_ON = {"declared": "the range declared for it", "parts": "its calls at today's prices"}


# Amounts


def available(amount: Credits) -> str:
    """Return a balance in credits, cut down to two decimals: `1500`, `1999.96`, `<0.01`."""
    return _trimmed(_floored(amount.units, Credits.places))


def worth(amount: Usd) -> str:
    """Return what a balance is worth, cut down to cents: `$15.00`, `<$0.01`."""
    return _in_dollars(_floored(amount.units, Usd.places))


def amount(of: Credits) -> str:
    """Return credits that were charged: two decimals, or two digits where they are fewer: `32.04`, `0.039`, `40`."""
    return _trimmed(_short(of.units, Credits.places))


def usd(amount: Usd) -> str:
    """Return dollars: cents, or two digits where they are less: `$0.32`, `$0.00039`."""
    return f"{'-' if amount.units < 0 else ''}${_short(abs(amount.units), Usd.places)}"


def _floored(units: int, places: int) -> str:
    cents = units // 10 ** (places - _CENTS)
    return "<0.01" if units > 0 and not cents else _fixed(cents, _CENTS)


def _short(units: int, places: int) -> str:
    kept = _CENTS
    while units and kept < places and divide_half_even(abs(units), 10 ** (places - kept)) < 10 ** (_DIGITS - 1):
        kept += 1
    text = _fixed(divide_half_even(units, 10 ** (places - kept)), kept)
    whole, _, part = text.partition(".")
    return f"{whole}.{part[:_CENTS]}{part[_CENTS:].rstrip('0')}"


def _fixed(units: int, places: int) -> str:
    whole, part = divmod(abs(units), 10**places)
    return f"{'-' if units < 0 else ''}{whole}.{part:0{places}d}"


def _in_dollars(text: str) -> str:
    return re.sub(r"(?=[0-9])", "$", text, count=1)


def _trimmed(text: str) -> str:
    return text.rstrip("0").removesuffix(".") if "." in text else text


# Answers


def balance(found: Balance) -> str:
    """Return a balance: credits and dollars, what is held, a debt, and a warning below 100 credits."""
    lines = [
        "💰 Credit Balance",
        "",
        f"User: {named(found.user)}",
        f"Balance: {available(found.available)} credits ({worth(found.available.usd)})",
    ]
    if found.held:
        lines.append(f"Held: {amount(found.held)} credits by open runs, {amount(found.spent)} of them spent")
    if found.debt:
        lines.append(f"Debt: {amount(found.debt)} credits; the next credit pays it first")
    if found.available < LOW:
        lines += ["", "⚠️ Low balance: fewer than 100 credits are left."]
    return "\n".join(lines)


def usage(found: UsageReport, period: str) -> str:
    """Return usage: in all, by workflow type, by model with units, the costliest first."""
    lines = [
        "📊 Usage",
        "",
        f"User: {named(found.user)}",
        f"Period: {_PERIODS[period]}, until {moment(found.until)}",
        f"Total: {_counted(found.calls, 'call')}, {amount(found.credits)} credits ({usd(found.cost)})",
    ]
    if found.unpriced_calls:
        lines.append(f"Not in it: {_counted(found.unpriced_calls, 'call')} without a price yet")
    workflows = [
        f"{named(one.name) if one.name else '(no run)'}: {_spent(one)}" for one in costliest(found.by_workflow)
    ]
    models = [f"{named(one.name)}: {_spent(one)}{_units(one.units)}" for one in costliest(found.by_model)]
    return "\n".join([*lines, *_listed("By workflow type", workflows), *_listed("By model", models)])


def estimate(found: Estimate, user: str | None) -> str:
    """Return an estimate: its range, what it rests on, its parts, and what past runs have cost."""
    low, high = found.low, found.high
    lines = [
        "🧮 Cost Estimate",
        "",
        f"Workflow: {named(found.workflow)}",
        f"Estimate: {amount(low)} to {amount(high)} credits ({usd(low.usd)} to {usd(high.usd)})",
        f"Rests on: {_RESTS_ON.get(found.rests_on, found.rests_on)}",
    ]
    if found.past_median is not None and found.past_highest is not None:
        whose = f" of {named(user)}" if user else ""
        lines.append(
            f"Past runs{whose}: {found.past_runs} completed, median {amount(found.past_median)} credits, "
            f"highest {amount(found.past_highest)}"
        )
    if found.on_failure == "waive":
        lines.append("A run that fails is not charged")
    return "\n".join([*lines, *_listed("Parts", [_part(part) for part in found.parts])])


def _part(part: EstimatePart) -> str:
    times = f"{part.at_least}" if part.at_least == part.at_most else f"{part.at_least} to {part.at_most}"
    attributes = "".join(f", {named(name)}={named(value)}" for name, value in part.attributes.items())
    return f"{named(part.model)}{attributes}{_units(part.usage)}: {times} × {amount(part.credits_each)} credits"


def history(user: str, page: Page[RunSummary]) -> str:
    """Return runs: what each was, how it ended, what it cost, when it began, and its id."""
    lines = ["📜 Workflow History", "", f"User: {named(user)}"]
    if not page.items:
        lines.append("No runs")
    lines += _listed("Runs", [_run(run) for run in page.items], most=len(page.items))
    if page.next_cursor is not None:
        lines += ["", f"Older runs: ask again with cursor {page.next_cursor}"]
    return "\n".join(lines)


def _run(run: RunSummary) -> str:
    charged = f"{amount(run.charged)} credits ({usd(run.cost)})"
    if run.status == "open":
        charged = f"{amount(run.held)} credits held, {usd(run.cost)} so far"
    unpriced = f", {_counted(run.unpriced_calls, 'call')} without a price yet" if run.unpriced_calls else ""
    return f"{named(run.workflow)}: {run.status}, {charged}{unpriced}, {moment(run.opened_at)}, run {named(run.run_id)}"


def packages(found: Iterable[Package]) -> str:
    """Return what is for sale with what a dollar buys: packages, then plans."""
    there = list(found)
    offers = [_offer(one) for one in there if not isinstance(one, Plan)]
    monthly = [_offer(one) for one in there if isinstance(one, Plan)]
    return "\n".join(["📦 Credit Packages", *_listed("", offers), *_listed("Each month", monthly)])


def _offer(one: Package) -> str:
    lasting = ""
    if isinstance(one, Plan):
        lasting = ", what is left is kept" if one.rolls_over else ", what is left ends"
    return (
        f"{named(one.name)}: {amount(one.credits)} credits for {usd(one.price)} "
        f"({one.credits_per_usd} credits per $1){lasting}, id {named(one.id)}"
    )


def moment(at: datetime) -> str:
    """Return an instant in UTC to the minute."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _spent(share: Share) -> str:
    if 0 < share.calls <= share.unpriced_calls:
        return f"{_counted(share.calls, 'call')}, unpriced"
    besides = f" + {share.unpriced_calls} unpriced" if share.unpriced_calls else ""
    return f"{_counted(share.calls, 'call')}, {amount(share.credits)} credits ({usd(share.cost)}){besides}"


def _units(used: Mapping[str, Quantity]) -> str:
    return "".join(f", {quantity_text(quantity)} {meter}" for meter, quantity in used.items() if quantity)


def _listed(title: str, rows: list[str], *, most: int = _ROWS_SHOWN_MAX) -> list[str]:
    """Return a list under its title, none of it where there are no rows; the structured part has those left out."""
    if not rows:
        return []
    more = [f"• and {len(rows) - most} more"] if len(rows) > most else []
    return ["", *([f"{title}:"] if title else []), *(f"• {row}" for row in rows[:most]), *more]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun if number == 1 else noun + 's'}"
