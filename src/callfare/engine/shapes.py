"""Answers from receipts and rows. Pure: turns the ledger's units into Credits, Usd and datetimes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from callfare.answers import (
    Balance,
    Call,
    Charge,
    GrantReceipt,
    HoldReceipt,
    Line,
    Movement,
    Price,
    RunReceipt,
    RunSummary,
    Transaction,
)
from callfare.clock import moment_of
from callfare.engine.lines import Lines
from callfare.engine.requests import shown_key
from callfare.ids import charge_id, transfer_id
from callfare.ledger import receipts
from callfare.ledger.rows import Entry, Event, Grant, Run, Transfer
from callfare.ledger.view import BalanceView
from callfare.money import Credits, Usd
from callfare.pricing.rates import Entry as PriceEntry
from callfare.pricing.rating import Rating
from callfare.usage.quantities import Quantity, parse_quantity, quantity_text


def balance(user: str, view: BalanceView | None) -> Balance:
    """Return the balances of a user; all zero when there is no account yet."""
    if view is None:
        nothing = Credits(0)
        return Balance(user=user, posted=nothing, held=nothing, spent=nothing, available=nothing, debt=nothing)
    return Balance(
        user=user,
        posted=Credits.of_units(view.posted_nanocredits),
        held=Credits.of_units(view.held_nanocredits),
        spent=Credits.of_units(view.spent_nanocredits),
        available=Credits.of_units(view.available_nanocredits),
        debt=Credits.of_units(view.debt_nanocredits),
    )


def grant(user: str, receipt: receipts.GrantReceipt) -> GrantReceipt:
    """Return a grant as its giver sees it."""
    return GrantReceipt(
        user=user,
        key=shown_key(receipt.key),
        credits=Credits.of_units(receipt.nanocredits),
        repaid=Credits.of_units(receipt.repaid_nanocredits),
        available=Credits.of_units(receipt.available_nanocredits),
        expires_at=None if receipt.expires_at_us is None else moment_of(receipt.expires_at_us),
        is_replay=receipt.is_replay,
    )


def hold(receipt: receipts.ExtendReceipt) -> HoldReceipt:
    """Return a run's hold."""
    return HoldReceipt(
        run_id=receipt.run_id,
        held=Credits.of_units(receipt.held_nanocredits),
        used=Credits.of_units(receipt.used_nanocredits),
        expires_at=moment_of(receipt.expires_at_us),
    )


def ended_run(receipt: receipts.CloseReceipt, key: str | None) -> RunReceipt:
    """Return a settled run; without a key of its caller's, the run and its outcome are the key."""
    return RunReceipt(
        run_id=receipt.run_id,
        outcome=receipt.outcome,
        charged=Credits.of_units(receipt.charged_nanocredits),
        captured=Credits.of_units(receipt.captured_nanocredits),
        given_back=Credits.of_units(receipt.given_back_nanocredits),
        debt=Credits.of_units(receipt.debt_nanocredits),
        waived=Credits.of_units(receipt.waived_nanocredits),
        cost=Usd.of_units(receipt.cost_picousd),
        calls=receipt.calls,
        unpriced_calls=receipt.unpriced_calls,
        closed_at=moment_of(receipt.closed_at_us),
        key=key or f"{receipt.run_id}:{receipt.outcome}",
        is_replay=receipt.is_replay,
    )


def charge(receipt: receipts.ChargeReceipt, model: str) -> Charge:
    """Return a recorded call as its reporter sees it."""
    # A run that has ended holds nothing, and keeps what it used.
    left = max(0, receipt.held_after_nanocredits - receipt.used_after_nanocredits)
    return Charge(
        id=charge_id(receipt.account_id, receipt.key),
        key=shown_key(receipt.key),
        run_id=receipt.run_id,
        model=model,
        status=receipt.status,
        flags=tuple(receipt.flags.split()),
        lines=Lines(receipt.lines),
        cost=Usd.of_units(receipt.picousd),
        credits=Credits.of_units(receipt.nanocredits),
        debt=Credits.of_units(receipt.debt_nanocredits),
        left=None if receipt.run_id is None else Credits.of_units(left),
        edition=receipt.edition,
        is_replay=receipt.is_replay,
    )


def price(rating: Rating, entry: PriceEntry, attributes: Mapping[str, str]) -> Price:
    """Return what a call would cost. entry: the one that decided. attributes: those it was given."""
    return Price(
        model=rating.model,
        provider=rating.provider,
        edition=rating.edition,
        source=entry.source,
        checked=entry.checked,
        ignored={name: value for name, value in attributes.items() if name not in entry.attribute_names},
        lines=tuple(
            Line(
                meter=line.meter,
                quantity=line.quantity,
                rate=line.rate,
                per=line.per,
                rate_meter=line.rate_meter,
                attributes=line.attributes,
                cost=Usd.of_units(line.picousd),
                credits=Credits.of_units(line.nanocredits),
                list_rate=line.list_rate,
                adjustment=line.adjustment,
                minimum=line.minimum,
            )
            for line in rating.lines
        ),
        information=rating.information,
        cost=Usd.of_units(rating.picousd),
        credits=Credits.of_units(rating.nanocredits),
    )


