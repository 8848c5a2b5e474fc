"""What a reader sees of an account: its totals with everything due already applied. Writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from callfare.ledger.expiry import expire_due
from callfare.ledger.state import Draft

if TYPE_CHECKING:
    from callfare.ledger.state import State


class BalanceView(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The balances of an account in nanocredits. `spent` is the part of `held` that open runs have used."""

    posted_nanocredits: int
    held_nanocredits: int
    spent_nanocredits: int
    available_nanocredits: int
    debt_nanocredits: int


def balance_of(state: State, account_id: int, spent_nanocredits: int, now_us: int) -> BalanceView:
    """Return the balances as of now; `spent_nanocredits` is what runs that are not due have drawn."""
    draft = Draft(state)
    expire_due(draft, account_id, now_us)
    account = draft.account(account_id)
    return BalanceView(
        posted_nanocredits=account.posted_nanocredits,
        held_nanocredits=account.held_nanocredits,
        spent_nanocredits=spent_nanocredits,
        available_nanocredits=account.available_nanocredits,
        debt_nanocredits=account.debt_nanocredits,
    )
