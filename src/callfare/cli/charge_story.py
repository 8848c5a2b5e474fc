"""The story of one charge, from the provider's own counts to the payment that covered it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from callfare.cli import show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callfare.answers import Call, Explanation, Movement, RunSummary, Transaction
    from callfare.cli.screen import Screen

_SOURCES = {"purchase": "bought", "plan": "from a plan", "promo": "given as promotion", "adjustment": "an adjustment"}
_HOUSE = {
    "revenue": "the house's revenue",
    "promo": "the house's promotions",
    "sales": "the house's sales",
    "breakage": "expired credit",
    "receivable": "the customer's debt",
}


def charge_story(
    screen: Screen, found: Explanation, *, reprice: str, prices: str, unopened: Sequence[str] = ()
) -> None:
    """Tell everything behind a charge, each step under its heading.

    reprice: the command that rates it again. prices: the one that shows where its rates were read. unopened: the books
    by which it was priced that this command does not have.
    """
    call = found.call
    screen.line(f"{show.clean(call.id)}", "head")
    screen.line(f"{_what(call)}: {_amount(call)}{_flags(call)}")
    steps = (
        ("What the provider reported", _reported(found)),
        ("What was counted", _counted(call)),
        ("What it cost", _cost(found, reprice, prices, unopened)),
        ("What was put right later", _corrections(found)),
        ("The run it was part of", _run(found.run)),
        ("What moved in the ledger", _moved(found)),
    )
    for number, (title, lines) in enumerate(((title, list(lines)) for title, lines in steps), start=1):
        screen.line()
        screen.line(f"{number}. {title}", "head")
        for line in lines:
            screen.line(f"   {line}")


def _what(call: Call) -> str:
    parts = [call.model, *([call.operation] if call.operation else []), *([call.provider] if call.provider else [])]
    return f"{show.clean(', '.join(parts))}, at {show.moment(call.at)} UTC"


def _amount(call: Call) -> str:
    if call.status == "priced":
        return f"{show.exact(call.cost)}, {show.exact(call.credits)} credits"
    return f"{show.UNPRICED}, {show.clean(call.reason or 'no price')}"


def _flags(call: Call) -> str:
    return f" ({', '.join(call.flags)})" if call.flags else ""


def _reported(found: Explanation) -> Iterator[str]:
    if found.call.response_id:
        yield f"response {show.clean(found.call.response_id)}"
    if found.raw_removed_before is not None:
        day = f"{found.raw_removed_before:%Y-%m-%d}"
        yield f"its own usage object was removed by retention, as all from before {day}"
        return
    if found.raw is None:
        yield "its own usage object was not kept; the counts below were reported by the caller"
        return
    for line in json.dumps(found.raw, indent=2, ensure_ascii=False).splitlines():
        yield show.clean(line)


def _counted(call: Call) -> Iterator[str]:
    yield show.units(call.usage)
    if call.attributes:
        yield f"with {show.attributes(call.attributes)}"
    if call.metadata:
        yield f"metadata {show.clean(json.dumps(call.metadata, ensure_ascii=False))}"


def _cost(found: Explanation, reprice: str, prices: str, unopened: Sequence[str]) -> Iterator[str]:
    yield from map(show.clean, found.arithmetic)
    if found.call.status == "priced":
        yield f"together {show.exact(found.call.cost)} = {show.exact(found.call.credits)} credits"
    elif any(call.status == "priced" for call in found.corrections):
        yield "nothing was charged for it at first; what was put right later says what is"
    else:
        yield f"nothing is charged for it yet; `{reprice}` rates it once there is a price"
    yield f"by price book {show.clean(found.call.edition) or 'none'}"
    if found.call.status == "priced":
        yield f"where it was read: `{show.clean(prices)}`"
    if unopened:
        yield f"not among the books opened here: {show.clean(', '.join(unopened))}; name your own with --book FILE"


def _corrections(found: Explanation) -> Iterator[str]:
    for call in found.corrections:
        at = show.moment(call.recorded_at)
        yield f"{call.kind} at {at} UTC: {show.change(call.credits) or '0'} credits, {show.units(call.usage)}"
    if not found.corrections:
        yield "nothing"


def _run(run: RunSummary | None) -> Iterator[str]:
    if run is None:
        yield "none: it was charged directly"
        return
    yield f"{show.clean(run.run_id)}, {show.clean(run.workflow)}, opened {show.moment(run.opened_at)} UTC"
    if run.low is not None and run.high is not None:
        yield f"expected to cost {show.exact(run.low)}–{show.exact(run.high)} credits"
    unpriced = f", {show.count(run.unpriced_calls)} of them unpriced" if run.unpriced_calls else ""
    calls = f"{show.counted(run.calls, 'call')}{unpriced}"
    if run.closed_at is None:
        yield f"still open: {calls}, {show.exact(run.charged)} credits so far, {show.exact(run.held)} held"
    else:
        yield f"{run.status} {show.moment(run.closed_at)} UTC: {calls}, {show.exact(run.charged)} credits"


def _moved(found: Explanation) -> Iterator[str]:
    if not found.transfers:
        is_open = found.run is not None and found.run.closed_at is None
        yield "nothing yet: the run's hold pays at its end" if is_open else "nothing: there was nothing to pay"
    for transfer, movements in zip(found.transfers, _by_transfer(found), strict=True):
        yield _transfer(transfer, found)
        for movement in movements:
            yield f"  {_movement(movement)}"


def _by_transfer(found: Explanation) -> Iterator[list[Movement]]:
    """Yield the entries of each transfer. They stand in order, and what a transfer adds in all is its amount."""
    entries = iter(found.movements)
    for transfer in found.transfers:
        of_one: list[Movement] = []
        added = balance = 0
        while added < transfer.amount.units or balance:
            of_one.append(next(entries))
            units = of_one[-1].amount.units
            added += max(units, 0)
            balance += units
        yield of_one


def _transfer(transfer: Transaction, found: Explanation) -> str:
    whole = " for the whole run" if found.run is not None and transfer.kind == "capture" else ""
    amount = f"{transfer.kind} of {show.exact(transfer.amount)} credits{whole}"
    return f"{transfer.id}, {amount}, {show.moment(transfer.at)} UTC"


def _movement(movement: Movement) -> str:
    amount = f"{show.change(movement.amount)} credits"
    if movement.account != "customer":
        return f"{amount} on {_HOUSE.get(movement.account, movement.account)}"
    lot = show.clean((movement.lot or "").removeprefix("key:")) or "without a name"
    source = _SOURCES.get(movement.source or "", movement.source or "")
    paid = "" if movement.paid is None else f" for {show.exact(movement.paid)}"
    return f"{amount} on the customer's lot {lot}, {source}{paid}" if source else f"{amount} on the customer's credit"
