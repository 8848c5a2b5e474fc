"""Grants: credit arrives in lots, pays older debt first, expires unless held, and can be refunded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from callfare.errors import InvalidAmount, InvalidTime, NotFound
from callfare.ledger import holds
from callfare.ledger.accounts import BREAKAGE, CUSTOMER, PROMO, RECEIVABLE, SALES, ensure_account
from callfare.ledger.keys import remember
from callfare.ledger.receipts import GrantReceipt, RefundReceipt, ReinstateReceipt
from callfare.ledger.rows import Grant
from callfare.ledger.transfers import post
from callfare.money import Credits

if TYPE_CHECKING:
    from callfare.ledger.commands import GrantCredit, RefundGrant
    from callfare.ledger.state import Draft
    from callfare.ledger.transfers import Leg

SOURCES = ("purchase", "promo", "plan", "adjustment")
_HOUSE_OF = {"purchase": SALES, "plan": SALES, "promo": PROMO, "adjustment": PROMO}


def repay(draft: Draft, account_id: int, now_us: int) -> int:
    """Pay debt with whatever is available, and return how much was paid."""
    account = draft.account(account_id)
    part = min(account.debt_nanocredits, account.available_nanocredits)
    if part > 0:
        legs = [*holds.available_legs(draft, account_id, part), (RECEIVABLE, None, part)]
        post(draft, account_id, "repay", legs, now_us=now_us)
    return max(part, 0)


def add_lot(
    draft: Draft,
    account_id: int,
    nanocredits: int,
    *,
    kind: str,
    source: str,
    house: str,
    now_us: int,
    paid_picousd: int | None = None,
    reference: str | None = None,
    expires_at_us: int | None = None,
) -> int:
    """Post a new lot from an account of the house, and return its number."""
    grant_id = draft.account(account_id).last_seq + 1
    draft.put(
        Grant(
            account_id,
            grant_id,
            source,
            nanocredits,
            nanocredits,
            0,
            paid_picousd,
            reference,
            now_us,
            expires_at_us,
        ),
    )
    legs: list[Leg] = [(house, None, -nanocredits), (CUSTOMER, grant_id, nanocredits)]
    return post(draft, account_id, kind, legs, now_us=now_us, reference=reference)


def grant_credit(draft: Draft, command: GrantCredit, now_us: int) -> GrantReceipt:
    """Post a lot of credit, which pays older debt first.

    Raises InvalidTime when it has expired already, AmountOutOfRange beyond 64 bits.
    """
    if command.expires_at_us is not None and command.expires_at_us <= now_us:
        raise InvalidTime("expires_at lies in the past", param="expires_at")
    account = ensure_account(draft, command.user, command.new_account_id, now_us)
    account_id = account.account_id
    grant_id = add_lot(
        draft,
        account_id,
        command.nanocredits,
        kind="grant",
        source=command.source,
        house=_HOUSE_OF[command.source],
        now_us=now_us,
        paid_picousd=command.paid_picousd,
        reference=command.reference or command.key,
        expires_at_us=command.expires_at_us,
    )
    repaid = repay(draft, account_id, now_us)
    receipt = GrantReceipt(
        account_id=account_id,
        key=command.key,
        grant_id=grant_id,
        source=command.source,
        nanocredits=command.nanocredits,
        paid_picousd=command.paid_picousd,
        repaid_nanocredits=repaid,
        available_nanocredits=draft.account(account_id).available_nanocredits,
        expires_at_us=command.expires_at_us,
    )
    remember(draft, account_id, command.key, receipt, kind="grant", fingerprint=command.fingerprint, now_us=now_us)
    return receipt


def expire_lot(draft: Draft, grant: Grant, now_us: int) -> None:
    """Turn the unheld part of an expired lot into breakage."""
    unheld = grant.unheld_nanocredits
    if unheld:
        legs: list[Leg] = [(CUSTOMER, grant.grant_id, -unheld), (BREAKAGE, None, unheld)]
        post(draft, grant.account_id, "breakage", legs, now_us=now_us, reference=grant.reference)


def expire_lots(draft: Draft, account_id: int, now_us: int) -> None:
    """Turn whatever no hold covers of the account's expired lots into breakage."""
    for grant in draft.grants(account_id):
        if grant.expires_at_us is not None and grant.expires_at_us <= now_us:
            expire_lot(draft, grant, now_us)