def run(row: Run, now_us: int) -> RunSummary:
    """Return a run; one past its time is shown as expired whether or not that was written yet."""
    is_past = row.status == "open" and row.expires_at_us <= now_us
    closed_at_us = row.expires_at_us if is_past else row.closed_at_us
    return RunSummary(
        run_id=row.run_id,
        workflow=row.workflow,
        status="expired" if is_past else row.status,
        charged=Credits.of_units(row.charged_nanocredits),
        held=Credits.of_units(0 if is_past else row.held_nanocredits),
        cost=Usd.of_units(row.cost_picousd),
        calls=row.calls,
        unpriced_calls=row.unpriced_calls,
        low=None if row.low_nanocredits is None else Credits.of_units(row.low_nanocredits),
        high=None if row.high_nanocredits is None else Credits.of_units(row.high_nanocredits),
        opened_at=moment_of(row.opened_at_us),
        closed_at=None if closed_at_us is None else moment_of(closed_at_us),
    )


def units(text: str) -> dict[str, Quantity]:
    """Return usage from the JSON it is stored as."""
    return {meter: parse_quantity(quantity) for meter, quantity in json.loads(text).items()}


def call(event: Event) -> Call:
    """Return a call as it stands in the ledger."""
    metadata: Mapping[str, Any] | None = None if event.metadata is None else json.loads(event.metadata)
    return Call(
        id=charge_id(event.account_id, event.key),
        kind=event.kind,
        run_id=event.run_id,
        workflow=event.workflow,
        step=event.step,
        provider=event.provider,
        model=event.model,
        operation=event.operation,
        response_id=event.response_id,
        status=event.status,
        reason=event.reason,
        flags=tuple(event.flags.split()),
        usage=units(event.usage),
        attributes=json.loads(event.attributes),
        lines=Lines(event.lines),
        cost=Usd.of_units(event.picousd),
        credits=Credits.of_units(event.nanocredits),
        debt=Credits.of_units(event.debt_nanocredits),
        edition=event.edition,
        metadata=metadata,
        at=moment_of(event.at_us),
        recorded_at=moment_of(event.recorded_at_us),
    )


def transaction(transfer: Transfer, entries: Iterable[Entry]) -> Transaction:
    """Return a transfer as its customer sees it."""
    change = debt_change = 0
    for entry in entries:
        if entry.account_kind == "customer":
            change += entry.amount_nanocredits
        elif entry.account_kind == "receivable":
            debt_change -= entry.amount_nanocredits
    return Transaction(
        id=transfer_id(transfer.account_id, transfer.seq),
        number=transfer.seq,
        kind=transfer.kind,
        amount=Credits.of_units(transfer.amount_nanocredits),
        change=Credits.of_units(change),
        debt_change=Credits.of_units(debt_change),
        run_id=transfer.run_id,
        reference=transfer.reference,
        at=moment_of(transfer.at_us),
    )


def movement(entry: Entry, lot: Grant | None) -> Movement:
    """Return one entry, with the lot it came from when it is the customer's credit."""
    return Movement(
        account=entry.account_kind,
        amount=Credits.of_units(entry.amount_nanocredits),
        lot=lot.reference if lot else None,
        source=lot.source if lot else None,
        paid=None if lot is None or lot.paid_picousd is None else Usd.of_units(lot.paid_picousd),
    )


def arithmetic(event: Event) -> tuple[str, ...]:
    """Return the arithmetic of a charge, a line for each meter that people can check by hand."""
    shown = []
    for line in Lines(event.lines):
        if line.rate is None:
            shown.append(f"{line.meter}: {quantity_text(line.quantity)} × no rate ({event.reason})")
            continue
        of = "" if line.rate_meter == line.meter else f" (the rate of {line.rate_meter})"
        of += "" if line.list_rate is None else f" ({line.adjustment} of ${line.list_rate:f})"
        used = quantity_text(line.quantity) + ("" if line.minimum is None else f" (billed as {line.minimum})")
        times = "" if event.markup == "1" else f" × {event.markup}"
        shown.append(
            f"{line.meter}: {used} × ${line.rate:f} / {line.per}{of} = ${line.cost}{times} = {line.credits} credits"
        )
    return tuple(shown)
