"""Settling a run: capture what it used, give the rest of its hold back, or let the house pay for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from callfare.ids import made_key
from callfare.ledger import grants, holds
from callfare.ledger.accounts import PROMO, RECEIVABLE, REVENUE
from callfare.ledger.receipts import CloseReceipt
from callfare.ledger.rows import Event
from callfare.ledger.transfers import post

if TYPE_CHECKING:
    from callfare.ledger.rows import Run
    from callfare.ledger.state import Draft

OUTCOMES = ("completed", "failed", "cancelled")
WAIVER = "waiver"


def settle_run(draft: Draft, run: Run, outcome: str, now_us: int) -> CloseReceipt:
    """End an open run, and return the receipt that every repeat will get.

    What was used is captured in one transfer; a failed run whose workflow waives is paid by the house instead.
    What comes back to a lot past its expiry becomes breakage here and now.
    """
    waives = outcome == "failed" and run.on_failure == "waive"
    held = run.held_nanocredits
    captured = 0 if waives else run.used_nanocredits
    seq = _waive(draft, run, now_us) if waives else _capture(draft, run, now_us)
    released = holds.void(draft, run.account_id, run.run_id)
    assert released == held, f"run {run.run_id} holds {held} and its lots {released}"
    grants.expire_lots(draft, run.account_id, now_us)
    grants.repay(draft, run.account_id, now_us)
    receipt = CloseReceipt(
        account_id=run.account_id,
        run_id=run.run_id,
        outcome=outcome,
        captured_nanocredits=captured,
        given_back_nanocredits=held - captured,
        debt_nanocredits=0 if waives else run.debt_nanocredits,
        waived_nanocredits=run.charged_nanocredits if waives else 0,
        charged_nanocredits=0 if waives else run.charged_nanocredits,
        cost_picousd=run.cost_picousd,
        calls=run.calls,
        unpriced_calls=run.unpriced_calls,
        closed_at_us=now_us,
    )
    draft.put(
        replace(
            run,
            status=outcome,
            held_nanocredits=0,
            used_nanocredits=captured,
            charged_nanocredits=receipt.charged_nanocredits,
            closed_at_us=now_us,
            close_seq=seq,
            receipt=msgspec.json.encode(receipt).decode(),
        ),
    )
    return receipt


def _capture(draft: Draft, run: Run, now_us: int) -> int | None:
    used = run.used_nanocredits
    if not used:
        return None
    legs = [*holds.capture_legs(draft, run.account_id, run.run_id, used), (REVENUE, None, used)]
    return post(draft, run.account_id, "capture", legs, now_us=now_us, run_id=run.run_id)


def _waive(draft: Draft, run: Run, now_us: int) -> int | None:
    charged = run.charged_nanocredits
    if not charged:
        return None
    account_id = run.account_id
    # The drawn part was not captured yet; of the rest, debt still open is struck, and what was paid comes back.
    # A correction may have given back a part of what became debt, so no more is struck than was charged.
    used = run.used_nanocredits
    struck = min(run.debt_nanocredits, draft.account(account_id).debt_nanocredits, charged - used)
    legs = [(PROMO, None, -used - struck), (REVENUE, None, used), (RECEIVABLE, None, struck)]
    seq = post(draft, account_id, "waive", legs, now_us=now_us, run_id=run.run_id)
    paid = charged - used - struck
    if paid:
        grants.add_lot(
            draft,
            account_id,
            paid,
            kind="waive",
            source="adjustment",
            house=PROMO,
            now_us=now_us,
            reference=run.run_id,
        )
    draft.put(_waiver(run, charged, seq, now_us))
    return seq


def waiver_key(run_id: str) -> str:
    """Return the key of the event that waives a run; no key from outside is the same."""
    return made_key(WAIVER, run_id)


def _waiver(run: Run, charged: int, seq: int, now_us: int) -> Event:
    """Return the event that takes a waived run out of the customer's spending."""
    return Event(
        run.account_id,
        waiver_key(run.run_id),
        WAIVER,
        None,
        run.run_id,
        run.workflow,
        run.calls + 1,
        None,
        "",
        "",
        "",
        WAIVER,
        "",
        "priced",
        "",
        None,
        -charged,
        0,
        0,
        seq,
        "",
        "1",
        "{}",
        None,
        "{}",
        "[]",
        None,
        None,
        now_us,
        now_us,
        0,
        0,
        0,
    )
