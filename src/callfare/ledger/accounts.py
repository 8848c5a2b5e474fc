"""Accounts: one customer's credit, and opening it on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callfare.ledger.rows import Account, User

if TYPE_CHECKING:
    from callfare.ledger.state import Draft

UNATTRIBUTED = "unattributed"

# The accounts of the house, and the two of a customer. Entries name them.
CUSTOMER = "customer"
RECEIVABLE = "receivable"
SALES = "sales"
PROMO = "promo"
REVENUE = "revenue"
BREAKAGE = "breakage"
ACCOUNT_KINDS = frozenset({CUSTOMER, RECEIVABLE, SALES, PROMO, REVENUE, BREAKAGE})


def ensure_account(draft: Draft, user: str, new_account_id: int, now_us: int) -> Account:
    """Return the user's account, opened with zero balance if there was none."""
    known = draft.user(user)
    if known is not None:
        return draft.account(known.account_id)
    draft.put(User(user, new_account_id, None, None, now_us))
    account = Account(new_account_id, 0, 0, 0, 0, now_us)
    draft.put(account)
    return account
