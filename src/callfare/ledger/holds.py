"""Holds: reserve credit lot by lot before a run, settle it after. Reserving moves no credit; settling does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from callfare.clock import US_PER_S
from callfare.ledger.accounts import CUSTOMER
from callfare.ledger.rows import Hold

if TYPE_CHECKING:
    from callfare.ledger.rows import Grant, Run
    from callfare.ledger.state import Draft
    from callfare.ledger.transfers import Leg

_NEVER_US = 2**63 - 1


def spending_order(grant: Grant) -> tuple[int, bool, int]:
    """Return what sorts lots as they are spent: soonest expiry, promotional before paid, then the oldest."""
    expires_at_us = _NEVER_US if grant.expires_at_us is None else grant.expires_at_us
    return (expires_at_us, grant.source != "promo", grant.grant_id)


def authorize(draft: Draft, account_id: int, hold_id: str, nanocredits: int) -> None:
    """Reserve available credit for a hold; the caller has made sure that it is there."""
    if not nanocredits:
        return
    account = draft.account(account_id)
    assert 0 < nanocredits <= account.available_nanocredits, (nanocredits, account)
    by_lot = {hold.grant_id: hold for hold in draft.holds(account_id, hold_id)}
    left = nanocredits
    for grant in sorted(draft.grants(account_id), key=spending_order):
        part = min(left, grant.unheld_nanocredits)
        if part:
            draft.put(replace(grant, held_nanocredits=grant.held_nanocredits + part))
            before = by_lot[grant.grant_id].amount_nanocredits if grant.grant_id in by_lot else 0
            draft.put(Hold(account_id, hold_id, grant.grant_id, before + part))
            left -= part
        if not left:
            break
    assert left == 0, f"lots hold {left} less than the account says"
    draft.put(replace(account, held_nanocredits=account.held_nanocredits + nanocredits))


def withhold(draft: Draft, grant: Grant, hold_id: str) -> int:
    """Reserve what no hold has reserved of one lot, and return how much that is."""
    part = grant.unheld_nanocredits
    if part:
        account = draft.account(grant.account_id)
        draft.put(replace(grant, held_nanocredits=grant.held_nanocredits + part))
        draft.put(Hold(grant.account_id, hold_id, grant.grant_id, part))
        draft.put(replace(account, held_nanocredits=account.held_nanocredits + part))
    return part


def void(draft: Draft, account_id: int, hold_id: str) -> int:
    """End a hold without moving credit, and return how much it had reserved. The lots keep what they have."""
    released = 0
    for hold in draft.holds(account_id, hold_id):
        grant = draft.grant(account_id, hold.grant_id)
        draft.put(replace(grant, held_nanocredits=grant.held_nanocredits - hold.amount_nanocredits))
        draft.put(replace(hold, amount_nanocredits=0))
        released += hold.amount_nanocredits
    account = draft.account(account_id)
    if released:
        draft.put(replace(account, held_nanocredits=account.held_nanocredits - released))
    return released


def renewed(run: Run, now_us: int) -> Run:
    """Return the run with its hold renewed for its time to live; a clock that steps back shortens no hold.

    The expiry always moves on, if only by a microsecond: by it a process tells which of two answers is the later.
    """
    return replace(run, expires_at_us=max(run.expires_at_us + 1, now_us + run.ttl_s * US_PER_S))


def lasting(run: Run, ttl_s: int, now_us: int) -> Run:
    """Return the run with a hold that lasts so long from now on, at least; its own time to live stays as it was."""
    return replace(run, expires_at_us=max(run.expires_at_us + 1, now_us + ttl_s * US_PER_S))


def kept_alive(run: Run, now_us: int) -> Run:
    """Return the run with its hold renewed for its time to live and a 64th of it to spare.

    Thanks to what is spare most calls leave the expiry as it is, and a store need not move the run in its index. Only
    for changes that add to what is used: of two answers with one expiry, the one that has used more is the later.
    """
    ttl_us = run.ttl_s * US_PER_S
    if run.expires_at_us >= now_us + ttl_us:
        return run
    return replace(run, expires_at_us=now_us + ttl_us + ttl_us // 64)


def hand_over(draft: Draft, account_id: int, hold_id: str, nanocredits: int, *, to: str) -> None:
    """Move a part of one hold, in spending order, to another hold of the same account."""
    left = nanocredits
    for grant, hold in _in_spending_order(draft, account_id, hold_id):
        part = min(left, hold.amount_nanocredits)
        if part:
            draft.put(replace(hold, amount_nanocredits=hold.amount_nanocredits - part))
            before = {there.grant_id: there.amount_nanocredits for there in draft.holds(account_id, to)}
            draft.put(Hold(account_id, to, grant.grant_id, before.get(grant.grant_id, 0) + part))
            left -= part
    assert left == 0, f"hold {hold_id} has {left} less than its run says"


def capture_legs(draft: Draft, account_id: int, hold_id: str, nanocredits: int) -> list[Leg]:
    """Return the customer's side of taking an amount out of a hold, in spending order. Writes nothing."""
    legs: list[Leg] = []
    left = nanocredits
    for grant, hold in _in_spending_order(draft, account_id, hold_id):
        part = min(left, hold.amount_nanocredits)
        if part:
            legs.append((CUSTOMER, grant.grant_id, -part))
            left -= part
    assert left == 0, f"hold {hold_id} has {left} less than its run says"
    return legs


def available_legs(draft: Draft, account_id: int, nanocredits: int) -> list[Leg]:
    """Return the customer's side of taking available credit, in spending order. Writes nothing."""
    legs: list[Leg] = []
    left = nanocredits
    for grant in sorted(draft.grants(account_id), key=spending_order):
        part = min(left, grant.unheld_nanocredits)
        if part:
            legs.append((CUSTOMER, grant.grant_id, -part))
            left -= part
        if not left:
            break
    assert left == 0, f"lots hold {left} less than the account says"
    return legs


def _in_spending_order(draft: Draft, account_id: int, hold_id: str) -> list[tuple[Grant, Hold]]:
    pairs = [(draft.grant(account_id, hold.grant_id), hold) for hold in draft.holds(account_id, hold_id)]
    return sorted(pairs, key=lambda pair: spending_order(pair[0]))
