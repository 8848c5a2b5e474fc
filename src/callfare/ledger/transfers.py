"""Transfers: the only way credit moves. Every transfer sums to zero and is never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from callfare.ledger.accounts import CUSTOMER, RECEIVABLE
from callfare.ledger.rows import Entry, Transfer
from callfare.money import in_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callfare.ledger.state import Draft

# One side of a transfer: the account's kind, the lot when it is the customer's credit, and a signed amount.
Leg = tuple[str, int | None, int]


def post(
    draft: Draft,
    account_id: int,
    kind: str,
    legs: Sequence[Leg],
    *,
    now_us: int,
    run_id: str | None = None,
    reference: str | None = None,
) -> int:
    """Append a balanced transfer, move the totals and the lots with it, and return its number.

    Raises AmountOutOfRange when a total would leave 64 bits.
    """
    legs = [leg for leg in legs if leg[2]]
    assert sum(amount for _, _, amount in legs) == 0, legs
    account = draft.account(account_id)
    seq = account.last_seq + 1
    posted, debt, moved = account.posted_nanocredits, account.debt_nanocredits, 0
    for position, (account_kind, grant_id, amount) in enumerate(legs):
        if account_kind == CUSTOMER:
            posted += amount
            _move_lot(draft, account_id, grant_id, amount)
        elif account_kind == RECEIVABLE:
            debt -= amount
        moved += max(amount, 0)
        draft.put(Entry(account_id, seq, position, account_kind, grant_id, amount))
    draft.put(
        Transfer(
            account_id, seq, kind, in_range(moved, "transfer", param="credits"), len(legs), run_id, reference, now_us
        ),
    )
    draft.put(
        replace(
            account,
            posted_nanocredits=in_range(posted, "posted balance", param="credits"),
            debt_nanocredits=in_range(debt, "debt", param="usage"),
            last_seq=seq,
        ),
    )
    return seq


def _move_lot(draft: Draft, account_id: int, grant_id: int | None, amount: int) -> None:
    assert grant_id is not None, "credit of a customer always stands in a lot"
    # A grant writes its own lot, full, beside the transfer that brings it.
    if amount > 0 and grant_id == draft.account(account_id).last_seq + 1:
        return
    grant = draft.grant(account_id, grant_id)
    draft.put(replace(grant, remaining_nanocredits=grant.remaining_nanocredits + amount))