def refund_grant(draft: Draft, command: RefundGrant, now_us: int) -> RefundReceipt:
    """Take a refunded amount out of its lot's unheld part; the rest becomes debt.

    Raises NotFound when the key names no grant of the user that was paid for, InvalidAmount when the refunds of it
    together exceed what was granted, KeyConflict when the key was used by another request.
    """
    user = draft.user(command.user)
    granted = draft.key(user.account_id, command.grant_key) if user else None
    if user is None or granted is None or granted.kind != "grant":
        raise NotFound(f"{command.user} has no grant under the key {command.grant_key!r}", param="grant_key")
    account_id = user.account_id
    lot = draft.grant(account_id, msgspec.json.decode(granted.receipt, type=GrantReceipt).grant_id)
    if _HOUSE_OF[lot.source] != SALES:
        raise NotFound(f"nothing was paid for the grant {command.grant_key!r}, so nothing of it can be refunded")
    if lot.refunded_nanocredits + command.nanocredits > lot.amount_nanocredits:
        left = Credits.of_units(lot.amount_nanocredits - lot.refunded_nanocredits)
        raise InvalidAmount(f"{left} credits of the grant {command.grant_key!r} are left to refund", param="credits")
    receipt = take_back(draft, lot, command.nanocredits, key=command.key, grant_key=command.grant_key, now_us=now_us)
    remember(draft, account_id, command.key, receipt, kind="refund", fingerprint=command.fingerprint, now_us=now_us)
    return receipt


def take_back(draft: Draft, lot: Grant, nanocredits: int, *, key: str, grant_key: str, now_us: int) -> RefundReceipt:
    """Take an amount out of a lot's unheld part; the rest becomes debt. The caller has made sure that it fits."""
    assert 0 < nanocredits <= lot.amount_nanocredits - lot.refunded_nanocredits, (nanocredits, lot)
    account_id = lot.account_id
    taken = min(nanocredits, lot.unheld_nanocredits)
    debt = nanocredits - taken
    legs: list[Leg] = [
        (CUSTOMER, lot.grant_id, -taken),
        (RECEIVABLE, None, -debt),
        (SALES, None, nanocredits),
    ]
    draft.put(replace(lot, refunded_nanocredits=lot.refunded_nanocredits + nanocredits))
    post(draft, account_id, "refund", legs, now_us=now_us, reference=grant_key)
    repay(draft, account_id, now_us)
    return RefundReceipt(account_id=account_id, key=key, taken_nanocredits=taken, debt_nanocredits=debt)


def give_back(draft: Draft, lot: Grant, nanocredits: int, *, key: str, grant_key: str, now_us: int) -> ReinstateReceipt:
    """Give what was taken back of a lot again, in a lot like it, which pays older debt first.

    One that would have expired meanwhile expires at once: nobody gets more than they had.
    """
    assert 0 < nanocredits <= lot.refunded_nanocredits, (nanocredits, lot)
    account_id = lot.account_id
    draft.put(replace(lot, refunded_nanocredits=lot.refunded_nanocredits - nanocredits))
    grant_id = add_lot(
        draft,
        account_id,
        nanocredits,
        kind="reinstate",
        source=lot.source,
        house=SALES,
        now_us=now_us,
        reference=grant_key,
        expires_at_us=lot.expires_at_us,
    )
    repay(draft, account_id, now_us)
    expire_lots(draft, account_id, now_us)
    return ReinstateReceipt(account_id=account_id, key=key, grant_id=grant_id, nanocredits=nanocredits)
